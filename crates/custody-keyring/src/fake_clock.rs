//! A clock for tests that only moves when it is told to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::clock::{Clock, Moment};

/// A clock that a test moves by hand: hours pass in no time, the machine sleeps, the wall clock jumps.
#[derive(Debug)]
pub struct FakeClock {
    now: watch::Sender<Moment>,
    sleepers: AtomicUsize,
}

impl FakeClock {
    /// Starts a day after boot, in the year 2026.
    pub fn new() -> Self {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_hours(491_666);
        let now = watch::Sender::new(Moment { boot: Duration::from_hours(24), wall });
        Self { now, sleepers: AtomicUsize::new(0) }
    }

    /// Both clocks move on.
    pub fn advance(&self, time: Duration) {
        self.now.send_modify(|now| *now = now.after(time));
    }

    /// Only the boot clock moves on: the wall clock was set back meanwhile.
    pub fn advance_boot(&self, time: Duration) {
        self.now.send_modify(|now| now.boot += time);
    }

    /// Only the wall clock moves on: it was set forward, or the whole machine was paused.
    pub fn advance_wall(&self, time: Duration) {
        self.now.send_modify(|now| now.wall += time);
    }

    /// The wall clock is set back.
    pub fn set_wall_back(&self, time: Duration) {
        self.now.send_modify(|now| now.wall -= time);
    }

    /// How many tasks are asleep.
    pub fn sleepers(&self) -> usize {
        self.sleepers.load(Ordering::SeqCst)
    }
}

impl Default for FakeClock {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts a sleeper for as long as it sleeps, however its sleep ends.
struct Asleep<'a>(&'a AtomicUsize);

impl<'a> Asleep<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for FakeClock {
    fn now(&self) -> Moment {
        *self.now.borrow()
    }

    async fn sleep_until(&self, moment: Moment) {
        let _asleep = Asleep::new(&self.sleepers);
        // The sender is a field of `self`, so waiting can't fail.
        let _ = self.now.subscribe().wait_for(|now| moment.is_past(*now)).await;
    }
}
