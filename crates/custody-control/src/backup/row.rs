//! A backup as it is stored, and the keys that open it.

use sqlx::SqliteConnection;

use super::{Backup, BackupKind, BackupStatus, CreationMethod, OmittedZone};
use crate::{
    cluster,
    db::{Change, Db, now, rfc3339},
    refusal::Refused,
};

/// A backup as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) project_id: String,
    pub(super) cluster_id: String,
    pub(super) cluster_name: String,
    pub(super) region_id: String,
    pub(super) cu_type: String,
    pub(super) cu_size: i64,
    pub(super) name: String,
    pub(super) kind: BackupKind,
    pub(super) method: CreationMethod,
    pub(super) status: BackupStatus,
    pub(super) created_at: i64,
    pub(super) ended_at: Option<i64>,
    pub(super) expires_at: Option<i64>,
    pub(super) size: i64,
    pub(super) copied: i64,
    pub(super) objects: i64,
    pub(super) databases: i64,
    pub(super) collections: i64,
    pub(super) omitted: Vec<OmittedZone>,
    pub(super) manifest: Option<String>,
    /// The keys that open it, the cluster's own first; none if it is plain text.
    pub(super) keys: Vec<StoredKey>,
}

/// A root key that opens a backup, and the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredKey {
    pub(super) provider: String,
    pub(super) arn: String,
    pub(super) role_arn: Option<String>,
    pub(super) region_id: String,
}

/// The columns as they are.
struct Stored {
    id: String,
    project_id: String,
    cluster_id: String,
    cluster_name: String,
    region_id: String,
    cu_type: String,
    cu_size: i64,
    name: String,
    kind: String,
    method: String,
    status: String,
    created_at: i64,
    ended_at: Option<i64>,
    expires_at: Option<i64>,
    size: i64,
    copied: i64,
    objects: i64,
    databases: i64,
    collections: i64,
    omitted: String,
    manifest: Option<String>,
}

impl Stored {
    fn row(self, keys: Vec<StoredKey>) -> Result<Row, Refused> {
        Ok(Row {
            kind: self.kind.parse()?,
            method: self.method.parse()?,
            status: self.status.parse()?,
            omitted: serde_json::from_str(&self.omitted).map_err(Refused::internal)?,
            keys,
            id: self.id,
            project_id: self.project_id,
            cluster_id: self.cluster_id,
            cluster_name: self.cluster_name,
            region_id: self.region_id,
            cu_type: self.cu_type,
            cu_size: self.cu_size,
            name: self.name,
            created_at: self.created_at,
            ended_at: self.ended_at,
            expires_at: self.expires_at,
            size: self.size,
            copied: self.copied,
            objects: self.objects,
            databases: self.databases,
            collections: self.collections,
            manifest: self.manifest,
        })
    }
}

impl Row {
    /// A backup that is about to be made.
    pub(super) fn of(
        id: String,
        cluster: &cluster::Row,
        name: String,
        kind: BackupKind,
        method: CreationMethod,
        kept_until: Option<i64>,
    ) -> Self {
        Self {
            id,
            name,
            kind,
            method,
            project_id: cluster.project_id.clone(),
            cluster_id: cluster.id.clone(),
            cluster_name: cluster.name.clone(),
            region_id: cluster.region_id.clone(),
            cu_type: cluster.cu_type.clone(),
            cu_size: cluster.cu_size,
            status: BackupStatus::Creating,
            created_at: now(),
            ended_at: None,
            expires_at: kept_until,
            size: 0,
            copied: 0,
            objects: 0,
            databases: 0,
            collections: 0,
            omitted: Vec::new(),
            manifest: None,
            keys: Vec::new(),
        }
    }

    /// As it is shown.
    pub(super) fn shown(self) -> Backup {
        let key_identifiers: Vec<String> = self.keys.into_iter().map(|key| key.arn).collect();
        Backup {
            encrypted: !key_identifiers.is_empty(),
            key_identifier: key_identifiers.first().cloned(),
            key_identifiers,
            backup_id: self.id,
            backup_name: self.name,
            backup_type: self.kind,
            creation_method: self.method,
            status: self.status,
            project_id: self.project_id,
            cluster_id: self.cluster_id,
            cluster_name: self.cluster_name,
            region_id: self.region_id,
            cu_type: self.cu_type,
            cu_size: self.cu_size,
            size: self.size,
            copied: self.copied,
            objects: self.objects,
            database_count: self.databases,
            collection_count: self.collections,
            create_time: rfc3339(self.created_at),
            end_time: self.ended_at.map(rfc3339),
            expire_time: self.expires_at.map(rfc3339),
            omitted_zones: self.omitted,
        }
    }

    /// Whether it is ciphertext.
    pub(super) fn is_encrypted(&self) -> bool {
        !self.keys.is_empty()
    }
}

/// A backup; all of a cluster; or all there are. The newest first.
async fn load(connection: &mut SqliteConnection, id: Option<&str>, cluster: Option<&str>) -> Result<Vec<Row>, Refused> {
    let found = sqlx::query_as!(
        Stored,
        "SELECT id, project_id, cluster_id, cluster_name, region_id, cu_type, cu_size, name, kind, method, status,
                created_at, ended_at, expires_at, size, copied, objects, databases, collections, omitted, manifest
         FROM backups WHERE (?1 IS NULL OR id = ?1) AND (?2 IS NULL OR cluster_id = ?2)
         ORDER BY created_at DESC, rowid DESC",
        id,
        cluster
    );
    let mut rows = Vec::new();
    for stored in found.fetch_all(&mut *connection).await? {
        let keys = sqlx::query_as!(
            StoredKey,
            "SELECT provider, arn, role_arn, region_id FROM backup_keys WHERE backup_id = ? ORDER BY position",
            stored.id
        );
        let keys = keys.fetch_all(&mut *connection).await?;
        rows.push(stored.row(keys)?);
    }
    Ok(rows)
}

/// A backup, whoever asks.
pub(super) async fn find(db: &Db, id: &str) -> Result<Option<Row>, Refused> {
    Ok(load(&mut *db.pool().acquire().await?, Some(id), None).await?.pop())
}

/// The same, in a change that is under way.
pub(super) async fn find_in(change: &mut Change, id: &str) -> Result<Option<Row>, Refused> {
    Ok(load(change, Some(id), None).await?.pop())
}

/// All backups, of one cluster if one is named, newest first.
pub(super) async fn all(db: &Db, cluster: Option<&str>) -> Result<Vec<Row>, Refused> {
    load(&mut *db.pool().acquire().await?, None, cluster).await
}

/// Writes a backup down that is about to be made.
pub(super) async fn insert(change: &mut Change, row: &Row) -> Result<(), Refused> {
    let (kind, method, status) = (row.kind.as_str(), row.method.as_str(), row.status.as_str());
    sqlx::query!(
        "INSERT INTO backups (id, project_id, cluster_id, cluster_name, region_id, cu_type, cu_size, name, kind, method,
                              status, created_at, expires_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        row.id,
        row.project_id,
        row.cluster_id,
        row.cluster_name,
        row.region_id,
        row.cu_type,
        row.cu_size,
        row.name,
        kind,
        method,
        status,
        row.created_at,
        row.expires_at
    )
    .execute(&mut **change)
    .await?;
    Ok(())
}

/// Writes down which keys of its project open a backup, in place of what was known.
pub(super) async fn put_keys(change: &mut Change, row: &Row, arns: &[String]) -> Result<(), Refused> {
    sqlx::query!("DELETE FROM backup_keys WHERE backup_id = ?", row.id).execute(&mut **change).await?;
    for (position, arn) in arns.iter().enumerate() {
        let position = i64::try_from(position).map_err(Refused::internal)?;
        let put = sqlx::query!(
            "INSERT INTO backup_keys (backup_id, position, provider, arn, role_arn, region_id)
             SELECT ?, ?, provider, arn, role_arn, region_id FROM keys WHERE project_id = ? AND arn = ?",
            row.id,
            position,
            row.project_id,
            arn
        );
        if put.execute(&mut **change).await?.rows_affected() == 0 {
            return Err(Refused::conflict(format!(
                "the backup would need {arn}, which is no key of the project any more: add it again, and make another"
            )));
        }
    }
    Ok(())
}

/// Removes a backup that is no more, or never was.
pub(super) async fn remove(change: &mut Change, id: &str) -> Result<(), Refused> {
    sqlx::query!("DELETE FROM backups WHERE id = ?", id).execute(&mut **change).await?;
    Ok(())
}

/// The backups that need a key of a project.
pub(crate) async fn ids_under(
    connection: &mut SqliteConnection,
    project: &str,
    arn: &str,
) -> Result<Vec<String>, Refused> {
    let ids = sqlx::query_scalar!(
        "SELECT DISTINCT backups.id FROM backups JOIN backup_keys ON backup_id = backups.id
         WHERE project_id = ? AND arn = ? ORDER BY backups.id",
        project,
        arn
    );
    Ok(ids.fetch_all(connection).await?)
}

/// How many backups a project has.
pub(crate) async fn of_project(connection: &mut SqliteConnection, project: &str) -> Result<i64, Refused> {
    let count = sqlx::query_scalar!("SELECT count(*) FROM backups WHERE project_id = ?", project);
    Ok(count.fetch_one(connection).await?)
}
