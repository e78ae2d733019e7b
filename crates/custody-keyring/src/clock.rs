//! Time, as a lease sees it: two clocks, because each can be fooled alone.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use rustix::time::{ClockId, clock_gettime};

/// One moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Time since boot, suspend included (CLOCK_BOOTTIME): nobody can set it, and it does not stop when the machine sleeps.
    pub boot: Duration,
    /// The wall clock: it goes on while a virtual machine is paused and its boot clock with it.
    pub wall: SystemTime,
}

impl Moment {
    /// The moment `time` later on both clocks.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        // A wall clock at the end of time stays there; the boot clock still counts.
        Self { boot: self.boot.saturating_add(time), wall: self.wall.checked_add(time).unwrap_or(self.wall) }
    }

    /// Whether either clock has come to this moment at `now`.
    pub fn is_past(self, now: Self) -> bool {
        now.boot >= self.boot || now.wall >= self.wall
    }
}

/// Reads both clocks and sleeps by them.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now, on both clocks.
    fn now(&self) -> Moment;

    /// Sleeps until either clock has come to `moment`.
    async fn sleep_until(&self, moment: Moment);
}

/// The clocks of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// Timers stand still while the machine is suspended, and know nothing of the wall clock. Looking again this often
/// bounds how late a sleeper notices.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let boot = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(boot.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(boot.tv_nsec).unwrap_or_default();
        Moment { boot: Duration::new(seconds, nanos), wall: SystemTime::now() }
    }

    async fn sleep_until(&self, moment: Moment) {
        loop {
            let now = self.now();
            if moment.is_past(now) {
                return;
            }
            let wall = moment.wall.duration_since(now.wall).unwrap_or_default();
            tokio::time::sleep(moment.boot.saturating_sub(now.boot).min(wall).min(LOOK_AGAIN)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_moment_is_past_when_either_clock_says_so() {
        let start = Moment { boot: Duration::from_secs(100), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1000) };
        let end = start.after(Duration::from_secs(10));
        assert!(!end.is_past(start.after(Duration::from_secs(9))));
        assert!(end.is_past(start.after(Duration::from_secs(10))));
        assert!(end.is_past(Moment { boot: end.boot, ..start }));
        assert!(end.is_past(Moment { wall: end.wall, ..start }));
    }

    #[tokio::test]
    async fn the_system_clock_wakes_when_its_moment_has_come() {
        let clock = SystemClock;
        let end = clock.now().after(Duration::from_millis(20));
        clock.sleep_until(end).await;
        assert!(end.is_past(clock.now()));
        clock.sleep_until(end).await;
    }

    /// Set for the process that runs where the boot clock is ahead of the monotonic one by this, in seconds.
    const SLEPT: &str = "CUSTODY_TEST_SLEPT";

    /// No test suspends its machine. In a time namespace the boot clock says the same as if one had.
    #[test]
    fn time_in_which_the_machine_slept_counts() {
        let name = "clock::tests::time_in_which_the_machine_slept_counts";
        if let Ok(slept) = std::env::var(SLEPT) {
            let awake = Duration::from_secs(clock_gettime(ClockId::Monotonic).tv_sec.try_into().unwrap());
            assert!(SystemClock.now().boot >= awake + Duration::from_secs(slept.parse().unwrap()));
            return;
        }
        let day = (24 * 60 * 60).to_string();
        let mut sleeper = Command::new("unshare");
        sleeper.args(["--time", "--fork", "--boottime", &day]).arg(std::env::current_exe().unwrap());
        let output = sleeper.args(["--exact", name, "--nocapture"]).env(SLEPT, &day).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if said.starts_with("unshare: ") {
            // Root's own right, which a container may keep from it.
            eprintln!("SKIPPED: no time namespace can be made here: {said}");
            return;
        }
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}
