//! The task that brings graphs up to the rows in memory, and keeps their snapshots.

use std::sync::{Arc, PoisonError, Weak};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, path::Path};
use tokio::sync::Notify;

use super::{Collection, VectorIndex};
use crate::{
    DataType, EngineError,
    catalog::IndexRecord,
    graph::{Entry, Graph},
    memory::View,
};

/// Rows taken on between two looks at the collection: well under a second of work, for a step that runs holds on to its
/// vectors even if the zone is sealed meanwhile.
const STEP_ROWS: usize = 1_024;
/// A snapshot is worth writing once a graph has grown by this share (one part in ...) since the last one.
const SNAPSHOT_GROWTH: usize = 4;
/// Below this many rows a graph is built faster than a snapshot is read.
const SNAPSHOT_ROWS: usize = 5_000;

/// Serves until the collection is dropped. While it waits it holds only what tells it of rows, not the collection.
pub(super) async fn run(collection: Weak<Collection>, grown: Arc<Notify>) {
    loop {
        let Some(strong) = collection.upgrade() else { return };
        if let Err(error) = strong.index_rest().await {
            tracing::error!(collection = strong.id, %error, "indexing failed: new rows are searched exactly until the next write");
        }
        drop(strong);
        grown.notified().await;
    }
}

impl Collection {
    async fn index_rest(&self) -> Result<(), EngineError> {
        while let Some((index, graph, view)) = self.behind() {
            let work = Arc::clone(&graph);
            let column = index.column;
            let DataType::FloatVector { dim } = self.fields[column].data_type else { return Ok(()) };
            tokio::task::spawn_blocking(move || step(&work, &view, column, dim as usize))
                .await
                .map_err(|_| EngineError::Storage("building an index failed".into()))??;
            if self.behind().is_none() {
                self.keep_snapshots().await?;
            }
        }
        Ok(())
    }

    /// An index whose graph lacks rows that are in memory.
    fn behind(&self) -> Option<(VectorIndex, Arc<Graph>, View)> {
        let view = self.view()?;
        let newest = *view.segments.last()?.numbers.last()?;
        let indexes = self.indexes.read().unwrap_or_else(PoisonError::into_inner);
        indexes.values().find_map(|index| {
            let graph = index.graph.as_ref().filter(|graph| graph.covered() <= newest)?;
            Some((index.clone(), Arc::clone(graph), view.clone()))
        })
    }

    /// Takes the newest snapshots in; an index without one is built from the rows. A snapshot is written after the rows
    /// that it covers: one that covers more than there are proves that objects of the log are gone.
    pub(super) async fn restore_graphs(&self, next_row: u64) -> Result<(), EngineError> {
        for (index, graph) in self.graphs() {
            let Some(newest) = self.snapshots(&index).await?.pop() else { continue };
            let objects = self.zone.objects();
            let bytes = objects.get(&newest).await.map_err(store_error)?.bytes().await.map_err(store_error)?;
            let restored = Arc::clone(&graph);
            let restored = tokio::task::spawn_blocking(move || restored.restore(&bytes)).await;
            restored.map_err(|_| EngineError::Storage("reading an index failed".into()))??;
            if graph.covered() > next_row {
                self.drop_graphs();
                return Err(EngineError::RowsRolledBack(self.id));
            }
        }
        Ok(())
    }

    /// Empties the graphs; the indexes stay.
    pub(super) fn drop_graphs(&self) {
        let mut indexes = self.indexes.write().unwrap_or_else(PoisonError::into_inner);
        for index in indexes.values_mut() {
            let DataType::FloatVector { dim } = self.fields[index.column].data_type else { continue };
            if index.graph.is_some() {
                index.graph = Graph::new(index.record.spec.kind, index.metric, dim).ok().map(Arc::new);
            }
        }
    }

    async fn keep_snapshots(&self) -> Result<(), EngineError> {
        for (index, graph) in self.graphs() {
            let rows = graph.len();
            let old = self.snapshots(&index).await?;
            let last =
                old.last().and_then(|path| path.filename()?.split('-').nth(1)?.parse::<usize>().ok()).unwrap_or(0);
            if rows < SNAPSHOT_ROWS || rows - last.min(rows) < rows.div_ceil(SNAPSHOT_GROWTH) {
                continue;
            }
            let covered = graph.covered();
            let bytes = tokio::task::spawn_blocking(move || graph.snapshot()).await;
            let bytes = bytes.map_err(|_| EngineError::Storage("writing an index failed".into()))??;
            let path = self.snapshot_root(&index).join(format!("{covered:020}-{rows}"));
            let objects = self.zone.objects();
            objects.put(&path, PutPayload::from(Bytes::from(bytes))).await.map_err(store_error)?;
            for path in old {
                objects.delete(&path).await.map_err(store_error)?;
            }
        }
        Ok(())
    }

    /// Removes the snapshots of indexes that are no more.
    pub(crate) async fn clear_snapshots(&self, kept: &[IndexRecord]) -> Result<(), EngineError> {
        let kept: Vec<String> = kept.iter().map(|index| format!("{:016x}", index.id)).collect();
        let root = self.root.clone().join("indexes");
        let objects = self.zone.objects();
        let listed: Vec<_> = objects.list(Some(&root)).try_collect().await.map_err(store_error)?;
        for object in listed {
            let index =
                object.location.prefix_match(&root).and_then(|mut parts| parts.next()?.as_ref().to_owned().into());
            if index.is_some_and(|index: String| !kept.contains(&index)) {
                objects.delete(&object.location).await.map_err(store_error)?;
            }
        }
        Ok(())
    }

    fn graphs(&self) -> Vec<(VectorIndex, Arc<Graph>)> {
        let indexes = self.indexes.read().unwrap_or_else(PoisonError::into_inner);
        indexes.values().filter_map(|index| Some((index.clone(), Arc::clone(index.graph.as_ref()?)))).collect()
    }

    fn snapshot_root(&self, index: &VectorIndex) -> Path {
        self.root.clone().join("indexes").join(format!("{:016x}", index.record.id))
    }

    /// The newest snapshot of each graph. None of them covers a row that comes after this call.
    pub(crate) async fn newest_snapshots(&self) -> Result<Vec<Path>, EngineError> {
        let mut newest = Vec::new();
        for (index, _) in self.graphs() {
            newest.extend(self.snapshots(&index).await?.pop());
        }
        Ok(newest)
    }

    /// Snapshots of an index, oldest first.
    async fn snapshots(&self, index: &VectorIndex) -> Result<Vec<Path>, EngineError> {
        let root = self.snapshot_root(index);
        let objects: Vec<_> = self.zone.objects().list(Some(&root)).try_collect().await.map_err(store_error)?;
        let mut paths: Vec<Path> = objects.into_iter().map(|object| object.location).collect();
        paths.sort();
        Ok(paths)
    }
}

/// Adds the oldest rows that a graph lacks.
fn step(graph: &Graph, view: &View, column: usize, dim: usize) -> Result<(), EngineError> {
    let covered = graph.covered();
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut up_to = covered;
    'all: for segment in &view.segments {
        let start = segment.numbers.partition_point(|number| *number < covered);
        let vectors = segment.vectors(column);
        for (row, number) in segment.numbers.iter().enumerate().skip(start) {
            if entries.len() == STEP_ROWS {
                break 'all;
            }
            if view.live.contains(*number) {
                entries.push((*number, &vectors[row * dim..(row + 1) * dim]));
            }
            up_to = number + 1;
        }
    }
    graph.extend(&entries, up_to)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn store_error(error: object_store::Error) -> EngineError {
    EngineError::Storage(error.to_string())
}
