//! The cluster's own catalog: which databases there are, and the users.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use custody_store::ZoneStore;
use tokio::sync::{Mutex, MutexGuard};

use crate::{EngineError, kv::Kv};

/// Between two tries to open the catalog again after the storage was gone.
const PAUSE: Duration = Duration::from_secs(1);

/// The map of the cluster's catalog. It ends when the storage is gone for longer than it tries, and is opened again then:
/// nobody else would notice that this process may no longer write.
pub(crate) struct ClusterCatalog {
    zone: ZoneStore,
    /// Held over every change.
    kv: Mutex<Kv>,
    unread: AtomicBool,
    closed: AtomicBool,
}

impl ClusterCatalog {
    pub(crate) fn new(zone: ZoneStore, kv: Kv) -> Self {
        Self { zone, kv: Mutex::new(kv), unread: AtomicBool::new(true), closed: AtomicBool::new(false) }
    }

    /// The cluster's zone.
    pub(crate) fn zone(&self) -> &ZoneStore {
        &self.zone
    }

    /// The map, for a change: to be held over all of it.
    pub(crate) async fn change(&self) -> Result<MutexGuard<'_, Kv>, EngineError> {
        let mut kv = self.kv.lock().await;
        if kv.is_closed() {
            if self.closed.load(Ordering::Acquire) {
                return Err(EngineError::Closing);
            }
            *kv = kv.reopen(&self.zone).await?;
            self.unread.store(true, Ordering::Release);
            tracing::info!("the cluster's catalog is open again");
        }
        Ok(kv)
    }

    /// Whether the map has been opened, and nobody has said since that it was read.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Acquire)
    }

    /// The map was read. The caller holds it.
    pub(crate) fn set_read(&self) {
        self.unread.store(false, Ordering::Release);
    }

    /// Keeps the map open, and completes when another process has taken the cluster over.
    pub(crate) async fn fenced(&self) {
        loop {
            let kv = self.kv.lock().await.clone();
            if kv.ended().await {
                return;
            }
            match self.change().await {
                Ok(_) => {}
                Err(EngineError::Fenced) => return,
                Err(EngineError::Closing) => std::future::pending().await,
                Err(error) => {
                    tracing::warn!(%error, "the cluster's catalog can't be opened again yet");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Ends the map's tasks.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.kv.lock().await.close().await;
    }
}
