//! When a delivery that failed is tried again.

use std::time::Duration;

/// The waits between tries: a receiver that restarts is met again within seconds, one that is down overnight is not flooded.
const WAITS: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(60 * 60),
];

/// How long to wait after try number `attempt` (from 1) has failed; none when it was the last one.
///
/// Up to a fifth is added by chance, so that the alerts of one moment don't all come back at one moment.
pub fn next_try(attempt: u32) -> Option<Duration> {
    let index = usize::try_from(attempt).ok()?.checked_sub(1)?;
    WAITS.get(index).map(|wait| wait.mul_f64(1.0 + rand::random::<f64>() / 5.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_grow_and_end_after_the_sixth_try() {
        for (attempt, seconds) in (1..).zip([5.0, 30.0, 120.0, 600.0, 3600.0]) {
            for _ in 0..100 {
                let wait = next_try(attempt).unwrap().as_secs_f64();
                assert!((seconds..=seconds * 1.2 + 1e-6).contains(&wait), "{attempt}: {wait}");
            }
        }
        for attempt in [0, 6, 7, u32::MAX] {
            assert_eq!(next_try(attempt), None, "{attempt}");
        }
    }

    #[test]
    fn two_waits_are_hardly_ever_the_same() {
        let waits: Vec<_> = (0..20).map(|_| next_try(5)).collect();
        assert!(waits.iter().any(|wait| *wait != waits[0]));
    }
}
