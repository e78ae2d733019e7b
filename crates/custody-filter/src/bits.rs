//! A bitmap of some rows.

use arrow_buffer::{BooleanBuffer, Buffer};

/// One bit for each of `len` rows. Bits past the end are zero.
#[derive(Clone)]
pub(crate) struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    pub(crate) fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    pub(crate) fn all(len: usize) -> Self {
        Self { words: vec![u64::MAX; len.div_ceil(64)], len }.trimmed()
    }

    /// A bit for each value, in a loop the compiler can unroll.
    pub(crate) fn of<T: Copy>(values: &[T], test: impl Fn(T) -> bool) -> Self {
        let word = |values: &[T]| {
            values.iter().enumerate().fold(0, |word, (place, value)| word | (u64::from(test(*value)) << place))
        };
        Self { words: values.chunks(64).map(word).collect(), len: values.len() }
    }

    /// `len` bits of an Arrow bitmap.
    pub(crate) fn from_arrow(bits: &BooleanBuffer, start: usize, len: usize) -> Self {
        let words = bits.slice(start, len).bit_chunks().iter_padded().take(len.div_ceil(64)).collect();
        Self { words, len }.trimmed()
    }

    /// The bitmaps one after another; all but the last hold a multiple of 64 rows.
    pub(crate) fn concat(parts: impl Iterator<Item = Self>, rows: usize) -> BooleanBuffer {
        let mut words = Vec::with_capacity(rows.div_ceil(64));
        for part in parts {
            words.extend(part.words.iter().map(|word| word.to_le()));
        }
        BooleanBuffer::new(Buffer::from_vec(words), 0, rows)
    }

    fn trimmed(mut self) -> Self {
        let rest = self.len % 64;
        if let (Some(last), true) = (self.words.last_mut(), rest > 0) {
            *last &= (1 << rest) - 1;
        }
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    pub(crate) fn set(&mut self, row: usize) {
        self.words[row / 64] |= 1 << (row % 64);
    }

    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
        self
    }

    pub(crate) fn or(mut self, other: &Self) -> Self {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
        self
    }

    pub(crate) fn without(mut self, other: &Self) -> Self {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= !other);
        self
    }

    pub(crate) fn not(mut self) -> Self {
        self.words.iter_mut().for_each(|word| *word = !*word);
        self.trimmed()
    }

    /// The rows whose bit is set, in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(place, word)| {
            let mut word = *word;
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(place * 64 + bit)
            })
        })
    }
}
