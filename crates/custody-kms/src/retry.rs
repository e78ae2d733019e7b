//! Bounded retries with full jitter.

use std::time::Duration;

use aws_lc_rs::rand;

/// How often a call is tried, and how long to wait between tries.
///
/// Only what may well pass in a moment is tried again: throttling, a lost connection, a time-out, a fault inside AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, at least one.
    pub attempts: u32,
    /// Longest wait before the second try; doubled before each further one.
    pub base: Duration,
    /// Longest wait at all.
    pub cap: Duration,
}

impl RetryPolicy {
    /// One try.
    pub const NONE: Self = Self { attempts: 1, base: Duration::ZERO, cap: Duration::ZERO };

    /// Waits and says whether to try again after try number `attempt` (from 0).
    pub(crate) async fn again(&self, attempt: u32, transient: bool) -> bool {
        if !transient || attempt + 1 >= self.attempts {
            return false;
        }
        tokio::time::sleep(self.longest(attempt).mul_f64(fraction())).await;
        true
    }

    fn longest(&self, attempt: u32) -> Duration {
        self.base.saturating_mul(2_u32.saturating_pow(attempt)).min(self.cap)
    }
}

impl Default for RetryPolicy {
    /// Three tries within about a second of waiting.
    fn default() -> Self {
        Self { attempts: 3, base: Duration::from_millis(200), cap: Duration::from_secs(2) }
    }
}

/// A random share from 0 to 1. Jitter needs no perfect source: without one, the whole wait is taken.
fn fraction() -> f64 {
    let mut bytes = [0; 4];
    match rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_cap() {
        let policy = RetryPolicy { attempts: 99, base: Duration::from_millis(100), cap: Duration::from_secs(1) };
        let waits: Vec<u128> = [0, 1, 3, 4, 90].map(|attempt| policy.longest(attempt).as_millis()).to_vec();
        assert_eq!(waits, [100, 200, 800, 1000, 1000]);
        assert!((0..1000).map(|_| fraction()).all(|share| (0.0..=1.0).contains(&share)));
    }

    #[tokio::test]
    async fn tries_are_bounded_and_only_for_what_may_pass() {
        let policy = RetryPolicy { attempts: 3, base: Duration::from_micros(1), cap: Duration::from_micros(2) };
        assert!(policy.again(0, true).await && policy.again(1, true).await);
        assert!(!policy.again(2, true).await);
        assert!(!policy.again(0, false).await);
        assert!(!RetryPolicy::NONE.again(0, true).await);
    }
}
