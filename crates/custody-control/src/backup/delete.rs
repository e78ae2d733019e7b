//! Deleting a backup: at once it is none any more, and what no other backup needs of it goes. No key is needed for that.

use serde::Serialize;

use super::{
    BackupStatus, Freed,
    row::{self, Row},
};
use crate::{
    Control,
    access::{Caller, Privilege},
    audit::{Deed, append},
    db::Change,
    job::{self, Due, JobKind, JobStatus},
    refusal::{Kind, Refused},
};

/// What is told of a deletion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupDeleted {
    /// The backup's id.
    pub backup_id: String,
    /// The job that deletes it.
    pub job_id: String,
}

impl Control {
    /// Deletes a backup. Nothing is restored from it from now on.
    pub async fn delete_backup(&self, caller: &Caller, cluster: &str, id: &str) -> Result<BackupDeleted, Refused> {
        self.backup_for(caller, cluster, id, Privilege::ManageClusters).await?;
        caller.must_have_confirmed()?;
        let mut change = self.db.change().await?;
        let row = row::find_in(&mut change, id).await?.ok_or_else(|| Refused::not_found("backup", id))?;
        let job_id = ask(&mut change, &row).await?;
        append(&mut change, Deed::by(caller, &row.project_id, "backup.delete", id)).await?;
        change.commit().await?;
        Ok(BackupDeleted { backup_id: row.id, job_id })
    }

    /// The backups that there are of a cluster which is no more, in words, each with what opens it.
    pub(crate) async fn backups_that_remain(&self, cluster: &str) -> Result<Vec<String>, Refused> {
        let rows = row::all(&self.db, Some(cluster)).await?.into_iter();
        let rows = rows.filter(|row| row.status == BackupStatus::Available);
        Ok(rows
            .map(|row| match row.keys.first() {
                Some(key) => format!("backup {}, together with the KMS key {}", row.id, key.arn),
                None => format!("backup {}, which is not encrypted", row.id),
            })
            .collect())
    }

    /// The job: deletes a backup, and what only it needed. Each step can be repeated.
    pub(crate) async fn delete_backed_up(&self, job: &Due) -> Result<(), Refused> {
        let _turn = self.backup_turns.of(&job.cluster).await;
        let id = job.backup()?;
        job::tell(&self.db, &job.id, 10, "its manifest is deleted, then what only it needed").await?;
        let deleted = self.nodes.backups.delete(&job.cluster, id).await;
        let Freed { objects, bytes } =
            deleted.map_err(|error| Refused::new(Kind::Unavailable, format!("its files can't be deleted: {error}")))?;
        let said = format!("{objects} objects that no other backup needs, {bytes} bytes");
        let mut change = self.db.change().await?;
        row::remove(&mut change, id).await?;
        append(&mut change, Deed::ours(&job.project, "backup.deleted", id, &said)).await?;
        job::end(&mut change, &job.id, JobStatus::Successful, Some(&said), None).await?;
        change.commit().await?;
        self.clean_up(&job.cluster).await;
        Ok(())
    }
}

/// Writes down that a backup is to be deleted; returns the job. One that is being made or restored stays.
pub(super) async fn ask(change: &mut Change, row: &Row) -> Result<String, Refused> {
    must_be_available(row)?;
    let restores = restores(change, &row.id).await?;
    if !restores.is_empty() {
        return Err(Refused::conflict(format!(
            "the backup is being restored: wait for {}, or cancel it",
            restores.join(", ")
        )));
    }
    let deleting = BackupStatus::Deleting.as_str();
    sqlx::query!("UPDATE backups SET status = ? WHERE id = ?", deleting, row.id).execute(&mut **change).await?;
    let new =
        job::New { backup: Some(&row.id), ..job::New::of(JobKind::DeleteBackup, &row.project_id, &row.cluster_id) };
    job::ask(change, new).await
}

/// Refuses a backup that is none yet, or none any more.
pub(super) fn must_be_available(row: &Row) -> Result<(), Refused> {
    match row.status {
        BackupStatus::Available => Ok(()),
        BackupStatus::Creating => Err(Refused::conflict(format!(
            "backup {} is being made: wait until it is AVAILABLE, or cancel its job",
            row.id
        ))),
        BackupStatus::Deleting => Err(Refused::conflict(format!("backup {} is being deleted", row.id))),
    }
}

/// The jobs that restore a backup, or will.
async fn restores(change: &mut Change, backup: &str) -> Result<Vec<String>, Refused> {
    let (whole, some) = (JobKind::RestoreCluster.as_str(), JobKind::RestoreCollection.as_str());
    let ids = sqlx::query_scalar!(
        "SELECT id FROM jobs WHERE backup_id = ? AND ended_at IS NULL AND kind IN (?, ?) ORDER BY created_at",
        backup,
        whole,
        some
    );
    Ok(ids.fetch_all(&mut **change).await?)
}

/// Takes back what was written down for a job that has not begun.
pub(crate) async fn take_back(change: &mut Change, kind: JobKind, backup: &str) -> Result<(), Refused> {
    match kind {
        JobKind::CreateBackup => row::remove(change, backup).await,
        JobKind::DeleteBackup => {
            let available = BackupStatus::Available.as_str();
            sqlx::query!("UPDATE backups SET status = ? WHERE id = ?", available, backup)
                .execute(&mut **change)
                .await?;
            Ok(())
        }
        _ => Ok(()),
    }
}
