//! One database: its zone, its catalog, and its open collections. It goes dark with its zone and comes back with it.

mod collections;
mod import;
mod open;

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use custody_store::{ZoneId, ZoneStatus, ZoneStore, Zones};
use futures::future::BoxFuture;

use crate::{DatabaseInfo, EngineError, catalog::DatabaseEntry, clock::HybridClock, marks::Marks};
pub use import::Import;
pub(crate) use open::OpenDatabase;

/// A zone that could not be opened is tried again at most this often, so that requests do not become KMS calls.
const RETRY: Duration = Duration::from_secs(1);

/// A database, open or dark.
pub(crate) struct Database {
    pub(crate) entry: DatabaseEntry,
    zones: Arc<dyn Zones>,
    clock: Arc<HybridClock>,
    marks: Arc<Marks>,
    state: tokio::sync::Mutex<State>,
    /// The same as in the state, for readers that can't wait.
    seen: std::sync::Mutex<Option<Arc<OpenDatabase>>>,
    watcher: std::sync::Mutex<Option<tokio::task::AbortHandle>>,
}

#[derive(Default)]
struct State {
    zone: Option<ZoneStore>,
    open: Option<Arc<OpenDatabase>>,
    failed: Option<(Instant, EngineError)>,
}

impl Database {
    pub(crate) fn new(
        entry: DatabaseEntry,
        zones: Arc<dyn Zones>,
        clock: Arc<HybridClock>,
        marks: Arc<Marks>,
    ) -> Arc<Self> {
        Arc::new(Self {
            entry,
            zones,
            clock,
            marks,
            state: tokio::sync::Mutex::default(),
            seen: std::sync::Mutex::default(),
            watcher: std::sync::Mutex::default(),
        })
    }

    pub(crate) fn zone(&self) -> ZoneId {
        ZoneId::new(self.entry.zone)
    }

    /// Takes a zone that was just made.
    pub(crate) async fn adopt(self: &Arc<Self>, zone: ZoneStore, open: OpenDatabase) {
        let mut state = self.state.lock().await;
        self.watch(&zone);
        state.zone = Some(zone);
        self.set_open(&mut state, Some(Arc::new(open)));
    }

    /// The database, opened if it isn't; an error while its zone is sealed.
    pub(crate) fn open(self: &Arc<Self>) -> BoxFuture<'_, Result<Arc<OpenDatabase>, EngineError>> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            if let Some((when, error)) = &state.failed
                && when.elapsed() < RETRY
            {
                return Err(error.clone());
            }
            let result = self.open_now(&mut state).await;
            state.failed = result.as_ref().err().map(|error| (Instant::now(), error.clone()));
            // A sealed zone answers for itself at once; only attempts that cost something are spaced out.
            if state.zone.is_some() {
                state.failed = None;
            }
            result
        })
    }

    async fn open_now(self: &Arc<Self>, state: &mut State) -> Result<Arc<OpenDatabase>, EngineError> {
        let zone = match &state.zone {
            Some(zone) => zone.clone(),
            None => {
                let zone = self.zones.open(self.zone(), self.entry.key.as_deref()).await.map_err(EngineError::from)?;
                self.marks.take_zone(&zone)?;
                self.watch(&zone);
                state.zone.insert(zone).clone()
            }
        };
        let status = zone.status();
        if !status.is_usable() {
            self.set_open(state, None);
            return Err(EngineError::Sealed(status));
        }
        if let Some(open) = state.open.as_ref().filter(|open| !open.is_broken()) {
            return Ok(Arc::clone(open));
        }
        self.set_open(state, None);
        let open = Arc::new(OpenDatabase::open(zone, Arc::clone(&self.clock), Arc::clone(&self.marks)).await?);
        self.set_open(state, Some(Arc::clone(&open)));
        Ok(open)
    }

    fn set_open(&self, state: &mut State, open: Option<Arc<OpenDatabase>>) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&open);
        if let Some(old) = std::mem::replace(&mut state.open, open) {
            old.darken();
        }
    }

    /// Lets go of all that is decrypted as soon as the zone is sealed, whether or not somebody asks.
    fn watch(self: &Arc<Self>, zone: &ZoneStore) {
        let mut status = zone.subscribe();
        let database = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            while status.changed().await.is_ok() {
                let sealed = !status.borrow_and_update().is_usable();
                let Some(database) = database.upgrade() else { return };
                if sealed {
                    tracing::warn!(zone = %database.zone(), "the zone is sealed: its data leaves memory");
                    database.darken().await;
                }
            }
        });
        let old = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).replace(task.abort_handle());
        if let Some(old) = old {
            old.abort();
        }
    }

    /// Lets go of all that is decrypted.
    pub(crate) async fn darken(&self) {
        // What readers see first: they must not find a database whose rows are going away.
        if let Some(open) = self.seen.lock().unwrap_or_else(PoisonError::into_inner).take() {
            open.darken();
        }
        let mut state = self.state.lock().await;
        self.set_open(&mut state, None);
    }

    /// The open database, if it is open now.
    pub(crate) fn seen(&self) -> Option<Arc<OpenDatabase>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The zone's state; `None` before it was first opened.
    pub(crate) async fn status(&self) -> Option<ZoneStatus> {
        self.state.lock().await.zone.as_ref().map(ZoneStore::status)
    }

    /// What the outside learns of the database.
    pub(crate) async fn info(self: &Arc<Self>) -> Result<DatabaseInfo, EngineError> {
        let record = self.open().await?.record();
        Ok(DatabaseInfo {
            id: self.zone().to_string(),
            name: record.name,
            created: record.created,
            properties: record.properties,
            encrypted: self.zones.encrypted(),
            key: self.entry.key.clone(),
        })
    }

    /// Ends the database's tasks.
    pub(crate) fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(watcher) = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take() {
                watcher.abort();
            }
            let mut state = self.state.lock().await;
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(open) = state.open.take() {
                open.close().await;
            }
        })
    }
}
