//! Backups that are made, and go, by themselves.

use std::{sync::Arc, time::Duration};

use super::{
    BackupKind, BackupStatus, CreationMethod, create, delete, policy,
    row::{self, Row},
};
use crate::{
    Control,
    audit::{Deed, append},
    cluster::{self, Phase},
    db::now,
    random,
    refusal::{Kind, Refused},
};

/// Between two looks for what is due.
const TICK: Duration = Duration::from_secs(5);

impl Control {
    /// Makes backups as clusters' policies say, and deletes those whose time is over, until the control plane stops.
    pub async fn follow_backup_policies(self: Arc<Self>) {
        loop {
            if let Err(error) = self.make_due(now()).await {
                tracing::error!(%error, "backups that are due could not be asked for");
            }
            if let Err(error) = self.delete_expired(now()).await {
                tracing::error!(%error, "backups whose time is over could not be deleted");
            }
            tokio::time::sleep(TICK).await;
        }
    }

    pub(super) async fn make_due(&self, now: i64) -> Result<(), Refused> {
        let ids = sqlx::query_scalar!("SELECT cluster_id FROM backup_policies WHERE enabled = 1");
        for id in ids.fetch_all(self.db.pool()).await? {
            let Some(cluster) = cluster::find(&self.db, &id).await? else { continue };
            let Some(policy) = policy::find(&self.db, &id).await? else { continue };
            // One that is stopped, or being destroyed, is made up for when it serves again, if ever.
            if cluster.phase == Phase::Running && policy::due(&policy.schedule, policy.seen_at, now) {
                // What is wrong with one cluster must not keep the others from their backups.
                if let Err(error) = self.ask_automatic(&cluster, now, policy.schedule.retention_days).await {
                    tracing::error!(cluster = cluster.id, %error, "a backup that is due could not be asked for");
                }
            }
        }
        Ok(())
    }

    /// Asks for the backup that is due. In the same change the time is seen to, so that it is asked for once.
    async fn ask_automatic(&self, cluster: &cluster::Row, now: i64, days: i64) -> Result<(), Refused> {
        let mut change = self.db.change().await?;
        sqlx::query!("UPDATE backup_policies SET seen_at = ? WHERE cluster_id = ?", now, cluster.id)
            .execute(&mut *change)
            .await?;
        let label = create::numbered(&mut change, cluster).await?;
        let until = Some(now + days * policy::DAY);
        let row = Row::of(random::id("backup")?, cluster, label, BackupKind::Cluster, CreationMethod::Auto, until);
        let asked = create::ask(&mut change, cluster, row).await?;
        let said = format!("of cluster {}, as its policy says", cluster.id);
        append(&mut change, Deed::ours(&cluster.project_id, "backup.create", &asked.backup_id, &said)).await?;
        Ok(change.commit().await?)
    }

    pub(super) async fn delete_expired(&self, now: i64) -> Result<(), Refused> {
        let available = BackupStatus::Available.as_str();
        let ids = sqlx::query_scalar!("SELECT id FROM backups WHERE expires_at <= ? AND status = ?", now, available);
        for id in ids.fetch_all(self.db.pool()).await? {
            let mut change = self.db.change().await?;
            let Some(row) = row::find_in(&mut change, &id).await? else { continue };
            match delete::ask(&mut change, &row).await {
                // It is being restored: then it goes afterwards.
                Err(error) if error.kind == Kind::Conflict => continue,
                asked => asked?,
            };
            append(&mut change, Deed::ours(&row.project_id, "backup.delete", &id, "its time is over")).await?;
            change.commit().await?;
        }
        Ok(())
    }
}
