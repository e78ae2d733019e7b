//! A backup as it is shown.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::refusal::Refused;

/// How a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum BackupStatus {
    /// It is being made, and can't be restored.
    Creating,
    /// It is complete.
    Available,
    /// It is being deleted.
    Deleting,
}

/// Who had it made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum CreationMethod {
    /// Somebody.
    Manual,
    /// The cluster's policy.
    Auto,
}

/// What was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum BackupKind {
    /// The whole cluster.
    Cluster,
    /// Collections that were chosen.
    Collection,
}

/// A database that is not in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OmittedZone {
    /// Its zone's id.
    pub zone_id: String,
    /// Why.
    pub reason: String,
}

/// A backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// Its id.
    pub backup_id: String,
    /// What people call it.
    pub backup_name: String,
    /// What was taken.
    pub backup_type: BackupKind,
    /// Who had it made.
    pub creation_method: CreationMethod,
    /// How it is.
    pub status: BackupStatus,
    /// The project.
    pub project_id: String,
    /// The cluster. It may be gone by now.
    pub cluster_id: String,
    /// What the cluster was called then.
    pub cluster_name: String,
    /// Where the cluster was.
    pub region_id: String,
    /// What kind of compute unit it had.
    pub cu_type: String,
    /// How many.
    pub cu_size: i64,
    /// All its bytes.
    pub size: i64,
    /// Of these, what no earlier backup of the cluster had.
    pub copied: i64,
    /// How many objects it has.
    pub objects: i64,
    /// How many databases.
    pub database_count: i64,
    /// How many collections.
    pub collection_count: i64,
    /// When it was asked for.
    pub create_time: String,
    /// When it was complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<String>,
    /// When it is deleted by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<String>,
    /// Whether it is ciphertext.
    pub encrypted: bool,
    /// The ARN of the KMS key that the cluster was under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_identifier: Option<String>,
    /// The ARNs of all KMS keys that have to be available for it to be restored, the cluster's first.
    pub key_identifiers: Vec<String>,
    /// Databases that are not in it: they were sealed when it was made.
    pub omitted_zones: Vec<OmittedZone>,
}

impl BackupStatus {
    pub(crate) const ALL: [Self; 3] = [Self::Creating, Self::Available, Self::Deleting];

    /// As it stands in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Available => "AVAILABLE",
            Self::Deleting => "DELETING",
        }
    }
}

impl CreationMethod {
    /// As it stands in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "MANUAL",
            Self::Auto => "AUTO",
        }
    }
}

impl BackupKind {
    /// As it stands in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "CLUSTER",
            Self::Collection => "COLLECTION",
        }
    }
}

impl fmt::Display for BackupStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BackupStatus {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let known = Self::ALL.into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| Refused::internal(format!("a backup's stored status is {text:?}")))
    }
}

impl FromStr for CreationMethod {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let known = [Self::Manual, Self::Auto].into_iter().find(|method| method.as_str() == text);
        known.ok_or_else(|| Refused::internal(format!("a backup's stored method is {text:?}")))
    }
}

impl FromStr for BackupKind {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let known = [Self::Cluster, Self::Collection].into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| Refused::internal(format!("a backup's stored kind is {text:?}")))
    }
}
