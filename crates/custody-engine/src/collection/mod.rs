//! One open collection: its durable map, its rows in memory, its graphs. One task writes; readers take views.

mod indexer;
mod prepare;
mod query;
mod search;
mod writer;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use custody_store::ZoneStore;
use object_store::path::Path;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

use crate::{
    DataType, EngineError, Field, IndexKind, Metric, WriteResult,
    catalog::{CollectionRecord, IndexRecord},
    clock::HybridClock,
    graph::Graph,
    kv::{Begun, Kv},
    marks::Mark,
    memory::{Memory, View},
    rows::{Key, StoredRow},
};
pub(crate) use indexer::store_error;
use writer::Command;

/// Between two openings of the same collection. Each writes, if little: a client that tries again and again on a disk that is
/// full must not fill with it what becomes free.
const BETWEEN_OPENINGS: Duration = Duration::from_millis(250);
/// Commands that may wait for the writer.
const QUEUE: usize = 256;

/// An index of a vector field and, unless it is exact, its graph.
#[derive(Clone)]
struct VectorIndex {
    record: IndexRecord,
    metric: Metric,
    column: usize,
    graph: Option<Arc<Graph>>,
}

/// An open collection. Dropping it ends its tasks.
pub(crate) struct Collection {
    id: i64,
    fields: Arc<Vec<Field>>,
    dynamic: bool,
    zone: ZoneStore,
    root: Path,
    kv: Arc<Kv>,
    commands: mpsc::Sender<Command>,
    memory: RwLock<Option<Memory>>,
    indexes: RwLock<BTreeMap<String, VectorIndex>>,
    /// Set when a write failed and what is durable is unknown: the collection must be opened again.
    broken: AtomicBool,
    /// Set besides where the writer ended by itself: with what.
    failure: OnceLock<EngineError>,
    clock: Arc<HybridClock>,
    /// Told when rows or indexes have come.
    grown: Arc<Notify>,
    tasks: std::sync::Mutex<Vec<tokio::task::AbortHandle>>,
    /// Before that it is not opened again.
    reopened_from: std::sync::Mutex<Instant>,
}

impl Collection {
    /// Begins a new collection's data. Only then may its record be stored.
    pub(crate) async fn create(
        zone: &ZoneStore,
        record: &CollectionRecord,
        clock: Arc<HybridClock>,
        mark: Arc<Mark>,
    ) -> Result<Arc<Self>, EngineError> {
        let kv = Kv::open(zone, rows_root(zone, record.id), mark).await?;
        let next_row = kv.kept_if_ok(writer::begin(&kv).await)?;
        Self::start(zone, record, clock, kv, next_row)
    }

    /// Opens a collection's data, and loads it where its record says so.
    pub(crate) async fn open(
        zone: &ZoneStore,
        record: &CollectionRecord,
        clock: Arc<HybridClock>,
        mark: Arc<Mark>,
    ) -> Result<Arc<Self>, EngineError> {
        let rows = rows_root(zone, record.id);
        if !Kv::exists(zone, &rows).await? {
            return Err(EngineError::RowsMissing(record.id));
        }
        let kv = Kv::open(zone, rows, mark).await?;
        let next_row = kv.kept_if_ok(writer::next_row(&kv, record.id).await)?;
        let collection = Self::start(zone, record, clock, kv, next_row)?;
        if record.loaded {
            collection.kv.kept_if_ok(collection.load().await)?;
        }
        Ok(collection)
    }

    fn start(
        zone: &ZoneStore,
        record: &CollectionRecord,
        clock: Arc<HybridClock>,
        kv: Kv,
        next_row: u64,
    ) -> Result<Arc<Self>, EngineError> {
        let (commands, queue) = mpsc::channel(QUEUE);
        let collection = Arc::new(Self {
            id: record.id,
            fields: Arc::new(record.schema.columns()),
            dynamic: record.schema.dynamic,
            zone: zone.clone(),
            root: root(zone, record.id),
            kv: Arc::new(kv),
            commands,
            memory: RwLock::new(None),
            indexes: RwLock::new(BTreeMap::new()),
            broken: AtomicBool::new(false),
            failure: OnceLock::new(),
            clock,
            grown: Arc::default(),
            tasks: std::sync::Mutex::new(Vec::new()),
            reopened_from: std::sync::Mutex::new(Instant::now() + BETWEEN_OPENINGS),
        });
        collection.set_indexes(&record.indexes)?;
        let writer = tokio::spawn(writer::run(Arc::downgrade(&collection), queue, next_row));
        let indexer = tokio::spawn(indexer::run(Arc::downgrade(&collection), Arc::clone(&collection.grown)));
        collection
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend([writer.abort_handle(), indexer.abort_handle()]);
        Ok(collection)
    }

    /// Whether the collection must be opened again before it can be used.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire) || self.kv.is_closed()
    }

    /// Returns when a broken collection may be opened again.
    pub(crate) async fn may_be_reopened(&self) {
        let from = {
            let mut from = self.reopened_from.lock().unwrap_or_else(PoisonError::into_inner);
            let now = *from;
            *from = now.max(Instant::now()) + BETWEEN_OPENINGS;
            now
        };
        tokio::time::sleep_until(from).await;
    }

    /// Takes all rows into memory.
    pub(crate) async fn load(&self) -> Result<(), EngineError> {
        self.ask(|reply| Command::Load { reply }).await
    }

    /// Lets go of the rows in memory.
    pub(crate) async fn release(&self) -> Result<(), EngineError> {
        self.ask(|reply| Command::Release { reply }).await
    }

    /// Replaces the set of indexes; a graph whose index stays is kept.
    pub(crate) fn set_indexes(&self, records: &[IndexRecord]) -> Result<(), EngineError> {
        let mut indexes = self.indexes.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = BTreeMap::new();
        for record in records {
            let Some(metric) = record.spec.metric else { continue };
            let Some(column) = self.column(&record.spec.field) else { continue };
            let DataType::FloatVector { dim } = self.fields[column].data_type else { continue };
            let kept = indexes.remove(&record.spec.field).filter(|index| index.record.id == record.id);
            let index = match kept {
                Some(index) => index,
                None => {
                    let graph = match record.spec.kind {
                        IndexKind::Flat => None,
                        kind => Some(Arc::new(Graph::new(kind, metric, dim)?)),
                    };
                    VectorIndex { record: record.clone(), metric, column, graph }
                }
            };
            next.insert(record.spec.field.clone(), index);
        }
        *indexes = next;
        drop(indexes);
        self.grown.notify_one();
        Ok(())
    }

    /// Rows that an index covers, and rows that it doesn't yet.
    pub(crate) fn index_progress(&self, field: &str) -> (u64, u64) {
        let Some(view) = self.view() else { return (0, 0) };
        let index = self.indexes.read().unwrap_or_else(PoisonError::into_inner).get(field).cloned();
        let total = view.live.len() as u64;
        match index.and_then(|index| index.graph) {
            Some(graph) => {
                let covered = graph.covered();
                let pending = view.segments.iter().rev().flat_map(|segment| segment.numbers.iter().rev());
                let pending = pending.take_while(|number| **number >= covered);
                let pending = pending.filter(|number| view.live.contains(**number)).count() as u64;
                (total - pending, pending)
            }
            None => (total, 0),
        }
    }

    /// A picture of the rows in memory; `None` if the collection is not loaded.
    pub(crate) fn view(&self) -> Option<View> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(Memory::view)
    }

    /// How many rows there are; counted in the durable map where they are not in memory.
    pub(crate) async fn row_count(&self, partition: Option<i64>) -> Result<u64, EngineError> {
        if let Some(view) = self.view() {
            let count = match partition {
                Some(partition) => view.select(None, &[partition])?.len(),
                None => view.live.len(),
            };
            return Ok(count as u64);
        }
        let mut count = 0;
        self.kv
            .scan(&[crate::rows::ROW_PREFIX], |_, value| {
                let fits = match partition {
                    Some(partition) => StoredRow::decode(value)?.partition == partition,
                    None => true,
                };
                count += u64::from(fits);
                Ok(())
            })
            .await?;
        Ok(count)
    }

    /// Rows in memory, for metrics.
    pub(crate) fn rows_in_memory(&self) -> u64 {
        self.memory.read().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |memory| memory.len() as u64)
    }

    /// Moves the log into sorted files.
    pub(crate) async fn flush(&self) -> Result<(), EngineError> {
        self.kv.flush().await
    }

    /// Begins a checkpoint of the rows.
    pub(crate) async fn begin_checkpoint(&self) -> Result<Begun, EngineError> {
        self.kv.begin_checkpoint().await
    }

    /// Removes the rows of some keys.
    pub(crate) async fn delete_keys(&self, keys: Vec<Key>) -> Result<WriteResult, EngineError> {
        self.ask(|reply| Command::Delete { keys, reply }).await
    }

    /// Removes all rows of a partition, loaded or not.
    pub(crate) async fn clear_partition(&self, partition: i64) -> Result<(), EngineError> {
        let mut keys = Vec::new();
        let primary = self.primary_column()?;
        self.kv
            .scan(&[crate::rows::ROW_PREFIX], |_, value| {
                let row = StoredRow::decode(value)?;
                if row.partition == partition {
                    keys.extend(row.values.get(primary).and_then(Key::from_value));
                }
                Ok(())
            })
            .await?;
        self.delete_keys(keys).await.map(drop)
    }

    /// Ends the collection's tasks and lets go of all it has in memory.
    pub(crate) async fn close(&self) {
        self.darken();
        self.kv.close().await;
    }

    /// Lets go of everything decrypted without waiting for anything.
    pub(crate) fn darken(&self) {
        self.broken.store(true, Ordering::Release);
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
        *self.memory.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.indexes.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    fn primary_column(&self) -> Result<usize, EngineError> {
        self.fields.iter().position(|field| field.primary).ok_or(EngineError::Record("schema"))
    }

    fn primary(&self) -> &Field {
        // `Schema::validate` admits only schemas with a primary key.
        self.fields.iter().find(|field| field.primary).unwrap_or(&self.fields[0])
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, EngineError>>) -> Command,
    ) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| self.stopped())?;
        answer.await.map_err(|_| self.stopped())?
    }

    /// The writer ends with this. Before anybody is told: whoever asks next finds the collection broken.
    fn fail(&self, failure: EngineError) {
        self.broken.store(true, Ordering::Release);
        // What ended it first counts.
        self.failure.get_or_init(|| failure);
    }

    /// Why the writer is gone.
    fn stopped(&self) -> EngineError {
        let status = self.zone.status();
        if !status.is_usable() {
            return EngineError::Sealed(status);
        }
        self.failure.get().cloned().unwrap_or(EngineError::Closing)
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        self.darken();
    }
}

/// Where a collection's durable map is.
pub(crate) fn rows_root(zone: &ZoneStore, id: i64) -> Path {
    root(zone, id).join("rows")
}

/// Where a collection's objects are.
pub(crate) fn root(zone: &ZoneStore, id: i64) -> Path {
    zone.root().join("collections").join(format!("{id:016x}"))
}
