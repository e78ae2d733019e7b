//! Values taken out of JSON text: one pass over a row's text, keeping only what the filter's paths lead to.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::{list::List, value::Scalar};

/// The deepest nesting of lists that a filter can compare with; what lies deeper in a row is not kept.
pub(crate) const MAX_LIST_DEPTH: u8 = 8;

/// A JSON value. Text is borrowed from the row unless it holds escapes.
#[derive(Clone)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    /// An object, or a list that no comparison needs.
    Other,
}

impl<'a> Json<'a> {
    pub(crate) fn scalar(&'a self) -> Option<Scalar<'a>> {
        Some(match self {
            Self::Null | Self::Other => return None,
            Self::Bool(value) => Scalar::Bool(*value),
            Self::Int(value) => Scalar::Int(*value),
            Self::Float(value) => Scalar::Float(*value),
            Self::Text(value) => Scalar::Text(value),
            Self::List(items) => Scalar::List(List::Json(items)),
        })
    }
}

/// One step of a path.
pub(crate) enum Step {
    /// Into an object.
    Key(String),
    /// Into a list.
    Place(usize),
}

/// The paths into one JSON column, as a tree, so that one pass finds them all.
pub(crate) struct Paths {
    nodes: Vec<Node>,
    /// For each slot the node that its path ends at.
    ends: Vec<usize>,
}

#[derive(Default)]
struct Node {
    keys: BTreeMap<String, usize>,
    places: BTreeMap<usize, usize>,
    /// Where the value goes, if a path ends here.
    slot: Option<usize>,
    /// Whether a list found here is needed with its elements.
    keeps_list: bool,
}

impl Paths {
    pub(crate) fn new() -> Self {
        Self { nodes: vec![Node::default()], ends: Vec::new() }
    }

    /// Adds a path and gives the slot its values will have.
    pub(crate) fn add(&mut self, steps: Vec<Step>) -> usize {
        let mut node = 0;
        for step in steps {
            let fresh = self.nodes.len();
            node = match step {
                Step::Key(key) => *self.nodes[node].keys.entry(key).or_insert(fresh),
                Step::Place(place) => *self.nodes[node].places.entry(place).or_insert(fresh),
            };
            if node == fresh {
                self.nodes.push(Node::default());
            }
        }
        *self.nodes[node].slot.get_or_insert_with(|| {
            self.ends.push(node);
            self.ends.len() - 1
        })
    }

    /// Says that lists at a slot's path are needed with their elements.
    pub(crate) fn keep_list(&mut self, slot: usize) {
        if let Some(node) = self.ends.get(slot) {
            self.nodes[*node].keeps_list = true;
        }
    }

    /// How many slots a row has.
    pub(crate) fn slots(&self) -> usize {
        self.ends.len()
    }

    /// Reads one row's text into its slots; they must be empty. The error says nothing of the text.
    pub(crate) fn read<'a>(&self, text: &'a str, slots: &mut [Option<Json<'a>>]) -> Result<(), ()> {
        let mut json = serde_json::Deserializer::from_str(text);
        let seek = Seek { paths: self, node: Some(0), list_depth: 0, slots };
        seek.deserialize(&mut json).and_then(|_| json.end()).map_err(|_| ())
    }
}

/// Reads one value: what its paths lead to goes into the slots, the value itself to whoever asked.
struct Seek<'p, 's, 'a> {
    paths: &'p Paths,
    /// The place in the tree of paths; `None` outside of it.
    node: Option<usize>,
    /// How many levels of lists to keep.
    list_depth: u8,
    slots: &'s mut [Option<Json<'a>>],
}

impl<'a> DeserializeSeed<'a> for Seek<'_, '_, 'a> {
    type Value = Json<'a>;

    fn deserialize<D: Deserializer<'a>>(mut self, deserializer: D) -> Result<Json<'a>, D::Error> {
        let node = self.node.map(|node| &self.paths.nodes[node]);
        let Some(slot) = node.and_then(|node| node.slot) else { return deserializer.deserialize_any(self) };
        let wanted_above = self.list_depth > 0;
        if node.is_some_and(|node| node.keeps_list) {
            self.list_depth = MAX_LIST_DEPTH;
        }
        let slots = &mut *self.slots;
        let seek = Seek { paths: self.paths, node: self.node, list_depth: self.list_depth, slots };
        let value = deserializer.deserialize_any(seek)?;
        let above = if wanted_above { value.clone() } else { Json::Other };
        self.slots[slot] = Some(value);
        Ok(above)
    }
}

impl<'a> Visitor<'a> for Seek<'_, '_, 'a> {
    type Value = Json<'a>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json<'a>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json<'a>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json<'a>, E> {
        Ok(Json::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json<'a>, E> {
        #[expect(clippy::cast_precision_loss, reason = "beyond Int64 a JSON number is a Double, as in Milvus")]
        let number = i64::try_from(value).map_or(Json::Float(value as f64), Json::Int);
        Ok(number)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json<'a>, E> {
        Ok(Json::Float(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'a str) -> Result<Json<'a>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json<'a>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Json<'a>, A::Error> {
        let keys = self.node.map(|node| &self.paths.nodes[node].keys);
        while let Some(child) = map.next_key_seed(Key(keys))? {
            if child.is_some() {
                let slots = &mut *self.slots;
                map.next_value_seed(Seek { paths: self.paths, node: child, list_depth: 0, slots })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Json::Other)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<Json<'a>, A::Error> {
        let places = self.node.map(|node| &self.paths.nodes[node].places);
        let mut kept = Vec::new();
        for place in 0.. {
            let child = places.and_then(|places| places.get(&place)).copied();
            let next = if child.is_none() && self.list_depth == 0 {
                list.next_element::<IgnoredAny>()?.map(|_| Json::Other)
            } else {
                let list_depth = self.list_depth.saturating_sub(1);
                list.next_element_seed(Seek { paths: self.paths, node: child, list_depth, slots: &mut *self.slots })?
            };
            match next {
                Some(value) if self.list_depth > 0 => kept.push(value),
                Some(_) => {}
                None => break,
            }
        }
        Ok(if self.list_depth > 0 { Json::List(kept) } else { Json::Other })
    }
}

/// Reads an object's key and looks it up among those wanted.
struct Key<'p>(Option<&'p BTreeMap<String, usize>>);

impl<'a> DeserializeSeed<'a> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Option<usize>, E> {
        Ok(self.0.and_then(|keys| keys.get(key)).copied())
    }
}
