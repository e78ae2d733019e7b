//! Making a backup: all of it, or nothing. What is asked for is written down with a job, which has the cluster's node make it;
//! should that fail, nothing of it stays.

use custody_link::{Chosen as ChosenForBackup, WorkDone};
use serde::Serialize;

use super::{
    BackupKind, BackupStatus, Chosen, CreationMethod, Ended, OmittedZone,
    follow::Given,
    order,
    row::{self, Row},
};
use crate::{
    Control,
    access::{Caller, Privilege},
    alert::{self, AlertKind},
    audit::{Deed, append},
    cluster::{self, ClusterStatus},
    db::{Change, now},
    job::{self, Due, JobKind, JobStatus},
    random,
    refusal::{Kind, Refused, name},
};

/// Collections of a database.
#[derive(Clone, PartialEq, Eq)]
pub struct ChosenCollections {
    /// The database's name; the default one's may be left empty.
    pub database: String,
    /// The collections' names; none is all of the database.
    pub collections: Vec<String>,
}

/// A backup that is to be made.
#[derive(Clone, Default)]
pub struct NewBackup {
    /// What people call it; it gets a number if they don't.
    pub name: Option<String>,
    /// Only these; without it, all of the cluster.
    pub only: Option<Vec<ChosenCollections>>,
}

/// What is told of a backup that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupAsked {
    /// The backup's id.
    pub backup_id: String,
    /// What it is called.
    pub backup_name: String,
    /// The job that makes it.
    pub job_id: String,
}

impl Control {
    /// Asks for a backup of a cluster that serves. It can be restored once it is AVAILABLE.
    pub async fn create_backup(&self, caller: &Caller, cluster: &str, new: &NewBackup) -> Result<BackupAsked, Refused> {
        let cluster = self.cluster_for(caller, cluster, Privilege::ManageClusters).await?;
        self.must_serve(&cluster)?;
        let label = new.name.as_deref().map(|text| name("backupName", text)).transpose()?;
        let kind = if new.only.is_some() { BackupKind::Collection } else { BackupKind::Cluster };
        let mut change = self.db.change().await?;
        let label = match label {
            Some(label) => label,
            None => numbered(&mut change, &cluster).await?,
        };
        let row = Row::of(random::id("backup")?, &cluster, label, kind, CreationMethod::Manual, None);
        let asked = ask(&mut change, &cluster, row).await?;
        let deed = Deed::by(caller, &cluster.project_id, "backup.create", &asked.backup_id);
        append(&mut change, deed.saying(&format!("of cluster {}", cluster.id))).await?;
        if let Some(only) = &new.only {
            // Before the job can begin.
            self.names.choose(&asked.job_id, Chosen::Backup(only.iter().map(ChosenForBackup::from).collect()));
        }
        change.commit().await?;
        Ok(asked)
    }

    /// Refuses what takes a cluster that serves.
    pub(super) fn must_serve(&self, cluster: &cluster::Row) -> Result<(), Refused> {
        let live = self.nodes.live(&cluster.id);
        // As it is shown: one whose node is about to be linked again serves, and the job waits for it.
        let (status, reason) = cluster::status(cluster, &live);
        if status == ClusterStatus::Running {
            return Ok(());
        }
        let reason = reason.map(|reason| format!(", {reason}")).unwrap_or_default();
        Err(Refused::conflict(format!("cluster {} is {status}{reason}: it has to be RUNNING for that", cluster.id)))
    }

    /// The job: has the cluster's node make the backup. A node that was told before goes on.
    pub(crate) async fn back_up(&self, job: &Due) -> Result<(), Refused> {
        let _turn = self.backup_turns.of(&job.cluster).await;
        let Some(row) = row::find(&self.db, job.backup()?).await? else {
            // Undone by an earlier try, whose last word was lost.
            return self.end_job(job, JobStatus::Failed, Some("it was undone")).await;
        };
        if row.status != BackupStatus::Creating {
            return self.end_job(job, JobStatus::Successful, None).await;
        }
        let storage = &self.nodes.settings.backup_storage;
        let order = order::backup_of(&job.id, &row, storage, self.names.chosen(&job.id));
        let ended = match self.follow_work(job, Given::to_node(order)).await? {
            Ended::Done(done) => self.backed_up(job, &row, &done).await?,
            ended => Some(ended),
        };
        if let Some(ended) = ended {
            self.undo_backup(job, &row, ended).await?;
        }
        self.clean_up(&job.cluster).await;
        Ok(())
    }

    /// Writes down that a backup is complete; or how it ended, if it can't be one.
    async fn backed_up(&self, job: &Due, row: &Row, done: &WorkDone) -> Result<Option<Ended>, Refused> {
        let mut change = self.db.change().await?;
        match row::put_keys(&mut change, row, &done.keys).await {
            Err(error) if error.kind == Kind::Conflict => return Ok(Some(Ended::Failed(error.message))),
            put => put?,
        }
        complete(&mut change, row, done).await?;
        let said = match done.omitted.len() {
            0 => format!("{} objects, {} bytes", done.objects, done.bytes),
            omitted => format!("{} objects, {} bytes; {omitted} sealed zones are not in it", done.objects, done.bytes),
        };
        append(&mut change, Deed::ours(&row.project_id, "backup.created", &row.id, &said)).await?;
        job::end(&mut change, &job.id, JobStatus::Successful, Some(&said), None).await?;
        change.commit().await?;
        self.forget_work(job);
        Ok(None)
    }

    /// Leaves nothing of a backup that was not completed.
    async fn undo_backup(&self, job: &Due, row: &Row, ended: Ended) -> Result<(), Refused> {
        let deleted = self.nodes.backups.delete(&row.cluster_id, &row.id).await;
        deleted.map_err(|error| Refused::new(Kind::Unavailable, format!("its files can't be removed: {error}")))?;
        let why = match ended {
            Ended::Failed(why) => Some(self.written(job, row.kind == BackupKind::Collection, why)),
            Ended::Done(_) | Ended::Canceled => None,
        };
        let mut change = self.db.change().await?;
        row::remove(&mut change, &row.id).await?;
        match &why {
            Some(why) => failed(&mut change, job, row, why).await?,
            None => {
                append(&mut change, Deed::ours(&row.project_id, "backup.canceled", &row.id, "nothing of it is left"))
                    .await?;
                job::end(&mut change, &job.id, JobStatus::Canceled, None, None).await?;
            }
        }
        change.commit().await?;
        self.forget_work(job);
        Ok(())
    }
}

async fn failed(change: &mut Change, job: &Due, row: &Row, why: &str) -> Result<(), Refused> {
    append(change, Deed::ours(&row.project_id, "backup.failed", &row.id, "nothing of it is left")).await?;
    job::end(change, &job.id, JobStatus::Failed, Some(why), None).await?;
    let what = match row.method {
        CreationMethod::Auto => "the automatic backup",
        CreationMethod::Manual => "the backup",
    };
    let message = format!("{what} {} of cluster {} failed: {why}", row.id, row.cluster_id);
    alert::raise(change, &row.project_id, AlertKind::BackupFailed, &row.cluster_id, &message).await
}

/// Writes a backup and its job down.
pub(super) async fn ask(change: &mut Change, cluster: &cluster::Row, row: Row) -> Result<BackupAsked, Refused> {
    row::insert(change, &row).await?;
    let own = cluster.key_arn.as_slice();
    row::put_keys(change, &row, own).await?;
    let new =
        job::New { backup: Some(&row.id), ..job::New::of(JobKind::CreateBackup, &row.project_id, &row.cluster_id) };
    let job_id = job::ask(change, new).await?;
    Ok(BackupAsked { backup_id: row.id, backup_name: row.name, job_id })
}

/// What a backup is called that nobody gave a name.
pub(super) async fn numbered(change: &mut Change, cluster: &cluster::Row) -> Result<String, Refused> {
    let kind = JobKind::CreateBackup.as_str();
    let count = sqlx::query_scalar!("SELECT count(*) FROM jobs WHERE cluster_id = ? AND kind = ?", cluster.id, kind);
    Ok(format!("{}_backup{}", cluster.name, count.fetch_one(&mut **change).await? + 1))
}

async fn complete(change: &mut Change, row: &Row, done: &WorkDone) -> Result<(), Refused> {
    let figure = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let (size, copied, objects) = (figure(done.bytes), figure(done.copied), figure(done.objects));
    let (databases, collections) = (figure(done.databases), figure(done.collections));
    let omitted = done.omitted.iter().map(|it| OmittedZone { zone_id: it.zone.clone(), reason: it.reason.clone() });
    let omitted = serde_json::to_string(&omitted.collect::<Vec<_>>()).map_err(Refused::internal)?;
    let (available, now) = (BackupStatus::Available.as_str(), now());
    sqlx::query!(
        "UPDATE backups SET status = ?, ended_at = ?, size = ?, copied = ?, objects = ?, databases = ?, collections = ?,
                            omitted = ?, manifest = ? WHERE id = ?",
        available,
        now,
        size,
        copied,
        objects,
        databases,
        collections,
        omitted,
        done.manifest,
        row.id
    )
    .execute(&mut **change)
    .await?;
    Ok(())
}

impl From<&ChosenCollections> for ChosenForBackup {
    fn from(chosen: &ChosenCollections) -> Self {
        Self { database: chosen.database.clone(), collections: chosen.collections.clone() }
    }
}
