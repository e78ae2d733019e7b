//! Long actions: each is written down before it begins, goes on after a restart, and tells how it ended.

mod cancel;
mod run;

pub(crate) use cancel::is_unwanted;
pub(crate) use run::Due;

use std::{fmt, str::FromStr};

use serde::Serialize;
use serde_json::Value;

use crate::{
    Control,
    access::{Caller, Privilege},
    db::{Change, Db, now, rfc3339},
    project, random,
    refusal::Refused,
};

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobKind {
    /// Makes a cluster.
    CreateCluster,
    /// Destroys a cluster, once its time has come.
    DropCluster,
    /// Makes a backup.
    CreateBackup,
    /// Makes a cluster from a backup.
    RestoreCluster,
    /// Brings collections of a backup into a cluster.
    RestoreCollection,
    /// Deletes a backup, and what only it needed.
    DeleteBackup,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    /// Its time has not come yet.
    Pending,
    /// It waits until a second person agrees.
    PendingApproval,
    /// It is under way.
    Running,
    /// It is done.
    Successful,
    /// It is undone; the message says why.
    Failed,
    /// Somebody took it back.
    Canceled,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its id.
    pub job_id: String,
    /// What it does.
    #[serde(rename = "type")]
    pub kind: JobKind,
    /// How far it is.
    pub status: JobStatus,
    /// The same in hundredths.
    pub progress: i64,
    /// What it does now, or why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The project.
    pub project_id: String,
    /// The cluster.
    pub cluster_id: String,
    /// The backup that it makes, restores or deletes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<String>,
    /// When it was asked for.
    pub create_time: String,
    /// When it begins; it can be taken back until then.
    pub due_time: String,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<String>,
    /// Of a drop: what was destroyed, and what could still open the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub receipt: Option<Value>,
}

/// A job as it is stored.
struct Row {
    id: String,
    project_id: String,
    cluster_id: String,
    backup_id: Option<String>,
    kind: String,
    status: String,
    progress: i64,
    message: Option<String>,
    receipt: Option<String>,
    created_at: i64,
    due_at: i64,
    ended_at: Option<i64>,
}

impl Row {
    fn job(self) -> Result<Job, Refused> {
        let receipt = self.receipt.as_deref().map(serde_json::from_str).transpose().map_err(Refused::internal)?;
        Ok(Job {
            job_id: self.id,
            kind: self.kind.parse()?,
            status: self.status.parse()?,
            progress: self.progress,
            message: self.message,
            project_id: self.project_id,
            cluster_id: self.cluster_id,
            backup_id: self.backup_id,
            create_time: rfc3339(self.created_at),
            due_time: rfc3339(self.due_at),
            end_time: self.ended_at.map(rfc3339),
            receipt,
        })
    }
}

/// A job that is to be written down.
pub(crate) struct New<'a> {
    pub(crate) kind: JobKind,
    pub(crate) project: &'a str,
    pub(crate) cluster: &'a str,
    /// It does not begin before.
    pub(crate) due: i64,
    /// The backup that it is about.
    pub(crate) backup: Option<&'a str>,
    /// JSON: how it is done. Never a name.
    pub(crate) terms: Option<&'a str>,
}

impl<'a> New<'a> {
    /// One that begins at once.
    pub(crate) fn of(kind: JobKind, project: &'a str, cluster: &'a str) -> Self {
        Self { kind, project, cluster, due: now(), backup: None, terms: None }
    }
}

impl Control {
    /// A job.
    pub async fn job(&self, caller: &Caller, id: &str) -> Result<Job, Refused> {
        let row = sqlx::query_as!(
            Row,
            "SELECT id, project_id, cluster_id, backup_id, kind, status, progress, message, receipt, created_at, due_at, ended_at
             FROM jobs WHERE id = ?",
            id
        );
        // Of another project's job not even that it exists is told.
        let row = row.fetch_optional(self.db.pool()).await?;
        let visible = row.filter(|row| caller.may(Privilege::SeeProject, Some(&row.project_id)));
        self.told(visible.ok_or_else(|| Refused::not_found("job", id))?)
    }

    /// The newest jobs of a project, newest first.
    pub async fn jobs(&self, caller: &Caller, project: &str, limit: i64) -> Result<Vec<Job>, Refused> {
        project::get(&self.db, caller, project, Privilege::SeeProject).await?;
        let rows = sqlx::query_as!(
            Row,
            "SELECT id, project_id, cluster_id, backup_id, kind, status, progress, message, receipt, created_at, due_at, ended_at
             FROM jobs WHERE project_id = ? ORDER BY created_at DESC, rowid DESC LIMIT ?",
            project,
            limit
        );
        rows.fetch_all(self.db.pool()).await?.into_iter().map(|row| self.told(row)).collect()
    }

    /// A job with what is known of it in memory alone.
    fn told(&self, row: Row) -> Result<Job, Refused> {
        let job = row.job()?;
        Ok(Job { message: self.names.reason(&job.job_id).or(job.message), ..job })
    }
}

/// Writes a job down, in the change that asks for it; returns its id.
pub(crate) async fn ask(change: &mut Change, new: New<'_>) -> Result<String, Refused> {
    let (id, kind, status, now) = (random::id("job")?, new.kind.as_str(), JobStatus::Pending.as_str(), now());
    sqlx::query!(
        "INSERT INTO jobs (id, project_id, cluster_id, backup_id, kind, terms, status, created_at, due_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        id,
        new.project,
        new.cluster,
        new.backup,
        kind,
        new.terms,
        status,
        now,
        new.due
    )
    .execute(&mut **change)
    .await?;
    Ok(id)
}

/// Whether a cluster's job is under way.
pub(crate) async fn is_running(db: &Db, id: &str, cluster: &str) -> Result<bool, Refused> {
    let running = JobStatus::Running.as_str();
    let count = sqlx::query_scalar!(
        "SELECT count(*) FROM jobs WHERE id = ? AND cluster_id = ? AND status = ?",
        id,
        cluster,
        running
    );
    Ok(count.fetch_one(db.pool()).await? > 0)
}

/// Takes back a cluster's job that has not begun. Returns its id; there is none if it has.
pub(crate) async fn cancel(change: &mut Change, kind: JobKind, cluster: &str) -> Result<Option<String>, Refused> {
    let (kind, now) = (kind.as_str(), now());
    let (pending, canceled) = (JobStatus::Pending.as_str(), JobStatus::Canceled.as_str());
    let canceled = sqlx::query_scalar!(
        "UPDATE jobs SET status = ?, ended_at = ? WHERE cluster_id = ? AND kind = ? AND status = ? RETURNING id",
        canceled,
        now,
        cluster,
        kind,
        pending
    );
    Ok(canceled.fetch_optional(&mut **change).await?)
}

/// Ends a job, in the change that ends what it did.
pub(crate) async fn end(
    change: &mut Change,
    id: &str,
    status: JobStatus,
    message: Option<&str>,
    receipt: Option<&str>,
) -> Result<(), Refused> {
    let (now, progress) = (now(), (status == JobStatus::Successful).then_some(100));
    let status = status.as_str();
    sqlx::query!(
        "UPDATE jobs SET status = ?, message = ?, receipt = ?, ended_at = ?, progress = ifnull(?, progress) WHERE id = ?",
        status,
        message,
        receipt,
        now,
        progress,
        id
    )
    .execute(&mut **change)
    .await?;
    Ok(())
}

/// Tells how far a job is.
pub(crate) async fn tell(db: &Db, id: &str, progress: i64, message: &str) -> Result<(), Refused> {
    sqlx::query!("UPDATE jobs SET progress = ?, message = ? WHERE id = ?", progress, message, id)
        .execute(db.pool())
        .await?;
    Ok(())
}

impl JobKind {
    /// As it stands in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreateCluster => "CREATE_CLUSTER",
            Self::DropCluster => "DROP_CLUSTER",
            Self::CreateBackup => "CREATE_BACKUP",
            Self::RestoreCluster => "RESTORE_CLUSTER",
            Self::RestoreCollection => "RESTORE_COLLECTION",
            Self::DeleteBackup => "DELETE_BACKUP",
        }
    }
}

impl FromStr for JobKind {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let all = [
            Self::CreateCluster,
            Self::DropCluster,
            Self::CreateBackup,
            Self::RestoreCluster,
            Self::RestoreCollection,
            Self::DeleteBackup,
        ];
        let known = all.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| Refused::internal(format!("a stored job is of the kind {text:?}")))
    }
}

impl JobStatus {
    /// As it stands in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::PendingApproval => "PENDING_APPROVAL",
            Self::Running => "RUNNING",
            Self::Successful => "SUCCESSFUL",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JobStatus {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        use JobStatus as S;
        let all = [S::Pending, S::PendingApproval, S::Running, S::Successful, S::Failed, S::Canceled];
        let known = all.into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| Refused::internal(format!("a stored job's status is {text:?}")))
    }
}
