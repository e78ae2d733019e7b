//! What the catalogs hold.
//!
//! The cluster's catalog lives in the cluster's own zone and knows databases by opaque id, pinned key and a keyed tag of
//! their name. A database's names, schemas and aliases live in its own zone, so that revoking a tenant's key hides its
//! schema too (rule 15).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{IndexSpec, PartitionInfo, Schema};

/// The name of the partition that every collection has.
pub const DEFAULT_PARTITION: &str = "_default";
/// The name of the database that every cluster has.
pub const DEFAULT_DATABASE: &str = "default";

/// How far a database's making or unmaking has come. What was left half done is undone at the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    Creating,
    Ready,
    Dropping,
}

/// A database in the cluster's catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DatabaseEntry {
    /// Its zone; the id that the outside sees.
    pub(crate) zone: [u8; 16],
    /// The root key it is pinned to; `None` is the cluster's own.
    pub(crate) key: Option<String>,
    /// HMAC-SHA256 of its name under the cluster's tag key: finds it while its own zone is sealed.
    pub(crate) tag: [u8; 32],
    pub(crate) stage: Stage,
}

/// What the cluster's catalog holds once.
#[derive(Serialize, Deserialize)]
pub(crate) struct ClusterRecord {
    /// The key of the databases' name tags.
    pub(crate) tag_key: [u8; 32],
}

/// A user in the cluster's catalog.
#[derive(Serialize, Deserialize)]
pub(crate) struct UserRecord {
    /// The password's hash, as the adapter made it.
    pub(crate) hash: String,
}

/// A database in its own catalog.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DatabaseRecord {
    pub(crate) name: String,
    pub(crate) created: u64,
    pub(crate) properties: BTreeMap<String, String>,
    /// The next id of a collection, partition or index.
    pub(crate) next_id: i64,
}

/// A collection in its database's catalog.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CollectionRecord {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) schema: Schema,
    pub(crate) aliases: BTreeSet<String>,
    pub(crate) created: u64,
    pub(crate) shards: i32,
    pub(crate) consistency: i32,
    pub(crate) loaded: bool,
    pub(crate) indexes: Vec<IndexRecord>,
    pub(crate) partitions: Vec<PartitionInfo>,
}

impl CollectionRecord {
    /// The ids of named partitions; none named is none.
    pub(crate) fn partition_ids(&self, names: &[String]) -> Result<Vec<i64>, crate::EngineError> {
        names.iter().map(|name| self.partition_id(name)).collect()
    }

    /// The id of a named partition.
    pub(crate) fn partition_id(&self, name: &str) -> Result<i64, crate::EngineError> {
        let found = self.partitions.iter().find(|partition| partition.name == name);
        found.map(|partition| partition.id).ok_or_else(|| crate::EngineError::PartitionNotFound(name.to_owned()))
    }
}

/// An index in its collection's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct IndexRecord {
    /// Never used twice, so that a snapshot can't be taken for another index's.
    pub(crate) id: i64,
    pub(crate) spec: IndexSpec,
}
