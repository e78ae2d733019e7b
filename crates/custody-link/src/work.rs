//! Long pieces of work that a node does for a job of the control plane: backups, and restores.

use serde::{Deserialize, Serialize};

use crate::message::KeyRef;

/// Work to be done. There is no `Debug`: an external id would be in it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkOrder {
    /// The job that it is done for.
    pub job: String,
    /// What is to be done.
    pub work: Work,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Make a backup of the node's cluster.
    Backup(BackupOrder),
    /// Bring collections of a backup into the node's cluster.
    Restore(RestoreOrder),
}

/// A backup that is to be made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupOrder {
    /// The backup's id.
    pub backup: String,
    /// Where backups are kept: `file:///DIR` or `s3://BUCKET/PREFIX`.
    pub storage: String,
    /// Only these; `None` is all of the cluster.
    pub only: Option<Vec<Chosen>>,
}

/// Collections of a database. Their names cross the link in an order, and are kept nowhere on the control plane's side.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// The database's name; the default one's may be left empty.
    pub database: String,
    /// The collections' names; none is all of the database.
    pub collections: Vec<String>,
}

/// A restore that is to be done.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreOrder {
    /// What is restored.
    pub from: BackupSource,
    /// How sealed files become sealed files of this cluster.
    pub mode: RestoreMode,
    /// Whether what comes into a database under a key of its own is sealed anew, whatever the mode, if that key is of another
    /// account than the one that it was under: so it is unless somebody chose the mode.
    pub anew_across_accounts: bool,
    /// Only these; `None` is all of the backup.
    pub only: Option<Vec<Renamed>>,
    /// Whether databases that had a key of their own keep it. Else they come under this cluster's.
    pub keep_database_keys: bool,
    /// Whether collections that were loaded are loaded again.
    pub load: bool,
}

/// How sealed files become sealed files of another zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreMode {
    /// A new header over the same body: the price of a copy. Whoever kept an old header and has the old key opens the new
    /// body with it.
    Rekey,
    /// Everything is sealed anew under data keys of its own.
    Reencrypt,
}

/// A collection of a backup, and what it is to become.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renamed {
    /// The database that it was in.
    pub database: String,
    /// What it was called.
    pub collection: String,
    /// The database that it comes into.
    pub to_database: String,
    /// What it will be called.
    pub to_collection: String,
}

/// A backup, and how it is opened: none of this is taken from its storage (rule 1).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSource {
    /// The cluster that it is of.
    pub cluster: String,
    /// Its id.
    pub backup: String,
    /// Where backups are kept.
    pub storage: String,
    /// The root key that the cluster was under; without one it was stored in plain text.
    pub key: Option<KeyRef>,
    /// Root keys that databases of it were under.
    pub tenant_keys: Vec<KeyRef>,
    /// SHA-256 of its manifest as hex, if it is known: then it is this one and no other.
    pub manifest: Option<String>,
}

/// How a piece of work is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkReport {
    /// The job.
    pub job: String,
    /// Bytes that are done with.
    pub done: u64,
    /// All bytes; 0 before that is known.
    pub total: u64,
    /// How it stands.
    pub state: WorkState,
}

/// How a piece of work stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkState {
    /// It goes on.
    Running,
    /// It is done.
    Done(WorkDone),
    /// It is undone, and nothing of it is left.
    Failed {
        /// Why, for people: ids alone, but for names that the order had.
        reason: String,
    },
    /// It was given up, as was asked, and nothing of it is left.
    Canceled,
}

/// What came of a piece of work: ids and figures alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkDone {
    /// Databases that were taken.
    pub databases: u64,
    /// Collections that were taken.
    pub collections: u64,
    /// Objects that the backup has, or that were restored.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of these, the bytes that an earlier backup had not.
    pub copied: u64,
    /// The ARNs of the root keys that have to be available for it to be opened, the cluster's first; none if it is plain.
    pub keys: Vec<String>,
    /// Databases that could not be taken: their zones were sealed.
    pub omitted: Vec<Omitted>,
    /// Of a backup: SHA-256 of its manifest, as hex.
    pub manifest: Option<String>,
}

/// A database that is missing in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Omitted {
    /// Its zone's id.
    pub zone: String,
    /// Why.
    pub reason: String,
}
