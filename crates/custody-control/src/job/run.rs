//! Carrying jobs out: each once its time has come, and again from its beginning after a restart.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{JobKind, JobStatus};
use crate::{
    Control,
    alert::{self, AlertKind},
    db::{Db, now},
    refusal::Refused,
};

/// Between two looks for jobs that are due.
const TICK: Duration = Duration::from_millis(250);
/// Before a job whose step failed for a reason that may pass is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// How long a job may be tried again before that is told. Jobs that wait for it do so unseen.
const PATIENCE: Duration = Duration::from_mins(10);

/// The jobs that could not be carried through, with the time since when, and whether that was told.
#[derive(Default)]
struct Troubles(Mutex<HashMap<String, (Instant, bool)>>);

impl Troubles {
    /// Notes that a job could not be carried through; whether that is to be told now.
    fn are_to_be_told(&self, job: &str, now: Instant) -> bool {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, told) = troubles.entry(job.to_owned()).or_insert((now, false));
        !*told && now - *since >= PATIENCE && !std::mem::replace(told, true)
    }

    /// Notes that a job has ended.
    fn are_over(&self, job: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(job);
    }
}

/// A job that is to be carried out.
#[derive(Clone)]
pub(crate) struct Due {
    pub(crate) id: String,
    pub(crate) project: String,
    pub(crate) cluster: String,
    pub(crate) kind: JobKind,
    backup: Option<String>,
    /// JSON: how it is done.
    pub(crate) terms: Option<String>,
}

impl Due {
    /// The backup that it is about.
    pub(crate) fn backup(&self) -> Result<&str, Refused> {
        self.backup.as_deref().ok_or_else(|| Refused::internal(format!("job {} is about no backup", self.id)))
    }
}

impl Control {
    /// Carries jobs out, until the control plane stops. What was under way when it stopped last begins again: every step
    /// can be repeated.
    pub async fn run_jobs(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        let mut running = HashMap::new();
        let troubles = Arc::new(Troubles::default());
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
                        let task = tasks.spawn(Arc::clone(&self).carry_out(job, Arc::clone(&troubles)));
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
        let running = JobStatus::Running.as_str();
        begin(&self.db, now()).await?;
        let rows = sqlx::query!(
            "SELECT id, project_id, cluster_id, backup_id, kind, terms FROM jobs WHERE status = ?",
            running
        );
        let rows = rows.fetch_all(self.db.pool()).await?.into_iter();
        rows.map(|row| {
            Ok(Due {
                id: row.id,
                project: row.project_id,
                cluster: row.cluster_id,
                kind: row.kind.parse()?,
                backup: row.backup_id,
                terms: row.terms,
            })
        })
        .collect()
    }

    async fn carry_out(self: Arc<Self>, job: Due, troubles: Arc<Troubles>) {
        let done = match job.kind {
            JobKind::CreateCluster | JobKind::RestoreCluster => self.create(&job).await,
            JobKind::DropCluster => self.destroy(&job).await,
            JobKind::CreateBackup => self.back_up(&job).await,
            JobKind::RestoreCollection => self.restore_into(&job).await,
            JobKind::DeleteBackup => self.delete_backed_up(&job).await,
        };
        if done.is_ok() {
            troubles.are_over(&job.id);
        }
        if let Err(error) = done {
            // It stays RUNNING and is taken up again: nobody else would finish what it began.
            tracing::error!(job = job.id, %error, "a job could not be carried through: it is tried again");
            if let Err(error) = super::tell(&self.db, &job.id, 0, &format!("tried again: {error}")).await {
                tracing::error!(job = job.id, %error, "how far a job is could not be written down");
            }
            if troubles.are_to_be_told(&job.id, Instant::now())
                && let Err(error) = self.alert_of(&job, &error).await
            {
                tracing::error!(job = job.id, %error, "that a job is tried again and again could not be told");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl Control {
    /// Tells that a job does not come to its end. What else is asked for with a cluster's backups waits for it.
    async fn alert_of(&self, job: &Due, error: &Refused) -> Result<(), Refused> {
        let kind = match job.kind {
            JobKind::CreateBackup | JobKind::DeleteBackup | JobKind::RestoreCollection => AlertKind::BackupFailed,
            JobKind::CreateCluster | JobKind::RestoreCluster | JobKind::DropCluster => AlertKind::ClusterStatus,
        };
        let (minutes, name) = (PATIENCE.as_secs() / 60, job.kind.as_str());
        let message = format!(
            "job {} ({name}) of cluster {} has been tried again for {minutes} minutes: {error}. It goes on, and jobs of the \
             cluster's backups wait for it",
            job.id, job.cluster
        );
        let mut change = self.db.change().await?;
        alert::raise(&mut change, &job.project, kind, &job.cluster, &message).await?;
        change.commit().await?;
        Ok(())
    }
}

/// Begins what is due. Of what concerns a cluster's backups, and of what its node does, one thing is done at a time, in the
/// order in which it was asked for.
async fn begin(db: &Db, now: i64) -> Result<(), Refused> {
    let (pending, running) = (JobStatus::Pending.as_str(), JobStatus::Running.as_str());
    let ripe = sqlx::query_scalar!("SELECT count(*) FROM jobs WHERE status = ? AND due_at <= ?", pending, now);
    if ripe.fetch_one(db.pool()).await? == 0 {
        return Ok(());
    }
    let turns = [JobKind::CreateBackup, JobKind::RestoreCollection, JobKind::DeleteBackup].map(JobKind::as_str);
    let [make, restore, delete] = turns;
    sqlx::query!(
        "UPDATE jobs SET status = ?1 WHERE status = ?2 AND due_at <= ?3
         AND (kind NOT IN (?4, ?5, ?6) OR id = (
             SELECT first.id FROM jobs AS first
             WHERE first.cluster_id = jobs.cluster_id AND first.kind IN (?4, ?5, ?6)
             AND (first.status = ?1 OR (first.status = ?2 AND first.due_at <= ?3))
             ORDER BY first.status = ?1 DESC, first.created_at, first.rowid LIMIT 1))",
        running,
        pending,
        now,
        make,
        restore,
        delete
    )
    .execute(db.pool())
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        db::tests::fresh,
        job::{self, New},
    };

    async fn ask(db: &Db, kind: JobKind, cluster: &str) -> String {
        let mut change = db.change().await.unwrap();
        let id = job::ask(&mut change, New::of(kind, "proj-1", cluster)).await.unwrap();
        change.commit().await.unwrap();
        id
    }

    async fn running(db: &Db) -> Vec<String> {
        begin(db, now() + 1).await.unwrap();
        let ids = sqlx::query_scalar("SELECT id FROM jobs WHERE status = 'RUNNING' ORDER BY rowid");
        ids.fetch_all(db.pool()).await.unwrap()
    }

    #[test]
    fn a_job_that_is_tried_again_for_long_is_told_once() {
        let (troubles, start) = (Troubles::default(), Instant::now());
        assert!(!troubles.are_to_be_told("job-1", start));
        assert!(!troubles.are_to_be_told("job-1", start + PATIENCE / 2));
        assert!(!troubles.are_to_be_told("job-2", start + PATIENCE));
        assert!(troubles.are_to_be_told("job-1", start + PATIENCE));
        assert!(!troubles.are_to_be_told("job-1", start + PATIENCE * 2));
        troubles.are_over("job-1");
        assert!(!troubles.are_to_be_told("job-1", start + PATIENCE * 2));
    }

    #[tokio::test]
    async fn of_a_clusters_backups_one_thing_is_done_at_a_time_in_order() {
        let (db, _directory) = fresh().await;
        let first = ask(&db, JobKind::CreateBackup, "in01-a").await;
        let second = ask(&db, JobKind::DeleteBackup, "in01-a").await;
        let third = ask(&db, JobKind::RestoreCollection, "in01-a").await;
        let other = ask(&db, JobKind::CreateBackup, "in01-b").await;
        let dropping = ask(&db, JobKind::DropCluster, "in01-a").await;
        assert_eq!(running(&db).await, [first.clone(), other.clone(), dropping.clone()]);
        assert_eq!(running(&db).await.len(), 3);
        for (ended, next) in [(first, second.clone()), (second, third)] {
            let mut change = db.change().await.unwrap();
            job::end(&mut change, &ended, JobStatus::Successful, None, None).await.unwrap();
            change.commit().await.unwrap();
            assert_eq!(running(&db).await, [next, other.clone(), dropping.clone()]);
        }
    }

    #[tokio::test]
    async fn what_is_not_due_holds_nothing_up() {
        let (db, _directory) = fresh().await;
        let mut change = db.change().await.unwrap();
        let later = New { due: now() + 60_000, ..New::of(JobKind::DeleteBackup, "proj-1", "in01-a") };
        job::ask(&mut change, later).await.unwrap();
        change.commit().await.unwrap();
        let due = ask(&db, JobKind::CreateBackup, "in01-a").await;
        assert_eq!(running(&db).await, [due]);
    }
}
