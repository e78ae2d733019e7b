//! The look at every listed key, each check interval, by a real decrypt.

use std::{collections::HashMap, sync::Arc, time::Duration};

use custody_kms::{ContextId, probe};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Key, KeyStatus, keys, status::Finding};
use crate::{
    Control,
    access::{Caller, Privilege},
    alert::{self, AlertKind},
    audit::{Deed, append},
    db::{millis, now},
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
        self.key_for(caller, project, id, Privilege::ManageKeys).await
    }

    /// Checks keys as they are due, until the control plane stops. A key whose last check still runs is not checked a
    /// second time beside it: the older answer could be written over the newer.
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
        let found = probe(&*self.kms, &reference, &id, tokio::time::sleep(CONFIRM)).await;
        self.found(key, Finding::of(&found)).await
    }

    /// Writes down what a check came to. A change is history, an activity and an alert besides.
    async fn found(&self, key: &Key, finding: Finding) -> Result<(), Refused> {
        let (id, now, status) = (&key.key_id, now(), finding.status.as_str());
        let mut change = self.db.change().await?;
        let before =
            sqlx::query_scalar!("SELECT status FROM keys WHERE id = ?", id).fetch_optional(&mut *change).await?;
        let Some(before) = before else { return Ok(()) };
        let deletion = finding.pending_deletion.then_some(now);
        let noticed =
            sqlx::query_scalar!("SELECT deletion_at FROM keys WHERE id = ?", id).fetch_one(&mut *change).await?;
        sqlx::query!(
            "UPDATE keys SET status = ?, reason = ?, checked_at = ?, deletion_at = ? WHERE id = ?",
            status,
            finding.reason,
            now,
            deletion,
            id
        )
        .execute(&mut *change)
        .await?;
        if before != status {
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
        if finding.pending_deletion && noticed.is_none() {
            let message = lost(key);
            alert::raise(&mut change, &key.project_id, AlertKind::KeyDeletion, id, &message).await?;
        }
        Ok(change.commit().await?)
    }
}

fn told(key: &Key, finding: &Finding) -> String {
    let (id, status) = (&key.key_id, finding.status);
    match (&finding.reason, finding.status) {
        (_, KeyStatus::Available) => format!("key {id} is {status} again"),
        (Some(reason), _) => format!("key {id} is {status}: {reason}"),
        (None, _) => format!("key {id} is {status}"),
    }
}

/// What goes with the key when its deletion is carried out.
fn lost(key: &Key) -> String {
    let clusters: Vec<&str> = key.clusters.iter().map(|user| user.cluster_id.as_str()).collect();
    let what = match clusters[..] {
        [] => "no cluster lives under it".to_owned(),
        _ => format!("with it the data of {} can never be opened again", clusters.join(", ")),
    };
    format!(
        "key {} is scheduled for deletion: {what}. Its owner can cancel that until then (aws kms cancel-key-deletion)",
        key.key_id
    )
}

/// Nine to eleven tenths of a time, in milliseconds.
fn jittered(time: Duration) -> i64 {
    millis(time.mul_f64(0.9 + rand::random::<f64>() / 5.0))
}
