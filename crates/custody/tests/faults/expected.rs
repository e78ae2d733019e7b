//! What a cluster may hold: exactly what was acknowledged, and of a call without an answer all or nothing.

use std::collections::{BTreeMap, BTreeSet};

/// A collection, an alias, a partition or a database; or a row with the version that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    /// Rows of the main collection, by key.
    Row(i64),
    /// Anything with a name.
    Named(&'static str),
}

/// What a thing may be: absent, or there in a version.
type States = BTreeSet<Option<i64>>;

/// What may be there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected(BTreeMap<Thing, States>);

/// What one call changes: each thing with what it is afterwards.
pub(crate) type Change = Vec<(Thing, Option<i64>)>;

impl Expected {
    /// The call was acknowledged.
    pub(crate) fn done(&mut self, change: &Change) {
        for (thing, state) in change {
            self.0.insert(*thing, States::from([*state]));
        }
    }

    /// The call failed: what it did is unknown.
    pub(crate) fn in_doubt(&mut self, change: &Change) {
        for (thing, state) in change {
            self.0.entry(*thing).or_insert_with(|| States::from([None])).insert(*state);
        }
    }

    /// What differs from what was found; what was seen once is settled.
    pub(crate) fn compare(&mut self, found: &BTreeMap<Thing, i64>) -> Vec<String> {
        let things: BTreeSet<Thing> = self.0.keys().chain(found.keys()).copied().collect();
        let mut wrong = Vec::new();
        for thing in things {
            let state = found.get(&thing).copied();
            let may_be = self.0.entry(thing).or_insert_with(|| States::from([None]));
            if may_be.contains(&state) {
                *may_be = States::from([state]);
            } else {
                wrong.push(format!("{thing:?} is {state:?} and may be {may_be:?}"));
            }
        }
        wrong
    }
}
