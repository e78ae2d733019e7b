//! A set of row numbers as a bitmap.

/// Row numbers from `base` up, a bit each.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowSet {
    base: u64,
    bits: Vec<u64>,
    len: usize,
}

impl RowSet {
    pub(crate) fn from(base: u64) -> Self {
        Self { base, ..Self::default() }
    }

    /// How many rows are in the set.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, row: u64) {
        debug_assert!(row >= self.base, "rows are never numbered below the first one loaded");
        let Ok(place) = usize::try_from(row - self.base) else { return };
        if self.bits.len() <= place / 64 {
            self.bits.resize(place / 64 + 1, 0);
        }
        let bit = 1 << (place % 64);
        self.len += usize::from(self.bits[place / 64] & bit == 0);
        self.bits[place / 64] |= bit;
    }

    pub(crate) fn remove(&mut self, row: u64) {
        if let Some((word, bit)) = self.place(row)
            && self.bits[word] & bit != 0
        {
            self.bits[word] &= !bit;
            self.len -= 1;
        }
    }

    pub(crate) fn contains(&self, row: u64) -> bool {
        self.place(row).is_some_and(|(word, bit)| self.bits[word] & bit != 0)
    }

    fn place(&self, row: u64) -> Option<(usize, u64)> {
        let place = usize::try_from(row.checked_sub(self.base)?).ok()?;
        (place / 64 < self.bits.len()).then_some((place / 64, 1 << (place % 64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_inserted_and_not_removed() {
        let mut rows = RowSet::from(100);
        for row in [100, 163, 164, 1_000] {
            rows.insert(row);
        }
        rows.insert(163);
        rows.remove(164);
        rows.remove(99);
        rows.remove(5_000);
        assert_eq!(rows.len(), 3);
        assert_eq!((0..2_000).filter(|row| rows.contains(*row)).collect::<Vec<_>>(), [100, 163, 1_000]);
    }
}
