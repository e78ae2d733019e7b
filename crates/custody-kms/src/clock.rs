//! How far our clock and a KMS's are apart. AWS refuses signatures that are five minutes off, and every answer of it tells
//! its time.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_kms::primitives::{DateTime, DateTimeFormat};

/// How far our clock is from a KMS's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSkew {
    apart: Duration,
    ahead: bool,
}

impl ClockSkew {
    /// From our time and the KMS's at the same moment.
    pub fn between(ours: SystemTime, theirs: SystemTime) -> Self {
        match ours.duration_since(theirs) {
            Ok(apart) => Self { apart, ahead: true },
            Err(behind) => Self { apart: behind.duration(), ahead: false },
        }
    }

    /// How far they are apart.
    pub fn apart(self) -> Duration {
        self.apart
    }

    /// Whether ours is ahead.
    pub fn is_ahead(self) -> bool {
        self.ahead
    }
}

impl fmt::Display for ClockSkew {
    /// Such as `7m 12s behind`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.apart.as_secs();
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            write!(f, "{hours}h ")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m ")?;
        }
        write!(f, "{seconds}s {}", if self.ahead { "ahead" } else { "behind" })
    }
}

/// The newest measurement.
#[derive(Debug, Clone, Default)]
pub(crate) struct SkewMeter(Arc<Mutex<Option<ClockSkew>>>);

impl SkewMeter {
    /// Takes an answer's `Date`; one that can't be read measures nothing.
    pub(crate) fn take(&self, ours: SystemTime, date: &str) {
        if let Some(theirs) = http_date(date) {
            self.set(ClockSkew::between(ours, theirs));
        }
    }

    pub(crate) fn set(&self, skew: ClockSkew) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(skew);
    }

    pub(crate) fn newest(&self) -> Option<ClockSkew> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn http_date(text: &str) -> Option<SystemTime> {
    DateTime::from_str(text, DateTimeFormat::HttpDate).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answers_date_tells_how_far_our_clock_is_off_and_which_way() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let meter = SkewMeter::default();
        meter.take(at(0), "not a date");
        assert_eq!(meter.newest(), None);
        for (ours, said) in [(784_111_777, "0s ahead"), (784_111_345, "7m 12s behind"), (784_115_378, "1h 0m 1s ahead")]
        {
            meter.take(at(ours), "Sun, 06 Nov 1994 08:49:37 GMT");
            assert_eq!(meter.newest().unwrap().to_string(), said);
        }
        assert_eq!(meter.newest().unwrap().apart(), Duration::from_secs(3601));
    }
}
