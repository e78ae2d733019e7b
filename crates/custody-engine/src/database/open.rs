//! A database whose zone is open: its catalog, and access to its collections.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use custody_store::ZoneStore;
use futures::{TryStreamExt, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt};
use slatedb::WriteBatch;

use crate::{
    EngineError,
    catalog::{CollectionRecord, DatabaseRecord},
    clock::HybridClock,
    collection::{self, Collection},
    kv::Kv,
    marks::Marks,
    rows,
};

const DATABASE: &[u8] = b"i";
const COLLECTIONS: &[u8] = b"c";

/// A slot that holds a collection once it is open; its lock is held while it is being opened.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Collection>>>>;

/// A database whose zone is open.
pub(crate) struct OpenDatabase {
    pub(crate) zone: ZoneStore,
    kv: Kv,
    record: RwLock<DatabaseRecord>,
    pub(super) records: RwLock<BTreeMap<i64, Arc<CollectionRecord>>>,
    pub(super) slots: std::sync::Mutex<HashMap<i64, Slot>>,
    /// Held over every change of the catalog.
    pub(crate) changing: tokio::sync::Mutex<()>,
    pub(super) clock: Arc<HybridClock>,
    pub(super) marks: Arc<Marks>,
}

impl OpenDatabase {
    /// Makes the catalog of a new database.
    pub(crate) fn create(
        zone: ZoneStore,
        record: DatabaseRecord,
        clock: Arc<HybridClock>,
        marks: Arc<Marks>,
    ) -> BoxFuture<'static, Result<Self, EngineError>> {
        Box::pin(async move {
            let kv = Kv::open(&zone, zone.root().join("catalog"), marks.catalog(zone.zone())).await?;
            kv.kept_if_ok(kv.put(DATABASE, &rows::encode(&record, "database record")?).await)?;
            Ok(Self::new(zone, kv, record, BTreeMap::new(), clock, marks))
        })
    }

    /// Opens the catalog of a database, and clears away what dropped collections left.
    pub(crate) async fn open(zone: ZoneStore, clock: Arc<HybridClock>, marks: Arc<Marks>) -> Result<Self, EngineError> {
        let catalog = zone.root().join("catalog");
        if !Kv::exists(&zone, &catalog).await? {
            return Err(EngineError::CatalogMissing(zone.zone()));
        }
        let kv = Kv::open(&zone, catalog, marks.catalog(zone.zone())).await?;
        let read = Self::read(zone, kv.clone(), clock, marks).await;
        kv.kept_if_ok(read)
    }

    async fn read(zone: ZoneStore, kv: Kv, clock: Arc<HybridClock>, marks: Arc<Marks>) -> Result<Self, EngineError> {
        let record = kv.get(DATABASE).await?.ok_or_else(|| EngineError::CatalogMissing(zone.zone()))?;
        let record = rows::decode_record(&record, "database record")?;
        let mut records = BTreeMap::new();
        kv.scan(COLLECTIONS, |_, value| {
            let record: CollectionRecord = rows::decode_record(value, "collection record")?;
            records.insert(record.id, Arc::new(record));
            Ok(())
        })
        .await?;
        // What is not in the catalog was dropped: the catalog is held to its own anchor.
        marks.keep_collections(zone.zone(), |id| records.contains_key(&id));
        let database = Self::new(zone, kv, record, records, clock, marks);
        database.clear_leftovers().await?;
        database.take_as_it_is().await;
        Ok(database)
    }

    fn new(
        zone: ZoneStore,
        kv: Kv,
        record: DatabaseRecord,
        records: BTreeMap<i64, Arc<CollectionRecord>>,
        clock: Arc<HybridClock>,
        marks: Arc<Marks>,
    ) -> Self {
        Self {
            zone,
            kv,
            record: RwLock::new(record),
            records: RwLock::new(records),
            slots: std::sync::Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            clock,
            marks,
        }
    }

    /// The database's record.
    pub(crate) fn record(&self) -> DatabaseRecord {
        self.record.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the database's record. The caller holds `changing`.
    pub(super) async fn set_record(&self, record: DatabaseRecord) -> Result<(), EngineError> {
        self.kv.put(DATABASE, &rows::encode(&record, "database record")?).await?;
        *self.record.write().unwrap_or_else(PoisonError::into_inner) = record;
        Ok(())
    }

    /// Whether the catalog can no longer be used.
    pub(crate) fn is_broken(&self) -> bool {
        self.kv.is_closed()
    }

    /// An id that was never given before. The caller holds `changing`.
    pub(super) async fn next_id(&self) -> Result<i64, EngineError> {
        let mut record = self.record();
        let id = record.next_id;
        record.next_id += 1;
        self.set_record(record).await?;
        Ok(id)
    }

    /// Sees to it that no id below this is given any more. The caller holds `changing`.
    pub(super) async fn raise_next_id(&self, id: i64) -> Result<(), EngineError> {
        let mut record = self.record();
        if record.next_id < id {
            record.next_id = id;
            self.set_record(record).await?;
        }
        Ok(())
    }

    /// All collections.
    pub(crate) fn all(&self) -> Vec<Arc<CollectionRecord>> {
        self.records.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The collection of a name or alias.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<CollectionRecord>, EngineError> {
        let records = self.records.read().unwrap_or_else(PoisonError::into_inner);
        let named = |record: &&Arc<CollectionRecord>| record.name == name || record.aliases.contains(name);
        records.values().find(named).cloned().ok_or_else(|| EngineError::CollectionNotFound(name.to_owned()))
    }

    /// Begins a collection and stores its record, in this order: a record whose rows are missing is one whose objects were
    /// deleted. What a crash leaves in between is cleared away at the next open. The caller holds `changing`.
    pub(super) fn begin(&self, record: CollectionRecord) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async move {
            let id = record.id;
            let mark = self.marks.collection(self.zone.zone(), id);
            let collection = match Collection::create(&self.zone, &record, Arc::clone(&self.clock), mark).await {
                Ok(collection) => collection,
                Err(error) => {
                    self.marks.forget_collection(self.zone.zone(), id);
                    if let Err(error) = self.remove_objects(id).await {
                        tracing::warn!(collection = id, %error, "what was begun is cleared away at the next start");
                    }
                    return Err(error);
                }
            };
            self.slots.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(Some(collection).into()));
            if let Err(error) = self.store(vec![record]).await {
                // Whether the record is stored is unknown: its rows have to stay.
                self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                return Err(error);
            }
            tracing::debug!(zone = %self.zone.zone(), collection = id, "a collection is made");
            Ok(())
        })
    }

    /// Stores changed records all at once. The caller holds `changing`.
    pub(super) fn store(&self, changed: Vec<CollectionRecord>) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async move {
            let mut batch = WriteBatch::new();
            for record in &changed {
                batch.put(key(record.id), rows::encode(record, "collection record")?);
            }
            self.kv.write(batch).await?;
            let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
            records.extend(changed.into_iter().map(|record| (record.id, Arc::new(record))));
            Ok(())
        })
    }

    /// Forgets a collection, then removes its objects. What a crash leaves is cleared away at the next open. The caller
    /// holds `changing`.
    pub(super) fn forget(&self, id: i64) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async move {
            self.kv.remove(&key(id)).await?;
            self.records.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
            self.marks.forget_collection(self.zone.zone(), id);
            let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            if let Some(slot) = slot
                && let Some(collection) = slot.lock().await.take()
            {
                collection.close().await;
            }
            tracing::debug!(zone = %self.zone.zone(), collection = id, "a collection is dropped");
            if self.marks.is_pinned(self.zone.zone(), id) {
                // Whoever pinned it removes it then, or the next open does.
                return Ok(());
            }
            self.remove_objects(id).await
        })
    }

    /// Ends the pinning of a collection's objects. Those of one that was dropped meanwhile go now.
    pub(crate) fn unpin(&self, id: i64) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async move {
            let _changing = self.changing.lock().await;
            if !self.marks.is_pinned(self.zone.zone(), id) {
                return Ok(());
            }
            self.marks.unpin(self.zone.zone(), id);
            let known = self.records.read().unwrap_or_else(PoisonError::into_inner).contains_key(&id);
            if known || self.is_broken() { Ok(()) } else { self.remove_objects(id).await }
        })
    }

    pub(super) async fn remove_objects(&self, id: i64) -> Result<(), EngineError> {
        let objects = self.zone.objects();
        let root = collection::root(&self.zone, id);
        let paths: Vec<_> = objects.list(Some(&root)).try_collect().await.map_err(collection::store_error)?;
        for object in paths {
            match objects.delete(&object.location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(collection::store_error(error)),
            }
        }
        Ok(())
    }

    /// Removes what lies in the zone and is in no record: of collections that were dropped, or only begun.
    async fn clear_leftovers(&self) -> Result<(), EngineError> {
        let root = self.zone.root().join("collections");
        let listed = self.zone.objects().list_with_delimiter(Some(&root)).await.map_err(collection::store_error)?;
        let known: BTreeSet<i64> =
            self.records.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        for prefix in listed.common_prefixes {
            let id = prefix.filename().and_then(|name| i64::from_str_radix(name, 16).ok());
            if let Some(id) = id.filter(|id| !known.contains(id)) {
                // An id is stored as given before anything is made under it.
                if id >= self.record().next_id {
                    return Err(EngineError::CatalogRolledBack(self.zone.zone(), id));
                }
                if self.marks.is_pinned(self.zone.zone(), id) {
                    continue;
                }
                tracing::info!(collection = id, "clearing away what a dropped collection left");
                self.remove_objects(id).await?;
            }
        }
        Ok(())
    }

    /// Where the cluster was let open below its anchor: looks at once at every collection that the anchor names, so that all
    /// that is missing is told now, and the anchor is good for the next start.
    async fn take_as_it_is(&self) {
        for (id, mark) in self.marks.pardoned(self.zone.zone()) {
            let rows = collection::rows_root(&self.zone, id);
            if let Err(error) = Kv::settle(&self.zone, &rows, &mark).await {
                tracing::warn!(collection = id, %error, "what the storage has of a collection can't be told");
            }
        }
    }

    /// The open collection of a record, opened if it isn't.
    pub(crate) fn collection<'a>(
        &'a self,
        record: &'a CollectionRecord,
    ) -> BoxFuture<'a, Result<Arc<Collection>, EngineError>> {
        Box::pin(async move {
            let slot =
                Arc::clone(self.slots.lock().unwrap_or_else(PoisonError::into_inner).entry(record.id).or_default());
            let mut slot = slot.lock().await;
            if let Some(open) = slot.as_ref().filter(|open| !open.is_broken()) {
                return Ok(Arc::clone(open));
            }
            // It stays in its slot until another takes its place: it knows when it may be opened again.
            if let Some(broken) = slot.as_ref() {
                broken.close().await;
                broken.may_be_reopened().await;
            }
            // The record as it is now: the caller's may be older than the wait for the slot.
            let record = self.records.read().unwrap_or_else(PoisonError::into_inner).get(&record.id).cloned();
            let record = record.ok_or_else(|| EngineError::CollectionNotFound(String::new()))?;
            let mark = self.marks.collection(self.zone.zone(), record.id);
            let opened = Collection::open(&self.zone, &record, Arc::clone(&self.clock), mark).await?;
            Ok(Arc::clone(slot.insert(opened)))
        })
    }

    /// The collections that are open now.
    pub(crate) fn open_collections(&self) -> Vec<Arc<Collection>> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.values().filter_map(|slot| slot.try_lock().ok()?.clone()).collect()
    }

    /// Lets go of everything decrypted. Requests under way end with an error.
    pub(crate) fn darken(&self) {
        let slots: Vec<Slot> =
            self.slots.lock().unwrap_or_else(PoisonError::into_inner).drain().map(|slot| slot.1).collect();
        for slot in slots {
            if let Ok(mut slot) = slot.try_lock()
                && let Some(collection) = slot.take()
            {
                collection.darken();
                tokio::spawn(async move { collection.close().await });
            }
        }
        self.records.write().unwrap_or_else(PoisonError::into_inner).clear();
        let kv = self.kv.clone();
        tokio::spawn(async move { kv.close().await });
    }

    /// Ends all tasks.
    pub(crate) async fn close(&self) {
        let slots: Vec<Slot> =
            self.slots.lock().unwrap_or_else(PoisonError::into_inner).drain().map(|slot| slot.1).collect();
        for slot in slots {
            if let Some(collection) = slot.lock().await.take() {
                collection.close().await;
            }
        }
        self.kv.close().await;
    }
}

fn key(id: i64) -> Vec<u8> {
    [COLLECTIONS, &id.to_be_bytes()].concat()
}
