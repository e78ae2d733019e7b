//! Back-off for users whose password is guessed at.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A keyed hash that stands for a user.
pub type Tag = [u8; 32];

/// Failures that cost nothing but the check itself: people mistype.
const FREE: u32 = 3;
/// The first wait; each further failure doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait, so that an owner who was attacked is not locked out for long.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How many users are remembered; beyond it the one whose last failure is oldest is forgotten.
const REMEMBERED: usize = 4_096;

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
    next: Instant,
}

/// Failed sign-ins by user; users are known by a keyed hash of the name given, which need not exist.
#[derive(Debug, Default)]
pub struct Throttle {
    failures: Mutex<HashMap<Tag, Failures>>,
}

impl Throttle {
    /// Says how long the user must wait before the next attempt is looked at, if at all.
    pub fn admit(&self, user: &Tag, now: Instant) -> Result<(), Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.get(user) {
            Some(known) if known.next > now => Err(known.next - now),
            _ => Ok(()),
        }
    }

    /// Notes a failure.
    pub fn failed(&self, user: Tag, now: Instant) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= REMEMBERED
            && !failures.contains_key(&user)
            && let Some(oldest) = failures.iter().min_by_key(|(_, known)| known.last).map(|(user, _)| *user)
        {
            failures.remove(&oldest);
        }
        let known = failures.entry(user).or_insert(Failures { count: 0, last: now, next: now });
        known.count = known.count.saturating_add(1);
        known.last = now;
        if known.count > FREE {
            let doublings = (known.count - FREE - 1).min(16);
            known.next = now + (FIRST_WAIT * 2_u32.pow(doublings)).min(LONGEST_WAIT);
        }
    }

    /// Forgets the user's failures.
    pub fn succeeded(&self, user: &Tag) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u32) -> Tag {
        let mut tag = [0; 32];
        tag[..4].copy_from_slice(&number.to_be_bytes());
        tag
    }

    #[test]
    fn the_first_failures_cost_no_wait() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for _ in 0..FREE {
            throttle.failed(user(1), now);
        }
        assert_eq!(throttle.admit(&user(1), now), Ok(()));
    }

    #[test]
    fn further_failures_double_the_wait_up_to_a_bound() {
        let throttle = Throttle::default();
        let now = Instant::now();
        let mut waits = Vec::new();
        for count in 0..40 {
            throttle.failed(user(1), now);
            if count >= FREE {
                waits.push(throttle.admit(&user(1), now).unwrap_err());
            }
        }
        assert_eq!(waits[0], FIRST_WAIT);
        assert_eq!(waits[1], FIRST_WAIT * 2);
        assert_eq!(waits.last(), Some(&LONGEST_WAIT));
    }

    #[test]
    fn one_users_failures_do_not_slow_another() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for _ in 0..10 {
            throttle.failed(user(1), now);
        }
        assert!(throttle.admit(&user(1), now).is_err());
        assert_eq!(throttle.admit(&user(2), now), Ok(()));
    }

    #[test]
    fn the_wait_ends_and_success_forgets_it() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for _ in 0..4 {
            throttle.failed(user(1), now);
        }
        assert_eq!(throttle.admit(&user(1), now + FIRST_WAIT), Ok(()));
        throttle.succeeded(&user(1));
        assert_eq!(throttle.admit(&user(1), now), Ok(()));
    }

    #[test]
    fn spraying_names_does_not_wash_out_a_recent_back_off() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for _ in 0..40 {
            throttle.failed(user(0), start + Duration::from_secs(1));
        }
        for number in 1..=u32::try_from(REMEMBERED).unwrap() {
            throttle.failed(user(number), start);
        }
        assert!(throttle.admit(&user(0), start + Duration::from_secs(2)).is_err());
        assert_eq!(throttle.failures.lock().unwrap().len(), REMEMBERED);
    }
}
