//! What can go wrong, one variant a fact. Adapters map them to wire codes in one place.

use custody_filter::FilterError;
use custody_store::{ZoneId, ZoneStatus, ZonesError};

use crate::BelowAnchor;

/// An error of the engine. Messages name what failed, why and what to do, and never carry a row's values.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The zone that holds the data is sealed: its key was refused or has been out of reach for too long.
    #[error("the data is {0}")]
    Sealed(ZoneStatus),
    /// No database of that name.
    #[error("database not found: '{0}'")]
    DatabaseNotFound(String),
    /// A database of that name exists.
    #[error("database already exists: '{0}'")]
    DatabaseExists(String),
    /// A database still holds collections.
    #[error("database '{0}' is not empty: drop its collections first")]
    DatabaseNotEmpty(String),
    /// A request on a database that can't be granted.
    #[error("database refused: {0}")]
    InvalidDatabase(String),
    /// No collection (or alias) of that name.
    #[error("collection not found: '{0}'")]
    CollectionNotFound(String),
    /// A collection or alias of that name exists.
    #[error("a collection or alias named '{0}' already exists")]
    CollectionExists(String),
    /// Search and query need the collection in memory.
    #[error("collection not loaded: '{0}': load it first")]
    NotLoaded(String),
    /// No partition of that name.
    #[error("partition not found: '{0}'")]
    PartitionNotFound(String),
    /// A partition of that name exists.
    #[error("partition already exists: '{0}'")]
    PartitionExists(String),
    /// A partition that can't be dropped, or any other request on partitions that can't be granted.
    #[error("partition refused: {0}")]
    InvalidPartition(String),
    /// No alias of that name.
    #[error("alias not found: '{0}'")]
    AliasNotFound(String),
    /// No index of that name or on that field.
    #[error("index not found: '{0}'")]
    IndexNotFound(String),
    /// An index that can't be built.
    #[error("invalid index: {0}")]
    InvalidIndex(String),
    /// A user that exists already.
    #[error("user already exists: '{0}'")]
    UserExists(String),
    /// No user of that name.
    #[error("user not found: '{0}'")]
    UserNotFound(String),
    /// A name that is not one.
    #[error(
        "invalid {kind} name: it must start with a letter or underscore, go on with letters, digits or underscores, and have at \
         most 255 bytes"
    )]
    InvalidName {
        /// What was to be named.
        kind: &'static str,
    },
    /// A schema that makes no sense.
    #[error("invalid schema: {0}")]
    InvalidSchema(String),
    /// Rows that do not fit the schema.
    #[error("invalid rows: {0}")]
    InvalidRows(String),
    /// A search or query that makes no sense.
    #[error("invalid request: {0}")]
    InvalidRequest(String),
    /// A filter that doesn't parse, or can't be evaluated.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Another process took the cluster over: this one must stop.
    #[error("this process was fenced out: another one has opened the cluster's data; stop one of them")]
    Fenced,
    /// The storage below failed or holds damaged data.
    #[error("storage failed: {0}")]
    Storage(String),
    /// A cluster or a database without its catalog.
    #[error(
        "the catalog is missing in zone {0}: it was deleted, or the making was cut short. Restore the objects under \
         zones/{0}/catalog; if nothing was ever stored, remove the cluster's prefix and start again"
    )]
    CatalogMissing(ZoneId),
    /// A log with a hole: everything after it would be lost.
    #[error("{0} is missing, and younger objects of the same log are there: it was deleted; restore it")]
    LogIncomplete(String),
    /// A log that goes on after the newest manifest of its map was superseded.
    #[error(
        "the log under {0} is of a later opening than the newest manifest there: manifests were deleted, or an older one was put \
         back. Restore the objects under {0}/manifest. If another process is opening the cluster at this moment, stop one of them"
    )]
    ManifestBehind(String),
    /// A database whose catalog is older than what lies beside it.
    #[error(
        "the catalog of zone {0} is older than collection {1:016x} that lies in the zone: the storage was rolled back. Restore \
         the objects under zones/{0}/catalog"
    )]
    CatalogRolledBack(ZoneId, i64),
    /// A collection that is in its database's catalog and has no rows in the storage, not even none.
    #[error(
        "the objects of collection {0:016x} are missing: they were deleted. Restore the objects under its prefix, or drop the \
         collection"
    )]
    RowsMissing(i64),
    /// A collection whose newest rows are gone, though an index covers them.
    #[error(
        "the newest rows of collection {0:016x} are missing, and an index snapshot covers them: the storage was rolled back, or \
         objects of the log were deleted. Restore them, or drop the index to open the older state"
    )]
    RowsRolledBack(i64),
    /// Something that is older than what is known from outside the storage.
    #[error(transparent)]
    BelowAnchor(#[from] BelowAnchor),
    /// A stored record that can't be read: written by a newer version, or damaged.
    #[error("stored {0} can't be read: it was written by a newer version, or is damaged")]
    Record(&'static str),
    /// A zone could not be made or opened.
    #[error("{0}")]
    Zone(String),
    /// A panic ended the work. What was in memory is let go, and read again from what is durable.
    #[error(
        "the call ended in a fault of the node; it is logged. Whether a write was kept is not known: look for it, or send it \
         again under the same keys"
    )]
    Fault,
    /// The engine is shutting down.
    #[error("the node is shutting down")]
    Closing,
}

impl From<ZonesError> for EngineError {
    fn from(error: ZonesError) -> Self {
        match error {
            ZonesError::Sealed(status) => Self::Sealed(status),
            error => Self::Zone(error.to_string()),
        }
    }
}
