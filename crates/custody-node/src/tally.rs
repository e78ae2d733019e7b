//! What a node has done since it began, in figures alone: for whoever runs it and draws it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Counts calls; see [`NodeOptions::tally`](crate::NodeOptions::tally).
#[derive(Debug, Default)]
pub struct Tally {
    requests: AtomicU64,
    failed: AtomicU64,
    micros: AtomicU64,
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Calls that were answered.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// How long all of them took together, in microseconds.
    pub micros: u64,
}

impl Tally {
    pub(crate) fn count(&self, failed: bool, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(failed), Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn counted(&self) -> Counted {
        Counted {
            requests: self.requests.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            micros: self.micros.load(Ordering::Relaxed),
        }
    }
}
