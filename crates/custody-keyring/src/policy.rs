//! How long a zone may be used without hearing from its key.

use std::time::Duration;

/// The longest grace that a key's owner can allow.
pub const LONGEST_GRACE: Duration = Duration::from_hours(24);

/// When leases are renewed and how long they last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeasePolicy {
    /// How often each key is proven by a real decrypt. From 1 s to 24 h.
    pub check_interval: Duration,
    /// How long zones are still served when a check had no answer. At most [`LONGEST_GRACE`]; zero is allowed.
    pub grace: Duration,
    /// How long after a denial it is tried again before it counts as a revocation.
    pub deny_confirm_delay: Duration,
    /// The longest wait for one call to KMS, whatever the adapter does.
    pub call_timeout: Duration,
}

impl Default for LeasePolicy {
    /// Checks every 10 minutes, an hour of grace, denials confirmed after 5 s, calls given up after 30 s.
    fn default() -> Self {
        Self {
            check_interval: Duration::from_mins(10),
            grace: Duration::from_hours(1),
            deny_confirm_delay: Duration::from_secs(5),
            call_timeout: Duration::from_secs(30),
        }
    }
}

/// A policy that no lease can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The interval is out of range.
    #[error("a key check interval of {0:?} is out of range; set 1 s to 24 h")]
    Interval(Duration),
    /// The grace is too long.
    #[error(
        "a grace of {0:?} is too long; at most 24 h are allowed, or a revocation could be outwaited by blocking KMS"
    )]
    Grace(Duration),
    /// Confirming a denial would take longer than a check interval.
    #[error("a denial would be confirmed after {0:?} only; at most a minute is allowed")]
    DenyDelay(Duration),
    /// The wait for a call is out of range.
    #[error("a wait of {0:?} for a KMS call is out of range; set more than zero and at most 5 minutes")]
    CallTimeout(Duration),
}

impl LeasePolicy {
    pub(crate) fn check(&self) -> Result<(), PolicyError> {
        let minute = Duration::from_mins(1);
        if self.check_interval < Duration::from_secs(1) || self.check_interval > LONGEST_GRACE {
            return Err(PolicyError::Interval(self.check_interval));
        }
        if self.grace > LONGEST_GRACE {
            return Err(PolicyError::Grace(self.grace));
        }
        if self.deny_confirm_delay > minute {
            return Err(PolicyError::DenyDelay(self.deny_confirm_delay));
        }
        if self.call_timeout.is_zero() || self.call_timeout > 5 * minute {
            return Err(PolicyError::CallTimeout(self.call_timeout));
        }
        Ok(())
    }

    /// How long after one check the next begins: a little before the interval is over, so that without grace a lease is
    /// renewed before it ends.
    pub(crate) fn pause(&self) -> Duration {
        self.check_interval.saturating_sub((self.check_interval / 5).min(Duration::from_secs(30)))
    }

    /// How long one success lasts.
    pub(crate) fn term(&self) -> Duration {
        self.check_interval + self.grace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grace_of_zero_and_of_a_day_are_allowed_and_a_second_more_is_not() {
        let with = |grace| LeasePolicy { grace, ..LeasePolicy::default() }.check();
        assert_eq!(with(Duration::ZERO), Ok(()));
        assert_eq!(with(LONGEST_GRACE), Ok(()));
        let longer = LONGEST_GRACE + Duration::from_secs(1);
        assert_eq!(with(longer), Err(PolicyError::Grace(longer)));
    }

    #[test]
    fn intervals_and_waits_that_make_no_sense_are_refused() {
        for check_interval in [Duration::ZERO, Duration::from_millis(999), Duration::from_secs(86_401)] {
            let policy = LeasePolicy { check_interval, ..LeasePolicy::default() };
            assert_eq!(policy.check(), Err(PolicyError::Interval(check_interval)));
        }
        let policy = LeasePolicy { call_timeout: Duration::ZERO, ..LeasePolicy::default() };
        assert!(matches!(policy.check(), Err(PolicyError::CallTimeout(_))));
        let policy = LeasePolicy { deny_confirm_delay: Duration::from_secs(61), ..LeasePolicy::default() };
        assert!(matches!(policy.check(), Err(PolicyError::DenyDelay(_))));
    }

    #[test]
    fn the_next_check_begins_before_a_lease_without_grace_ends() {
        for seconds in [1, 10, 600, 86_400] {
            let policy = LeasePolicy {
                check_interval: Duration::from_secs(seconds),
                grace: Duration::ZERO,
                ..LeasePolicy::default()
            };
            assert!(policy.pause() < policy.term() && policy.pause() * 5 >= policy.check_interval * 4);
        }
    }
}
