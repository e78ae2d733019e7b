//! A cluster as it is stored.

use std::{fmt, str::FromStr};

use super::ClusterStatus;
use crate::{db::Db, refusal::Refused};

/// What a cluster is meant to be; what it is, its node tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its job makes it.
    Creating,
    /// It serves.
    Running,
    /// No process runs for it.
    Suspended,
    /// It is dropped, and destroyed once its time has come.
    Deleting,
}

impl Phase {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Deleting => "deleting",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Phase {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let all = [Self::Creating, Self::Running, Self::Suspended, Self::Deleting];
        let known = all.into_iter().find(|phase| phase.as_str() == text);
        known.ok_or_else(|| Refused::internal(format!("a cluster's stored phase is {text:?}")))
    }
}

/// A cluster as it is stored, with its key's ARN. There is no `Debug`: the hash of a password is in it.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column of its own")]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) project_id: String,
    pub(crate) name: String,
    pub(crate) region_id: String,
    pub(crate) cu_type: String,
    pub(crate) cu_size: i64,
    pub(crate) key_id: Option<String>,
    pub(crate) key_arn: Option<String>,
    pub(crate) phase: Phase,
    pub(crate) port: u16,
    pub(crate) token: String,
    pub(crate) root_hash: Option<String>,
    pub(crate) held: bool,
    pub(crate) waits: bool,
    pub(crate) deletion_protection: bool,
    pub(crate) drop_at: Option<i64>,
    pub(crate) status: Option<ClusterStatus>,
    pub(crate) status_reason: Option<String>,
    pub(crate) dark_zones: String,
    pub(crate) anchor: Option<String>,
    pub(crate) below_anchor: bool,
    pub(crate) created_at: i64,
}

/// The columns, as SQLite gives them.
struct Stored {
    id: String,
    project_id: String,
    name: String,
    region_id: String,
    cu_type: String,
    cu_size: i64,
    key_id: Option<String>,
    key_arn: Option<String>,
    phase: String,
    port: i64,
    token: String,
    root_hash: Option<String>,
    held: i64,
    waits: i64,
    deletion_protection: i64,
    drop_at: Option<i64>,
    status: Option<String>,
    status_reason: Option<String>,
    dark_zones: String,
    anchor: Option<String>,
    below_anchor: i64,
    created_at: i64,
}

impl Row {
    /// Whether the cluster stays sealed until somebody unseals it: it was sealed by hand, or waits for a person after a
    /// revocation.
    pub(crate) fn is_held(&self) -> bool {
        self.held || self.waits
    }
}

impl Stored {
    fn row(self) -> Result<Row, Refused> {
        Ok(Row {
            phase: self.phase.parse()?,
            port: u16::try_from(self.port).map_err(Refused::internal)?,
            status: self.status.as_deref().map(str::parse).transpose()?,
            id: self.id,
            project_id: self.project_id,
            name: self.name,
            region_id: self.region_id,
            cu_type: self.cu_type,
            cu_size: self.cu_size,
            key_id: self.key_id,
            key_arn: self.key_arn,
            token: self.token,
            root_hash: self.root_hash,
            held: self.held != 0,
            waits: self.waits != 0,
            deletion_protection: self.deletion_protection != 0,
            drop_at: self.drop_at,
            status_reason: self.status_reason,
            dark_zones: self.dark_zones,
            anchor: self.anchor,
            below_anchor: self.below_anchor != 0,
            created_at: self.created_at,
        })
    }
}

/// One cluster, or all.
async fn load(db: &Db, id: Option<&str>) -> Result<Vec<Row>, Refused> {
    let found = sqlx::query_as!(
        Stored,
        r#"SELECT clusters.id, clusters.project_id, clusters.name, clusters.region_id, cu_type, cu_size, key_id,
                  keys.arn AS "key_arn?", phase, port, token, root_hash, held, waits, deletion_protection, drop_at,
                  clusters.status, status_reason, dark_zones, anchor, below_anchor,
                  clusters.created_at
           FROM clusters LEFT JOIN keys ON keys.id = key_id
           WHERE ?1 IS NULL OR clusters.id = ?1 ORDER BY clusters.created_at, clusters.id"#,
        id
    );
    found.fetch_all(db.pool()).await?.into_iter().map(Stored::row).collect()
}

/// A cluster, whoever asks.
pub(crate) async fn find(db: &Db, id: &str) -> Result<Option<Row>, Refused> {
    Ok(load(db, Some(id)).await?.pop())
}

/// A cluster that must be there.
pub(crate) async fn get(db: &Db, id: &str) -> Result<Row, Refused> {
    find(db, id).await?.ok_or_else(|| Refused::not_found("cluster", id))
}

/// All clusters.
pub(crate) async fn all(db: &Db) -> Result<Vec<Row>, Refused> {
    load(db, None).await
}
