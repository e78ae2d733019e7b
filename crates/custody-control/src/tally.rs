//! Counting things by what they are, for the figures.

use std::{
    borrow::Borrow,
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// How often each thing happened since the process began.
#[derive(Debug)]
pub(crate) struct Tally<K>(Mutex<BTreeMap<K, u64>>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord + Clone> Tally<K> {
    /// It happened once more.
    pub(crate) fn count(&self, thing: K) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(thing).or_default() += 1;
    }

    /// It will not be counted any more.
    pub(crate) fn forget<Q: Ord + ?Sized>(&self, thing: &Q)
    where
        K: Borrow<Q>,
    {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(thing);
    }

    /// All counts.
    pub(crate) fn all(&self) -> Vec<(K, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(thing, count)| (thing.clone(), *count)).collect()
    }
}
