//! The storage of backups, as far as the control plane touches it: it deletes, and never reads a backup.
//!
//! Of one cluster's backups one thing is done at a time. A clean-up beside a backup that is being made would take from it what
//! no list names yet.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::OwnedMutexGuard;

use super::{BackupStatus, row};
use crate::{
    Control,
    job::{JobKind, JobStatus},
    refusal::Refused,
};

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Objects that were deleted.
    pub objects: u64,
    /// Their size in all.
    pub bytes: u64,
}

/// The backups that are written down of a cluster, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Those that are being made.
    pub owned: Vec<String>,
    /// Those that were made, and are not deleted yet.
    pub made: Vec<String>,
}

/// Where backups are kept. Everything can be repeated, and nothing of it needs a key.
#[async_trait]
pub trait BackupStorage: Send + Sync {
    /// Deletes a backup: its manifest first, so that it is none from that moment; then its other objects. Those that it shared
    /// with backups that are no more go too; what can't, a clean-up is left to remove.
    async fn delete(&self, cluster: &str, backup: &str) -> Result<Freed, String>;

    /// Removes what belongs to no backup of a cluster: what was left of those that were not completed, but for those that are
    /// being made; one that is complete, but not known, and without the list by which its objects stay; and shared objects that
    /// no backup lists.
    async fn clean_up(&self, cluster: &str, backups: &Known) -> Result<Freed, String>;

    /// The clusters of which there is anything.
    async fn clusters(&self) -> Result<Vec<String>, String>;
}

/// Whose turn it is to do something with a cluster's backups.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits for the turn; it ends when what is returned is dropped.
    pub(crate) async fn of(&self, cluster: &str) -> OwnedMutexGuard<()> {
        let turn =
            Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(cluster.to_owned()).or_default());
        turn.lock_owned().await
    }
}

impl Control {
    /// Removes what earlier times left in the storage of backups. Of a cluster whose backup is being made, that backup's job
    /// does it at its end.
    pub async fn clean_up_backups(self: Arc<Self>) {
        let clusters = match self.nodes.backups.clusters().await {
            Ok(clusters) => clusters,
            Err(error) => return tracing::error!(error, "what is in the storage of backups can't be listed"),
        };
        for cluster in clusters {
            let _turn = self.backup_turns.of(&cluster).await;
            match self.is_at_work_on(&cluster).await {
                Ok(false) => self.clean_up(&cluster).await,
                Ok(true) => {}
                Err(error) => tracing::error!(cluster, %error, "what is done with a cluster's backups can't be read"),
            }
        }
    }

    async fn is_at_work_on(&self, cluster: &str) -> Result<bool, Refused> {
        let (running, make) = (JobStatus::Running.as_str(), JobKind::CreateBackup.as_str());
        let count = sqlx::query_scalar!(
            "SELECT count(*) FROM jobs WHERE cluster_id = ? AND status = ? AND kind = ?",
            cluster,
            running,
            make
        );
        Ok(count.fetch_one(self.db.pool()).await? > 0)
    }

    /// Removes what belongs to no backup of a cluster. Whoever calls has the turn. It is tried again after the next job.
    pub(super) async fn clean_up(&self, cluster: &str) {
        let rows = match row::all(&self.db, Some(cluster)).await {
            Ok(rows) => rows,
            Err(error) => return tracing::error!(cluster, %error, "a cluster's backups can't be listed"),
        };
        let (owned, made): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.status == BackupStatus::Creating);
        let ids = |rows: Vec<row::Row>| rows.into_iter().map(|row| row.id).collect();
        match self.nodes.backups.clean_up(cluster, &Known { owned: ids(owned), made: ids(made) }).await {
            Ok(Freed { objects: 0, .. }) => {}
            Ok(freed) => tracing::info!(cluster, objects = freed.objects, bytes = freed.bytes, "no backup needed them"),
            Err(error) => tracing::error!(cluster, error, "what no backup needs could not be removed"),
        }
    }
}
