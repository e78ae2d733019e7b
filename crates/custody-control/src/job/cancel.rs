//! Taking a job back.

use super::{Job, JobKind, JobStatus};
use crate::{
    Control,
    access::{Caller, Privilege},
    audit::{Deed, append},
    backup,
    db::{Change, Db},
    refusal::Refused,
};

impl Control {
    /// Takes a job back. One that has not begun is canceled with this; one that is under way undoes what it has made, unless it
    /// is done before.
    pub async fn cancel_job(&self, caller: &Caller, id: &str) -> Result<Job, Refused> {
        let job = self.job(caller, id).await?;
        caller.must(Privilege::ManageClusters, &job.project_id)?;
        must_be_cancelable(&job)?;
        let mut change = self.db.change().await?;
        let (pending, running) = (JobStatus::Pending.as_str(), JobStatus::Running.as_str());
        let marked = sqlx::query_scalar!(
            "UPDATE jobs SET cancel = 1 WHERE id = ? AND status IN (?, ?) RETURNING status",
            id,
            pending,
            running
        );
        let Some(status) = marked.fetch_optional(&mut *change).await? else {
            return Err(Refused::conflict("the job has ended already"));
        };
        append(&mut change, Deed::by(caller, &job.project_id, "job.cancel", id)).await?;
        if status == pending && job.kind != JobKind::RestoreCluster {
            take_back(&mut change, &job).await?;
            self.names.forget(id);
        } else if status == pending {
            // What stands of its cluster already, its own job undoes.
            sqlx::query!("UPDATE jobs SET status = ? WHERE id = ?", running, id).execute(&mut *change).await?;
        }
        change.commit().await?;
        self.job(caller, id).await
    }
}

/// Ends a job that has not begun, with what was written down for it.
async fn take_back(change: &mut Change, job: &Job) -> Result<(), Refused> {
    if let Some(backup) = &job.backup_id {
        backup::take_back(change, job.kind, backup).await?;
    }
    super::end(change, &job.job_id, JobStatus::Canceled, None, None).await
}

fn must_be_cancelable(job: &Job) -> Result<(), Refused> {
    match job.kind {
        JobKind::CreateBackup | JobKind::RestoreCluster | JobKind::RestoreCollection => Ok(()),
        JobKind::DeleteBackup if job.status == JobStatus::Pending => Ok(()),
        JobKind::DeleteBackup => Err(Refused::conflict("the backup is being deleted, and is none any more")),
        JobKind::DropCluster => {
            Err(Refused::conflict(format!("a drop is taken back with POST /v2/clusters/{}/undrop", job.cluster_id)))
        }
        JobKind::CreateCluster => {
            Err(Refused::conflict("a cluster that is being made can't be taken back: drop it once it runs"))
        }
    }
}

/// Whether somebody wants a job given up.
pub(crate) async fn is_unwanted(db: &Db, id: &str) -> Result<bool, Refused> {
    let cancel = sqlx::query_scalar!("SELECT cancel FROM jobs WHERE id = ?", id).fetch_optional(db.pool());
    Ok(cancel.await?.is_some_and(|cancel| cancel != 0))
}
