//! Carrying jobs out: each once its time has come, and again from its beginning after a restart.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::{JobKind, JobStatus};
use crate::{Control, db::now, refusal::Refused};

/// Between two looks for jobs that are due.
const TICK: Duration = Duration::from_millis(250);
/// Before a job whose step failed for a reason that may pass is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// A job that is to be carried out.
#[derive(Clone)]
pub(crate) struct Due {
    pub(crate) id: String,
    pub(crate) project: String,
    pub(crate) cluster: String,
    kind: JobKind,
}

impl Control {
    /// Carries jobs out, until the control plane stops. What was under way when it stopped last begins again: every step
    /// can be repeated.
    pub async fn run_jobs(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        let mut running = HashMap::new();
        loop {
            while let Some(ended) = tasks.try_join_next_with_id() {
                running.remove(&ended.map_or_else(|error| error.id(), |(id, ())| id));
            }
            match self.begin_due().await {
                Ok(due) => {
                    for job in due {
                        if running.values().any(|id| *id == job.id) {
                            continue;
                        }
                        let id = job.id.clone();
                        let task = tasks.spawn(Arc::clone(&self).carry_out(job));
                        running.insert(task.id(), id);
                    }
                }
                Err(error) => tracing::error!(%error, "jobs that are due can't be listed"),
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// The jobs that are to run now. From here on they can't be taken back.
    async fn begin_due(&self) -> Result<Vec<Due>, Refused> {
        let (now, pending, running) = (now(), JobStatus::Pending.as_str(), JobStatus::Running.as_str());
        let ripe = sqlx::query_scalar!("SELECT count(*) FROM jobs WHERE status = ? AND due_at <= ?", pending, now);
        if ripe.fetch_one(self.db.pool()).await? > 0 {
            sqlx::query!("UPDATE jobs SET status = ? WHERE status = ? AND due_at <= ?", running, pending, now)
                .execute(self.db.pool())
                .await?;
        }
        let rows = sqlx::query!("SELECT id, project_id, cluster_id, kind FROM jobs WHERE status = ?", running);
        let rows = rows.fetch_all(self.db.pool()).await?.into_iter();
        rows.map(|row| {
            Ok(Due { id: row.id, project: row.project_id, cluster: row.cluster_id, kind: row.kind.parse()? })
        })
        .collect()
    }

    async fn carry_out(self: Arc<Self>, job: Due) {
        let done = match job.kind {
            JobKind::CreateCluster => self.create(&job).await,
            JobKind::DropCluster => self.destroy(&job).await,
        };
        if let Err(error) = done {
            // It stays RUNNING and is taken up again: nobody else would finish what it began.
            tracing::error!(job = job.id, %error, "a job could not be carried through: it is tried again");
            if let Err(error) = super::tell(&self.db, &job.id, 0, &format!("tried again: {error}")).await {
                tracing::error!(job = job.id, %error, "how far a job is could not be written down");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
