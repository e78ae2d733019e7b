//! Hybrid timestamps: milliseconds of the wall clock << 18, never the same twice and never going back.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// Bits below the milliseconds, as in Milvus.
const LOGICAL_BITS: u32 = 18;

/// A source of hybrid timestamps.
#[derive(Debug, Default)]
pub(crate) struct HybridClock(AtomicU64);

impl HybridClock {
    /// The next timestamp.
    pub(crate) fn now(&self) -> u64 {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let wall = u64::try_from(millis).unwrap_or(u64::MAX >> LOGICAL_BITS) << LOGICAL_BITS;
        let next = |last: u64| Some(wall.max(last + 1));
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(last) | Err(last) => wall.max(last + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_only_grow() {
        let clock = HybridClock::default();
        let stamps: Vec<u64> = (0..10_000).map(|_| clock.now()).collect();
        assert!(stamps.is_sorted_by(|a, b| a < b));
    }
}
