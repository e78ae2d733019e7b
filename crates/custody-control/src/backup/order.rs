//! What a node is told: what to take where, and how a backup is opened.

use custody_kms::RootKeyRef;
use custody_link::{BackupOrder, BackupSource, KeyRef, RestoreMode, RestoreOrder, Work, WorkOrder};
use serde::{Deserialize, Serialize};

use super::{Chosen, row};
use crate::{
    db::Db,
    job::{JobKind, JobStatus},
    project,
    refusal::Refused,
};

/// How a restore is done, as it is kept with its job.
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Terms {
    /// How sealed files become the new cluster's.
    pub(super) mode: RestoreMode,
    /// Whether the node seals anew, whatever the mode, what comes under a database's own key of another account: which database
    /// that is, only the node knows.
    #[serde(default)]
    pub(super) anew_across_accounts: bool,
    /// Whether databases keep keys of their own.
    pub(super) keep_database_keys: bool,
    /// Whether what was loaded is loaded again.
    pub(super) load: bool,
    /// Whether collections were chosen by name.
    pub(super) chosen: bool,
}

impl Terms {
    pub(super) fn text(self) -> Result<String, Refused> {
        serde_json::to_string(&self).map_err(Refused::internal)
    }

    pub(super) fn parse(text: Option<&str>) -> Result<Self, Refused> {
        let text = text.ok_or_else(|| Refused::internal("a job that restores has no terms"))?;
        serde_json::from_str(text).map_err(Refused::internal)
    }
}

/// A backup that is to be made; nothing if what was chosen is not known any more.
pub(super) fn backup_of(job: &str, row: &row::Row, storage: &str, chosen: Option<Chosen>) -> Option<WorkOrder> {
    let only = match (row.kind, chosen) {
        (super::BackupKind::Cluster, _) => None,
        (super::BackupKind::Collection, Some(Chosen::Backup(chosen))) => Some(chosen),
        (super::BackupKind::Collection, _) => return None,
    };
    let order = BackupOrder { backup: row.id.clone(), storage: storage.to_owned(), only };
    Some(WorkOrder { job: job.to_owned(), work: Work::Backup(order) })
}

/// A restore; nothing if what was chosen is not known any more.
pub(super) async fn restore(
    db: &Db,
    job: &str,
    row: &row::Row,
    storage: &str,
    terms: Terms,
    chosen: Option<Chosen>,
) -> Result<Option<WorkOrder>, Refused> {
    let only = match (terms.chosen, chosen) {
        (false, _) => None,
        (true, Some(Chosen::Restore(chosen))) => Some(chosen),
        (true, _) => return Ok(None),
    };
    let mut keys = references(db, row).await?.into_iter().map(|key| KeyRef::from(&key));
    let from = BackupSource {
        cluster: row.cluster_id.clone(),
        backup: row.id.clone(),
        storage: storage.to_owned(),
        key: keys.next(),
        tenant_keys: keys.collect(),
        manifest: row.manifest.clone(),
    };
    let Terms { mode, anew_across_accounts, keep_database_keys, load, chosen: _ } = terms;
    let order = RestoreOrder { from, mode, anew_across_accounts, only, keep_database_keys, load };
    Ok(Some(WorkOrder { job: job.to_owned(), work: Work::Restore(order) }))
}

/// What a cluster that is being made is made from, if it is made from a backup.
pub(crate) async fn restore_of(db: &Db, storage: &str, cluster: &str) -> Result<Option<WorkOrder>, Refused> {
    let (kind, running) = (JobKind::RestoreCluster.as_str(), JobStatus::Running.as_str());
    let job = sqlx::query!(
        "SELECT id, backup_id, terms FROM jobs WHERE cluster_id = ? AND kind = ? AND status = ?",
        cluster,
        kind,
        running
    );
    let Some(job) = job.fetch_optional(db.pool()).await? else { return Ok(None) };
    let backup = job.backup_id.unwrap_or_default();
    let row = row::find(db, &backup).await?.ok_or_else(|| Refused::not_found("backup", &backup))?;
    restore(db, &job.id, &row, storage, Terms::parse(job.terms.as_deref())?, None).await
}

/// The backups that a cluster is restored from at this moment, or that are restored into it.
async fn sources(db: &Db, cluster: &str) -> Result<Vec<row::Row>, Refused> {
    let (whole, some) = (JobKind::RestoreCluster.as_str(), JobKind::RestoreCollection.as_str());
    let running = JobStatus::Running.as_str();
    let ids = sqlx::query_scalar!(
        r#"SELECT backup_id AS "backup_id!" FROM jobs
           WHERE cluster_id = ? AND status = ? AND kind IN (?, ?) AND backup_id IS NOT NULL"#,
        cluster,
        running,
        whole,
        some
    );
    let mut rows = Vec::new();
    for id in ids.fetch_all(db.pool()).await? {
        rows.extend(row::find(db, &id).await?);
    }
    Ok(rows)
}

/// How KMS is asked for a key that opens a backup which a cluster is restored from at this moment.
pub(crate) async fn opens(db: &Db, cluster: &str, arn: &str) -> Result<Option<RootKeyRef>, Refused> {
    for row in sources(db, cluster).await? {
        if let Some(key) = references(db, &row).await?.into_iter().find(|key| key.key_arn().as_str() == arn) {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// Whether a cluster is restored from a backup of another one at this moment.
pub(crate) async fn restores_from(db: &Db, cluster: &str, other: &str) -> Result<bool, Refused> {
    Ok(sources(db, cluster).await?.iter().any(|row| row.cluster_id == other))
}

/// The keys that open a backup, the cluster's own first. The way to each is what the project has for it now, or else, where
/// the key was deleted here, what it was then.
async fn references(db: &Db, row: &row::Row) -> Result<Vec<RootKeyRef>, Refused> {
    let project = project::known(db, &row.project_id).await?;
    let mut references = Vec::new();
    for key in &row.keys {
        let listed =
            sqlx::query!("SELECT role_arn FROM keys WHERE project_id = ? AND arn = ?", row.project_id, key.arn);
        let listed = listed.fetch_optional(db.pool()).await?;
        let role = listed.map_or_else(|| key.role_arn.clone(), |listed| listed.role_arn);
        let external_id = role.as_ref().map(|_| project.external_id.expose());
        references.push(RootKeyRef::parse(&key.provider, &key.arn, role.as_deref(), external_id)?);
    }
    Ok(references)
}
