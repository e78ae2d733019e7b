//! What callers learn of databases, collections, partitions and the engine itself.

use std::collections::BTreeMap;

use custody_store::{ZoneId, ZoneStatus};
use serde::{Deserialize, Serialize};

use crate::{IndexSpec, Schema};

/// A database to make.
#[derive(Clone, Debug, Default)]
pub struct NewDatabase {
    /// Its name.
    pub name: String,
    /// Its properties. `cipher.enabled` and `cipher.key` say under which root key it lives.
    pub properties: BTreeMap<String, String>,
}

/// A database.
#[derive(Clone, Debug)]
pub struct DatabaseInfo {
    /// Its opaque id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made, as a hybrid timestamp.
    pub created: u64,
    /// Its properties.
    pub properties: BTreeMap<String, String>,
    /// Whether its data is encrypted.
    pub encrypted: bool,
    /// The root key that it is pinned to, if not the cluster's.
    pub key: Option<String>,
}

/// A collection to make.
#[derive(Clone, Debug)]
pub struct NewCollection {
    /// Its name.
    pub name: String,
    /// Its schema.
    pub schema: Schema,
    /// The number of shards that the client asked for; kept, not used.
    pub shards: i32,
    /// The consistency level that the client asked for; kept: all reads are strong.
    pub consistency: i32,
}

/// A collection.
#[derive(Clone, Debug)]
pub struct CollectionInfo {
    /// Its id, unique in its database.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its schema.
    pub schema: Schema,
    /// Other names of it.
    pub aliases: Vec<String>,
    /// When it was made, as a hybrid timestamp.
    pub created: u64,
    /// As asked for.
    pub shards: i32,
    /// As asked for.
    pub consistency: i32,
    /// Whether it is in memory, or will be when next used.
    pub loaded: bool,
    /// Its indexes.
    pub indexes: Vec<IndexSpec>,
    /// Its partitions.
    pub partitions: Vec<PartitionInfo>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionInfo {
    /// Its id, unique in its database.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// When it was made, as a hybrid timestamp.
    pub created: u64,
}

/// How far an index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexProgress {
    /// Rows of the collection.
    pub total_rows: u64,
    /// Rows that the index answers for.
    pub indexed_rows: u64,
    /// Rows that are searched exactly until the index has them.
    pub pending_rows: u64,
}

/// The state of one zone.
#[derive(Clone, Debug)]
pub struct ZoneHealth {
    /// The zone.
    pub zone: ZoneId,
    /// Whether its key is at hand, and if not why.
    pub status: ZoneStatus,
}

/// Figures for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Databases, sealed ones included.
    pub databases: u64,
    /// Collections that are open.
    pub collections_open: u64,
    /// Rows in memory.
    pub rows: u64,
}
