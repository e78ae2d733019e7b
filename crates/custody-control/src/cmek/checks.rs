//! The look at every listed key, each check interval, by a real decrypt.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use custody_kms::{ContextId, RootKeyRef, RootKms, probe};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Key, KeyStatus, keys, status::Finding};
use crate::{
    Control,
    access::{Caller, Privilege},
    alert::{self, AlertKind},
    audit::{Deed, append},
    db::{millis, now, rfc3339},
    refusal::Refused,
};

/// Between a denial and the second look that confirms it.
const CONFIRM: Duration = Duration::from_secs(2);
/// Between two looks for keys whose check is due.
const TICK: Duration = Duration::from_millis(250);
/// Checks at the same time: keys that hang hold up no other until there are as many of them.
const AT_ONCE: usize = 16;

impl Control {
    /// Looks at a key now.
    pub async fn check_key(&self, caller: &Caller, project: &str, id: &str) -> Result<Key, Refused> {
        let key = self.key_for(caller, project, id, Privilege::ManageKeys).await?;
        let mut change = self.db.change().await?;
        append(&mut change, Deed::by(caller, project, "key.check", id)).await?;
        change.commit().await?;
        self.look(&key).await?;
        self.look_for_strangers(&key).await?;
        self.key_for(caller, project, id, Privilege::ManageKeys).await
    }

    /// Checks keys as they are due, until the control plane stops. A key whose last check still runs is not checked a
    /// second time beside it: it would only wait for the same.
    pub async fn check_keys(self: Arc<Self>) {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let mut checks = JoinSet::new();
        let mut running = HashMap::new();
        loop {
            tokio::time::sleep(TICK).await;
            while let Some(ended) = checks.try_join_next_with_id() {
                running.remove(&ended.map_or_else(|error| error.id(), |(id, ())| id));
            }
            match self.take_due().await {
                Ok(due) => {
                    for key in due {
                        if running.values().any(|other| *other == key) {
                            continue;
                        }
                        let (control, turns, id) = (Arc::clone(&self), Arc::clone(&turns), key.clone());
                        let check = checks.spawn(async move {
                            // Never closed.
                            let _turn = turns.acquire().await;
                            control.check_due(&id).await;
                        });
                        running.insert(check.id(), key);
                    }
                }
                Err(error) => tracing::error!(%error, "keys that are due for a check can't be listed"),
            }
        }
    }

    /// The keys that are due; each is due again only an interval later, with jitter, so that the checks of many keys spread.
    async fn take_due(&self) -> Result<Vec<String>, Refused> {
        let now = now();
        let due = sqlx::query_scalar!("SELECT id FROM keys WHERE next_check_at <= ?", now).fetch_all(self.db.pool());
        let due = due.await?;
        if due.is_empty() {
            return Ok(due);
        }
        let mut change = self.db.change().await?;
        for id in &due {
            let next = now + jittered(self.options.check_interval);
            sqlx::query!("UPDATE keys SET next_check_at = ? WHERE id = ?", next, id).execute(&mut *change).await?;
        }
        change.commit().await?;
        Ok(due)
    }

    async fn check_due(&self, id: &str) {
        let key = match keys::get(&self.db, id).await {
            Ok(Some(key)) => key,
            // Deleted meanwhile.
            Ok(None) => return,
            Err(error) => return tracing::error!(key = id, %error, "a key's check could not begin"),
        };
        if let Err(error) = self.look(&key).await {
            tracing::error!(key = id, %error, "a key's check could not be written down");
        }
    }

    /// One look at a key, written down.
    async fn look(&self, key: &Key) -> Result<(), Refused> {
        let reference = self.stored_reference(key).await?;
        let id: ContextId = key.project_id.parse().map_err(Refused::internal)?;
        let number = self.newest_checks.begin();
        let finding = find(&*self.kms, &reference, &id, key.status).await;
        self.found(key, number, finding).await
    }

    /// Writes down what a check came to. A change is history, an activity and an alert besides.
    async fn found(&self, key: &Key, number: u64, finding: Finding) -> Result<(), Refused> {
        let (id, now, status) = (&key.key_id, now(), finding.status.as_str());
        let mut change = self.db.change().await?;
        if !self.newest_checks.is_newest(id, number) {
            return Ok(());
        }
        let before = sqlx::query!(
            "SELECT status, deletion_at, last_success_at, grace_seconds, grace_told, next_check_at FROM keys WHERE id = ?",
            id
        );
        let Some(before) = before.fetch_optional(&mut *change).await? else { return Ok(()) };
        let deletion = finding.pending_deletion.then_some(now);
        let success = if finding.decrypts { now } else { before.last_success_at };
        let grace = Grace { since: success, seconds: before.grace_seconds };
        let (unreachable, warned) = (finding.status == KeyStatus::Unreachable, before.grace_told != 0);
        let ending = unreachable && !warned && now >= grace.half();
        let grace_told = unreachable && (warned || ending);
        let next =
            if unreachable && !grace_told { before.next_check_at.min(grace.half()) } else { before.next_check_at };
        sqlx::query!(
            "UPDATE keys SET status = ?, reason = ?, checked_at = ?, deletion_at = ?, last_success_at = ?, grace_told = ?,
                             next_check_at = ? WHERE id = ?",
            status,
            finding.reason,
            now,
            deletion,
            success,
            grace_told,
            next,
            id
        )
        .execute(&mut *change)
        .await?;
        if before.status != status {
            sqlx::query!(
                "INSERT INTO key_statuses (key_id, at, status, reason) VALUES (?, ?, ?, ?)",
                id,
                now,
                status,
                finding.reason
            )
            .execute(&mut *change)
            .await?;
            append(&mut change, Deed::ours(&key.project_id, "key.status", id, status)).await?;
            let message = told(key, &finding);
            alert::raise(&mut change, &key.project_id, AlertKind::KeyStatus, id, &message).await?;
        }
        if ending {
            alert::raise(&mut change, &key.project_id, AlertKind::KeyGrace, id, &grace.told(key, now)).await?;
        }
        if finding.pending_deletion && before.deletion_at.is_none() {
            let message = lost(key);
            alert::raise(&mut change, &key.project_id, AlertKind::KeyDeletion, id, &message).await?;
        }
        Ok(change.commit().await?)
    }
}

/// Which check of each key is the newest whose result is written down. One that somebody asks for runs beside the scheduled
/// one: should that hang, its older answer comes last and must not stand over the newer.
#[derive(Default)]
pub(crate) struct NewestChecks {
    begun: AtomicU64,
    written: Mutex<HashMap<String, u64>>,
}

impl NewestChecks {
    /// The number of a check that begins now.
    fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst)
    }

    /// Whether no check of the key that began later is written down. Whoever asks has the right to write, and writes this one.
    fn is_newest(&self, key: &str, number: u64) -> bool {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = written.entry(key.to_owned()).or_insert(number);
        *newest = number.max(*newest);
        *newest == number
    }
}

/// What a key comes to. A probe is several calls, and its owner may change the key between two of them: a key that decrypts and
/// is not whole, which is news, is looked at once more.
async fn find(kms: &dyn RootKms, key: &RootKeyRef, id: &ContextId, before: KeyStatus) -> Finding {
    let look = || async { Finding::of(&probe(kms, key, id, tokio::time::sleep(CONFIRM)).await) };
    let found = look().await;
    let between = found.status == KeyStatus::Misconfigured && found.decrypts;
    if between && before != KeyStatus::Misconfigured { look().await } else { found }
}

fn told(key: &Key, finding: &Finding) -> String {
    let (id, status) = (&key.key_id, finding.status);
    match (&finding.reason, finding.status) {
        (_, KeyStatus::Available) => format!("key {id} is {status} again"),
        (Some(reason), _) => format!("key {id} is {status}: {reason}"),
        (None, _) => format!("key {id} is {status}"),
    }
}

/// The grace of a key that can't be reached.
struct Grace {
    /// Its last success.
    since: i64,
    seconds: i64,
}

impl Grace {
    /// When half of it is over, and there is still time to do something.
    fn half(&self) -> i64 {
        self.since + self.seconds * 500
    }

    fn end(&self) -> i64 {
        self.since + self.seconds * 1_000
    }

    fn told(&self, key: &Key, now: i64) -> String {
        let (id, since, end) = (&key.key_id, rfc3339(self.since), rfc3339(self.end()));
        let what = match (clusters(key), now < self.end()) {
            (None, _) => format!("no cluster lives under it; its grace ends at {end}"),
            (Some(clusters), true) => format!("unless it does before, {clusters} seal at {end}, when its grace ends"),
            (Some(clusters), false) => format!("its grace ended at {end}, and {clusters} are sealed"),
        };
        format!("key {id} has not answered this service since {since}: {what}")
    }
}

/// The clusters that live under a key.
fn clusters(key: &Key) -> Option<String> {
    let ids: Vec<&str> = key.clusters.iter().map(|user| user.cluster_id.as_str()).collect();
    if ids.is_empty() { None } else { Some(ids.join(", ")) }
}

/// What goes with the key when its deletion is carried out.
fn lost(key: &Key) -> String {
    let backups = (!key.backups.is_empty()).then(|| format!("backups {}", key.backups.join(", ")));
    let lost: Vec<String> = clusters(key).into_iter().chain(backups).collect();
    let what = if lost.is_empty() {
        "no cluster lives under it".to_owned()
    } else {
        format!("with it the data of {} can never be opened again", lost.join(" and of "))
    };
    format!(
        "key {} is scheduled for deletion: {what}. Its owner can cancel that until then (aws kms cancel-key-deletion)",
        key.key_id
    )
}

/// Nine to eleven tenths of a time, in milliseconds.
pub(super) fn jittered(time: Duration) -> i64 {
    millis(time.mul_f64(0.9 + rand::random::<f64>() / 5.0))
}

#[cfg(test)]
mod tests {
    use custody_kms::{
        Action,
        scripted::{Fault, ScriptedKms},
    };

    use super::*;
    use crate::{
        Options,
        cmek::{Allow, KeyUser, Recovery},
        control::tests::Plane,
    };

    #[tokio::test]
    async fn a_check_that_hung_is_not_written_over_one_that_began_later() {
        let plane = Plane::new(Options::default()).await;
        plane.add_key("cmek-1").await;
        let (control, owner, project) = (&plane.control, &plane.owner, &plane.project);
        let key = control.key(owner, project, "cmek-1").await.unwrap();
        let found = |status, reason: &str| Finding { status, reason: Some(reason.to_owned()), ..Finding::available() };
        let (first, second) = (control.newest_checks.begin(), control.newest_checks.begin());
        control.found(&key, second, found(KeyStatus::Revoked, "the second")).await.unwrap();
        control.found(&key, first, found(KeyStatus::Unreachable, "the first")).await.unwrap();
        let now = control.key(owner, project, "cmek-1").await.unwrap();
        assert_eq!((now.status, now.reason.as_deref()), (KeyStatus::Revoked, Some("the second")));
        let third = control.newest_checks.begin();
        control.found(&key, third, Finding::available()).await.unwrap();
        let history = control.key_statuses(owner, project, "cmek-1", 10).await.unwrap();
        let told: Vec<_> = history.into_iter().map(|it| (it.status, it.reason)).collect();
        assert_eq!(told, [(KeyStatus::Available, None), (KeyStatus::Revoked, Some("the second".to_owned()))]);
    }

    #[tokio::test]
    async fn a_key_that_is_changed_between_two_calls_of_its_check_is_looked_at_once_more() {
        let (kms, id) = (ScriptedKms::new(), "proj-1".parse().unwrap());
        let key = kms.create_key();
        kms.fault_next(Action::DescribeKey, Fault::Code("DisabledException"));
        let found = find(&kms, &key, &id, KeyStatus::Revoked).await;
        assert_eq!((found.status, kms.calls(Action::Decrypt)), (KeyStatus::Available, 2));
        // What stays so is so, and is no news at the next check.
        kms.fault(Action::DescribeKey, Fault::Code("DisabledException"));
        for (before, decrypts) in [(KeyStatus::Available, 4), (KeyStatus::Misconfigured, 5)] {
            let found = find(&kms, &key, &id, before).await;
            assert_eq!((found.status, found.decrypts), (KeyStatus::Misconfigured, true));
            assert_eq!(kms.calls(Action::Decrypt), decrypts);
        }
    }

    fn key(clusters: &[&str]) -> Key {
        let user = |id: &&str| KeyUser { cluster_id: (*id).to_owned(), cluster_name: "a name".to_owned() };
        Key {
            key_id: "cmek-1".to_owned(),
            name: "payments".to_owned(),
            provider: "aws".to_owned(),
            key_arn: String::new(),
            alias: None,
            region_id: String::new(),
            role_arn: None,
            status: KeyStatus::Unreachable,
            reason: None,
            warning: None,
            last_success_at: 0,
            last_checked_at: 0,
            next_check_at: 0,
            grace_seconds: 3600,
            recovery: Recovery::Auto,
            allow: Allow { clusters: Vec::new(), databases: Vec::new() },
            clusters: clusters.iter().map(user).collect(),
            backups: Vec::new(),
            project_id: "proj-1".to_owned(),
        }
    }

    #[test]
    fn the_end_of_a_grace_is_told_with_what_seals_then_and_when_by_ids_alone() {
        let grace = Grace { since: 0, seconds: 3600 };
        assert_eq!((grace.half(), grace.end()), (1_800_000, 3_600_000));
        let said = grace.told(&key(&["in01-a", "in01-b"]), 1_800_000);
        assert!(said.contains("in01-a, in01-b seal at 1970-01-01T01:00:00"), "{said}");
        assert!(said.contains("since 1970-01-01T00:00:00") && !said.contains("name"), "{said}");
        // A grace of nothing is over at once.
        let none = Grace { since: 0, seconds: 0 };
        let said = none.told(&key(&["in01-a"]), 0);
        assert!(said.contains("its grace ended at") && said.contains("in01-a are sealed"), "{said}");
        assert!(grace.told(&key(&[]), 0).contains("no cluster lives under it"));
    }
}
