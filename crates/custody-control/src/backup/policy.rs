//! When backups of a cluster are made by themselves, and how long they are kept. All times are UTC, so that neither months nor
//! a change of the clocks matter.

use serde::Serialize;

use crate::{
    Control,
    access::{Caller, Privilege},
    audit::{Deed, append},
    db::{Change, Db, now, rfc3339},
    refusal::Refused,
};

const MINUTE: i64 = 60_000;
pub(super) const DAY: i64 = 24 * 60 * MINUTE;
/// How many days a backup may be kept.
const RETENTION: std::ops::RangeInclusive<i64> = 1..=30;

/// A policy that is to be followed.
#[derive(Clone, Debug, Default)]
pub struct NewPolicy {
    /// Whether backups are made by themselves.
    pub enabled: bool,
    /// Days of the week, 1 to 7 from Monday, with commas between them.
    pub frequency: Option<String>,
    /// Between which times, such as `02:00-04:00`.
    pub start_time: Option<String>,
    /// How many days each is kept, 1 to 30.
    pub retention_days: Option<i64>,
}

/// When backups of a cluster are made by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupPolicy {
    /// The cluster.
    pub cluster_id: String,
    /// Whether they are.
    pub enabled: bool,
    /// The same as a word: `ENABLED` or `DISABLED`.
    pub status: &'static str,
    /// On which days of the week, 1 to 7 from Monday.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency: Option<String>,
    /// Between which times, in UTC; a backup begins at the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// How many days each is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<i64>,
    /// Always empty: backups are kept in one storage.
    pub cross_region_copies: Vec<String>,
    /// When the next is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_backup_time: Option<String>,
}

/// On which days, at what time, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    /// Monday first.
    days: [bool; 7],
    /// Minutes since midnight.
    start: i64,
    end: i64,
    pub(super) retention_days: i64,
}

impl Schedule {
    /// Understands what a policy says.
    pub(super) fn parse(frequency: &str, start_time: &str, retention_days: i64) -> Result<Self, Refused> {
        if !RETENTION.contains(&retention_days) {
            return Err(Refused::invalid(format!("retentionDays is {} to {}", RETENTION.start(), RETENTION.end())));
        }
        let (start, end) = window(start_time)?;
        Ok(Self { days: days(frequency)?, start, end, retention_days })
    }

    /// The newest time that a backup was to be made, at or before `now`.
    fn newest(&self, now: i64) -> Option<i64> {
        (0..=7).map(|ago| now.div_euclid(DAY) - ago).filter_map(|day| self.on(day)).find(|at| *at <= now)
    }

    /// The next time that one is to be made, after `now`.
    fn next(&self, now: i64) -> Option<i64> {
        (0..=7).map(|ahead| now.div_euclid(DAY) + ahead).filter_map(|day| self.on(day)).find(|at| *at > now)
    }

    /// The time on a day since 1970, if it is one of the days.
    fn on(&self, day: i64) -> Option<i64> {
        // 1970 began on a Thursday.
        let weekday = usize::try_from((day + 3).rem_euclid(7)).ok()?;
        self.days[weekday].then(|| day * DAY + self.start * MINUTE)
    }

    fn frequency(&self) -> String {
        let named: Vec<String> = (1..=7).zip(self.days).filter(|(_, on)| *on).map(|(day, _)| day.to_string()).collect();
        named.join(",")
    }

    fn start_time(&self) -> String {
        let clock = |minutes: i64| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        format!("{}-{}", clock(self.start), clock(self.end))
    }
}

/// Whether a backup is to be made at `now`, where everything up to `last` has been seen to. However many times were missed
/// meanwhile, it is one backup that makes up for them.
pub(super) fn due(schedule: &Schedule, last: i64, now: i64) -> bool {
    schedule.newest(now).is_some_and(|at| at > last)
}

fn days(text: &str) -> Result<[bool; 7], Refused> {
    let refused = || {
        Refused::invalid(format!(
            "frequency {text:?} names no days: give numbers from 1 (Monday) to 7 (Sunday), such as 1,3,5"
        ))
    };
    let mut days = [false; 7];
    for word in text.split(',') {
        let number: usize = word.trim().parse().map_err(|_| refused())?;
        *number.checked_sub(1).and_then(|day| days.get_mut(day)).ok_or_else(refused)? = true;
    }
    Ok(days)
}

fn window(text: &str) -> Result<(i64, i64), Refused> {
    let refused =
        || Refused::invalid(format!("startTime {text:?} is no time of day in UTC: give one such as 02:00-04:00"));
    let clock = |text: &str| {
        let (hours, minutes) = text.trim().split_once(':')?;
        let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
        ((0..24).contains(&hours) && (0..60).contains(&minutes)).then_some(hours * 60 + minutes)
    };
    let (start, end) = match text.split_once('-') {
        Some((start, end)) => (clock(start), clock(end)),
        // As zilliz-cli completes it.
        None => (clock(text), clock(text).map(|start| (start + 120) % (24 * 60))),
    };
    start.zip(end).filter(|(start, end)| start != end).ok_or_else(refused)
}

/// A policy as it is stored.
pub(super) struct Stored {
    pub(super) enabled: bool,
    pub(super) schedule: Schedule,
    pub(super) seen_at: i64,
}

pub(super) async fn find(db: &Db, cluster: &str) -> Result<Option<Stored>, Refused> {
    let found = sqlx::query!(
        "SELECT enabled, frequency, start_time, retention_days, seen_at FROM backup_policies WHERE cluster_id = ?",
        cluster
    );
    let Some(found) = found.fetch_optional(db.pool()).await? else { return Ok(None) };
    let schedule =
        Schedule::parse(&found.frequency, &found.start_time, found.retention_days).map_err(Refused::internal)?;
    Ok(Some(Stored { enabled: found.enabled != 0, schedule, seen_at: found.seen_at }))
}

impl Control {
    /// When backups of a cluster are made by themselves.
    pub async fn backup_policy(&self, caller: &Caller, cluster: &str) -> Result<BackupPolicy, Refused> {
        self.cluster_for(caller, cluster, Privilege::SeeProject).await?;
        Ok(shown(cluster, find(&self.db, cluster).await?.as_ref(), now()))
    }

    /// Changes when backups of a cluster are made by themselves. Times before now are not made up for.
    pub async fn set_backup_policy(
        &self,
        caller: &Caller,
        cluster: &str,
        wanted: &NewPolicy,
    ) -> Result<BackupPolicy, Refused> {
        let row = self.cluster_for(caller, cluster, Privilege::ManageClusters).await?;
        let mut change = self.db.change().await?;
        let said = if wanted.enabled {
            put(&mut change, cluster, &wanted.schedule()?).await?
        } else {
            sqlx::query!("UPDATE backup_policies SET enabled = 0 WHERE cluster_id = ?", cluster)
                .execute(&mut *change)
                .await?;
            "off".to_owned()
        };
        append(&mut change, Deed::by(caller, &row.project_id, "backupPolicy.change", cluster).saying(&said)).await?;
        change.commit().await?;
        self.backup_policy(caller, cluster).await
    }
}

/// Writes a policy down; returns what is told of it.
async fn put(change: &mut Change, cluster: &str, schedule: &Schedule) -> Result<String, Refused> {
    let (frequency, start_time, now) = (schedule.frequency(), schedule.start_time(), now());
    sqlx::query!(
        "INSERT OR REPLACE INTO backup_policies (cluster_id, enabled, frequency, start_time, retention_days, seen_at)
         VALUES (?, 1, ?, ?, ?, ?)",
        cluster,
        frequency,
        start_time,
        schedule.retention_days,
        now
    )
    .execute(&mut **change)
    .await?;
    Ok(format!("on days {frequency} at {start_time} UTC, kept {} days", schedule.retention_days))
}

impl NewPolicy {
    fn schedule(&self) -> Result<Schedule, Refused> {
        let missing = |what: &str| Refused::invalid(format!("{what} is missing: a policy that is enabled needs it"));
        Schedule::parse(
            self.frequency.as_deref().ok_or_else(|| missing("frequency"))?,
            self.start_time.as_deref().ok_or_else(|| missing("startTime"))?,
            self.retention_days.ok_or_else(|| missing("retentionDays"))?,
        )
    }
}

fn shown(cluster: &str, stored: Option<&Stored>, now: i64) -> BackupPolicy {
    let enabled = stored.is_some_and(|it| it.enabled);
    let schedule = stored.map(|it| &it.schedule);
    BackupPolicy {
        cluster_id: cluster.to_owned(),
        enabled,
        status: if enabled { "ENABLED" } else { "DISABLED" },
        frequency: schedule.map(Schedule::frequency),
        start_time: schedule.map(Schedule::start_time),
        retention_days: schedule.map(|it| it.retention_days),
        cross_region_copies: Vec::new(),
        next_backup_time: schedule.filter(|_| enabled).and_then(|it| it.next(now)).map(rfc3339),
    }
}

#[cfg(test)]
mod tests {
    use humantime_serde::re::humantime::parse_rfc3339;

    use super::*;
    use crate::db::at;

    fn time(text: &str) -> i64 {
        at(parse_rfc3339(&format!("{text}:00Z")).unwrap())
    }

    fn schedule(frequency: &str) -> Schedule {
        Schedule::parse(frequency, "02:00-04:00", 7).unwrap()
    }

    #[test]
    fn a_backup_is_due_once_at_each_time() {
        // 2026-01-05 is a Monday.
        let (policy, before) = (schedule("1,3,5"), time("2026-01-05T01:59"));
        assert!(!due(&policy, time("2026-01-04T00:00"), before));
        assert!(due(&policy, before, time("2026-01-05T02:00")));
        assert!(!due(&policy, time("2026-01-05T02:00"), time("2026-01-05T23:00")));
        assert!(!due(&policy, time("2026-01-05T02:00"), time("2026-01-06T23:00")), "Tuesday is none of its days");
        assert!(due(&policy, time("2026-01-05T02:00"), time("2026-01-07T02:00")));
    }

    #[test]
    fn what_was_missed_is_made_up_for_once_and_only_if_something_was() {
        let policy = schedule("1,2,3,4,5,6,7");
        let (stopped, back) = (time("2026-01-05T12:00"), time("2026-03-20T09:30"));
        assert!(due(&policy, stopped, back));
        assert!(!due(&policy, back, back), "seventy-four times, and one backup");
        assert!(due(&policy, back, time("2026-03-21T02:00")));
        assert!(!due(&policy, stopped, time("2026-01-05T23:59")), "nothing was missed");
        assert!(!due(&policy, stopped, time("2026-01-06T01:59")));
    }

    #[test]
    fn neither_months_nor_years_nor_changes_of_the_clocks_move_it() {
        let policy = schedule("7");
        // The night in which clocks are set forward in Europe, a leap day, and the end of a year.
        for (last, at) in [
            ("2026-03-22T02:00", "2026-03-29T02:00"),
            ("2028-02-27T02:00", "2028-03-05T02:00"),
            ("2026-12-27T02:00", "2027-01-03T02:00"),
        ] {
            assert_eq!(policy.next(time(last)), Some(time(at)));
            assert!(due(&policy, time(last), time(at)) && !due(&policy, time(last), time(at) - 1));
        }
    }

    #[test]
    fn the_next_time_is_told() {
        let policy = schedule("1,3,5");
        assert_eq!(policy.next(time("2026-01-05T02:00")), Some(time("2026-01-07T02:00")));
        assert_eq!(policy.next(time("2026-01-05T01:00")), Some(time("2026-01-05T02:00")));
        assert_eq!(schedule("1").next(time("2026-01-05T03:00")), Some(time("2026-01-12T02:00")));
        let stored = Stored { enabled: true, schedule: policy, seen_at: 0 };
        let told = shown("in01-a", Some(&stored), time("2026-01-09T05:00"));
        assert_eq!((told.frequency.as_deref(), told.start_time.as_deref()), (Some("1,3,5"), Some("02:00-04:00")));
        assert_eq!(told.next_backup_time.as_deref(), Some("2026-01-12T02:00:00.000Z"));
        let off = shown("in01-a", Some(&Stored { enabled: false, ..stored }), 0);
        assert_eq!((off.status, off.next_backup_time), ("DISABLED", None));
        assert_eq!(shown("in01-a", None, 0).frequency, None);
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        for frequency in ["", "0", "8", "mon", "1,,2", "1;2", "-1"] {
            assert!(Schedule::parse(frequency, "02:00", 7).is_err(), "{frequency}");
        }
        for start_time in ["", "2", "24:00", "02:60", "02:00-02:00", "02:00-", "-1:00", "02:00-04:00-06:00"] {
            assert!(Schedule::parse("1", start_time, 7).is_err(), "{start_time}");
        }
        for days in [-1, 0, 31] {
            assert!(Schedule::parse("1", "02:00", days).is_err(), "{days}");
        }
        let parsed = Schedule::parse(" 7, 1 ", "23:00", 30).unwrap();
        assert_eq!((parsed.frequency().as_str(), parsed.start_time().as_str()), ("1,7", "23:00-01:00"));
    }

    #[test]
    fn a_policy_that_is_enabled_says_everything() {
        let refused = NewPolicy { enabled: true, frequency: Some("1".into()), ..NewPolicy::default() }.schedule();
        assert!(refused.unwrap_err().message.contains("startTime"));
    }
}
