//! The values of a list in a filter, arranged for looking up.

use std::collections::{HashMap, HashSet};

use crate::{
    PrimaryKeys,
    list::List,
    value::{Literal, Scalar, whole},
};

/// Distinct values. A number is the same number whether it was written `1` or `1.0`.
#[derive(Default)]
pub(crate) struct Set {
    ints: Ints,
    /// Floats that are no integer, by their bits, each with its index.
    floats: HashMap<u64, usize>,
    texts: HashMap<Box<str>, usize>,
    bools: [Option<usize>; 2],
    lists: Vec<Vec<Literal>>,
    /// How many values precede the lists in the numbering.
    scalars: usize,
}

impl Set {
    pub(crate) fn new(literals: Vec<Literal>) -> Self {
        let mut set = Self::default();
        let mut ints = Vec::new();
        for literal in literals {
            match literal {
                Literal::Int(value) => ints.push(value),
                Literal::Float(value) => match whole(value) {
                    Some(value) => ints.push(value),
                    None => {
                        set.floats.insert(value.to_bits(), 0);
                    }
                },
                Literal::Text(value) => {
                    set.texts.insert(value.into_boxed_str(), 0);
                }
                Literal::Bool(value) => set.bools[usize::from(value)] = Some(0),
                Literal::List(items) => {
                    if !set.lists.iter().any(|other| List::Literals(other).equals(List::Literals(&items))) {
                        set.lists.push(items);
                    }
                }
            }
        }
        set.ints = Ints::new(ints);
        set.number();
        set
    }

    /// Numbers the values, so that the distinct ones found in a row can be counted.
    fn number(&mut self) {
        let values = self.floats.values_mut().chain(self.texts.values_mut()).chain(self.bools.iter_mut().flatten());
        let mut next = self.ints.sorted.len();
        for value in values {
            *value = next;
            next += 1;
        }
        self.scalars = next;
    }

    /// How many distinct values there are.
    pub(crate) fn len(&self) -> usize {
        self.scalars + self.lists.len()
    }

    /// The whole numbers.
    pub(crate) fn ints(&self) -> &Ints {
        &self.ints
    }

    pub(crate) fn has_text(&self, text: &str) -> bool {
        self.texts.contains_key(text)
    }

    pub(crate) fn has_float(&self, value: f64) -> bool {
        match whole(value) {
            Some(value) => self.ints.contains(value),
            None => self.floats.contains_key(&value.to_bits()),
        }
    }

    /// Whether the value is among these; unknown if none of them is of its kind.
    pub(crate) fn holds(&self, value: Scalar<'_>) -> Option<bool> {
        let (found, comparable) = match value {
            Scalar::Int(value) => (self.ints.contains(value), self.has_numbers()),
            Scalar::Float(value) => (self.has_float(value), self.has_numbers()),
            Scalar::Text(value) => (self.has_text(value), !self.texts.is_empty()),
            Scalar::Bool(value) => (self.bools[usize::from(value)].is_some(), self.bools != [None; 2]),
            Scalar::List(value) => {
                (self.lists.iter().any(|list| value.equals(List::Literals(list))), !self.lists.is_empty())
            }
        };
        // Nothing is in an empty list, whatever its kind.
        (comparable || self.len() == 0).then_some(found)
    }

    fn has_numbers(&self) -> bool {
        !self.ints.sorted.is_empty() || !self.floats.is_empty()
    }

    /// Whether the list has at least one of these values.
    pub(crate) fn meets(&self, list: List<'_>) -> bool {
        list.iter().flatten().any(|value| self.holds(value) == Some(true))
    }

    /// Whether the list has all of these values.
    pub(crate) fn is_within(&self, list: List<'_>) -> bool {
        // Most rows are too short to hold them all.
        if list.len() < self.len() {
            return false;
        }
        let mut found = HashSet::new();
        found.extend(list.iter().flatten().filter_map(|value| self.index(value)));
        found.len() == self.len()
    }

    fn index(&self, value: Scalar<'_>) -> Option<usize> {
        match value {
            Scalar::Int(value) => self.ints.sorted.binary_search(&value).ok(),
            Scalar::Float(value) => match whole(value) {
                Some(value) => self.ints.sorted.binary_search(&value).ok(),
                None => self.floats.get(&value.to_bits()).copied(),
            },
            Scalar::Text(value) => self.texts.get(value).copied(),
            Scalar::Bool(value) => self.bools[usize::from(value)],
            Scalar::List(value) => {
                let place = self.lists.iter().position(|list| value.equals(List::Literals(list)))?;
                Some(self.scalars + place)
            }
        }
    }

    /// The values as primary keys of integers or texts.
    pub(crate) fn int_keys(&self) -> PrimaryKeys {
        PrimaryKeys::Ints(self.ints.sorted.clone())
    }

    pub(crate) fn text_keys(&self) -> PrimaryKeys {
        let mut keys: Vec<String> = self.texts.keys().map(ToString::to_string).collect();
        keys.sort_unstable();
        PrimaryKeys::Texts(keys)
    }
}

/// Integers, sorted, with the quickest way to look one up.
#[derive(Default)]
pub(crate) struct Ints {
    sorted: Vec<i64>,
    lookup: Lookup,
}

#[derive(Default)]
enum Lookup {
    /// So few that trying each is quickest.
    #[default]
    Scan,
    /// One bit for each integer from the first on.
    Bitmap(Vec<u64>),
    Hash(HashSet<i64>),
}

/// Up to so many integers are tried one by one.
const SCAN: usize = 12;

/// A bitmap may take so many bits for each integer.
const BITS_EACH: u64 = 128;

impl Ints {
    fn new(mut sorted: Vec<i64>) -> Self {
        sorted.sort_unstable();
        sorted.dedup();
        let lookup = match (sorted.first(), sorted.last()) {
            (Some(first), Some(last)) if sorted.len() > SCAN => {
                let span = last.abs_diff(*first);
                if span / BITS_EACH <= sorted.len() as u64 {
                    Self::bitmap(&sorted, *first, span)
                } else {
                    Self::hash(&sorted)
                }
            }
            _ => Lookup::Scan,
        };
        Self { sorted, lookup }
    }

    fn bitmap(sorted: &[i64], first: i64, span: u64) -> Lookup {
        let mut words = vec![0_u64; usize::try_from(span / 64).unwrap_or_default() + 1];
        for value in sorted {
            if let (Some(word), bit) = word_of(&mut words, value.abs_diff(first)) {
                *word |= 1 << bit;
            }
        }
        Lookup::Bitmap(words)
    }

    fn hash(sorted: &[i64]) -> Lookup {
        Lookup::Hash(sorted.iter().copied().collect())
    }

    pub(crate) fn contains(&self, value: i64) -> bool {
        match &self.lookup {
            #[expect(clippy::needless_bitwise_bool, reason = "without branches the loop becomes vector instructions")]
            Lookup::Scan => self.sorted.iter().fold(false, |found, each| found | (*each == value)),
            Lookup::Bitmap(words) => {
                let first = self.sorted[0];
                let place = value.abs_diff(first);
                let word =
                    usize::try_from(place / 64).ok().and_then(|word| words.get(word)).copied().unwrap_or_default();
                value >= first && word >> (place % 64) & 1 == 1
            }
            Lookup::Hash(values) => values.contains(&value),
        }
    }
}

fn word_of(words: &mut [u64], place: u64) -> (Option<&mut u64>, u64) {
    (usize::try_from(place / 64).ok().and_then(|word| words.get_mut(word)), place % 64)
}
