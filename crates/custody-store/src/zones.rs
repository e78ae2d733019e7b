//! What an engine sees of its zones.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use custody_keyring::{UnknownKey, ZoneStatus};
use custody_seal::ZoneId;
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::sync::watch;

use crate::sealed::SealedStore;

/// The encryption zones of one cluster, or what stands for them in a cluster that is not encrypted.
#[async_trait]
pub trait Zones: Send + Sync + fmt::Debug {
    /// Whether what is written is sealed.
    fn encrypted(&self) -> bool;

    /// Makes a zone. All or nothing: on an error nothing of it is left behind.
    ///
    /// `key` is the ARN of the root key that the zone is pinned to; `None` is the cluster's own.
    async fn create(&self, zone: ZoneId, key: Option<&str>) -> Result<ZoneStore, ZonesError>;

    /// Opens a zone under the root key that it is pinned to; `None` is the cluster's own.
    async fn open(&self, zone: ZoneId, key: Option<&str>) -> Result<ZoneStore, ZonesError>;

    /// Removes every object of a zone, its keyring last. Called again after a failure, it goes on where it stopped.
    async fn delete(&self, zone: ZoneId) -> Result<(), ZonesError>;
}

/// The objects of one open zone.
#[derive(Clone)]
pub struct ZoneStore {
    zone: ZoneId,
    objects: Arc<dyn ObjectStore>,
    status: StatusSource,
}

#[derive(Clone)]
enum StatusSource {
    /// The store of a zone, which looks at its lease's deadline whenever it is asked.
    Sealed(SealedStore),
    /// Always available. The sender is kept so that a subscriber waits instead of seeing the channel close.
    Plain(Arc<watch::Sender<ZoneStatus>>),
}

impl ZoneStore {
    pub(crate) fn sealed(store: SealedStore) -> Self {
        Self { zone: store.zone().id(), objects: Arc::new(store.clone()), status: StatusSource::Sealed(store) }
    }

    pub(crate) fn plain(zone: ZoneId, objects: Arc<dyn ObjectStore>) -> Self {
        Self { zone, objects, status: StatusSource::Plain(Arc::new(watch::Sender::new(ZoneStatus::Available))) }
    }

    /// Where the zone's objects are read and written; only paths under [`root`](Self::root) exist in it.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.objects)
    }

    /// The same with what a sealed store can do beyond others; `None` in a cluster that is not encrypted.
    pub fn as_sealed(&self) -> Option<&SealedStore> {
        match &self.status {
            StatusSource::Sealed(store) => Some(store),
            StatusSource::Plain(_) => None,
        }
    }

    /// The objects of the same zone in another place, such as a backup of it: sealed there where they are sealed here.
    #[must_use]
    pub fn elsewhere(&self, inner: Arc<dyn ObjectStore>) -> Self {
        match &self.status {
            StatusSource::Sealed(store) => Self::sealed(store.elsewhere(inner)),
            StatusSource::Plain(_) => Self::plain(self.zone, inner),
        }
    }

    /// `zones/<zone id>`: the prefix of the zone's objects within the cluster.
    pub fn root(&self) -> Path {
        root(self.zone)
    }

    /// The zone's id.
    pub fn zone(&self) -> ZoneId {
        self.zone
    }

    /// The newest version of the zone's key, sealed or not; `None` in a cluster that is not encrypted.
    pub fn key_version(&self) -> Option<u32> {
        match &self.status {
            StatusSource::Sealed(store) => Some(store.zone().current_version()),
            StatusSource::Plain(_) => None,
        }
    }

    /// The zone's status now.
    pub fn status(&self) -> ZoneStatus {
        match &self.status {
            StatusSource::Sealed(store) => store.zone().status(),
            StatusSource::Plain(status) => status.borrow().clone(),
        }
    }

    /// The zone's status as it changes.
    pub fn subscribe(&self) -> watch::Receiver<ZoneStatus> {
        match &self.status {
            StatusSource::Sealed(store) => store.zone().subscribe(),
            StatusSource::Plain(status) => status.subscribe(),
        }
    }
}

impl fmt::Debug for ZoneStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZoneStore").field("zone", &self.zone).field("objects", &self.objects).finish_non_exhaustive()
    }
}

/// The prefix of a zone's objects within its cluster.
pub(crate) fn root(zone: ZoneId) -> Path {
    Path::from_iter(["zones".to_owned(), zone.to_string()])
}

/// Why a zone was not made, opened or deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZonesError {
    /// The zone is there, and sealed: its key was refused, or could not be reached.
    #[error("{0}")]
    Sealed(ZoneStatus),
    /// The key is none that this cluster may use.
    #[error(transparent)]
    UnknownKey(#[from] UnknownKey),
    /// There is no such zone.
    #[error("there is no zone {0}: it was deleted, or the storage prefix is another cluster's")]
    NotFound(ZoneId),
    /// There is such a zone already.
    #[error("zone {0} exists already")]
    Exists(ZoneId),
    /// What is stored and what was asked for don't go together, or the key can't be used as it is.
    #[error("{0}")]
    Misconfigured(String),
    /// The storage below failed.
    #[error("the object storage failed: {0}")]
    Io(#[from] object_store::Error),
    /// Anything else that kept a zone's key from being made or removed; the message says what is left to do.
    #[error("{0}")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ZonesError {
    pub(crate) fn other(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Other(Box::new(error))
    }
}
