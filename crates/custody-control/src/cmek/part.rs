//! Long lists, part by part: newest first, each item known by a number that only grows.

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Only what is older than the item of this number.
    pub before: i64,
    /// At most so many.
    pub limit: i64,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// Before which number it goes on; nothing if that was all.
    pub next: Option<i64>,
}

impl From<i64> for Part {
    /// The newest so many.
    fn from(limit: i64) -> Self {
        Self { before: i64::MAX, limit }
    }
}

impl<T> IntoIterator for Listed<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl Part {
    /// How many are to be read: one more than is told, which says whether it goes on.
    pub(super) fn reads(self) -> i64 {
        self.limit + 1
    }

    /// What is told of what was read, each item with its number.
    pub(super) fn of<T>(self, mut read: Vec<(i64, T)>) -> Listed<T> {
        let most = usize::try_from(self.limit).unwrap_or_default();
        let goes_on = read.len() > most;
        read.truncate(most);
        let next = read.last().map(|(number, _)| *number).filter(|_| goes_on);
        Listed { items: read.into_iter().map(|(_, item)| item).collect(), next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_on_behind_what_was_told_until_it_ends() {
        let all = [9, 7, 4, 2];
        let (mut before, mut told) = (i64::MAX, Vec::new());
        loop {
            let part = Part { before, limit: 2 };
            let left = all.iter().filter(|number| **number < part.before);
            let read = left.take(usize::try_from(part.reads()).unwrap()).map(|number| (*number, *number));
            let listed = part.of(read.collect());
            told.push(listed.items);
            let Some(next) = listed.next else { break };
            before = next;
        }
        assert_eq!(told, [vec![9, 7], vec![4, 2]], "and no empty part at the end");
        assert_eq!(Part::from(2).of(Vec::<(i64, i64)>::new()), Listed { items: Vec::new(), next: None });
    }
}
