//! A graph index (HNSW) of one vector field, over row numbers.

use std::sync::{
    RwLock,
    atomic::{AtomicU64, Ordering},
};

use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use crate::{EngineError, IndexKind, Metric, rows};

/// What AUTOINDEX builds with; by measurement, see the vector-index ADR.
const AUTO_M: u32 = 16;
const AUTO_EF_CONSTRUCTION: u32 = 200;
/// Candidates weighed by a search that doesn't say.
const DEFAULT_EF: usize = 128;
/// Searches that may run at once for each processor. The library keeps a slot for each, which [`Graph`] reserves.
pub(crate) const SEARCHES_PER_CORE: usize = 2;
/// Rows added under one lock, so that searches get in between.
const BATCH: usize = 32;

/// The graph of a field. Rows numbered below [`Graph::covered`] are in it; younger ones are searched exactly.
pub(crate) struct Graph {
    index: RwLock<Index>,
    covered: AtomicU64,
    dim: usize,
    /// Threads that may be in the library at once.
    slots: usize,
}

/// A row to add: its number and its vector.
pub(crate) type Entry<'a> = (u64, &'a [f32]);

impl Graph {
    /// An empty graph.
    pub(crate) fn new(kind: IndexKind, metric: Metric, dim: u32) -> Result<Self, EngineError> {
        let (connectivity, expansion_add) = match kind {
            IndexKind::Hnsw { m, ef_construction } => (m, ef_construction),
            _ => (AUTO_M, AUTO_EF_CONSTRUCTION),
        };
        let options = IndexOptions {
            dimensions: dim as usize,
            metric: match metric {
                Metric::L2 => MetricKind::L2sq,
                Metric::Ip => MetricKind::IP,
                Metric::Cosine => MetricKind::Cos,
            },
            quantization: ScalarKind::F32,
            connectivity: connectivity as usize,
            expansion_add: expansion_add as usize,
            expansion_search: DEFAULT_EF,
            multi: false,
        };
        let index = Index::new(&options).map_err(|error| graph_error(&error))?;
        let slots = std::thread::available_parallelism().map_or(1, usize::from) * SEARCHES_PER_CORE + 1;
        Ok(Self { index: RwLock::new(index), covered: AtomicU64::new(0), dim: dim as usize, slots })
    }

    /// All rows numbered below this are in the graph.
    pub(crate) fn covered(&self) -> u64 {
        self.covered.load(Ordering::Acquire)
    }

    /// How many rows the graph holds, dead ones included.
    pub(crate) fn len(&self) -> usize {
        read(&self.index).size()
    }

    /// Adds rows, and then covers all below `up_to`. Meant for a thread that may block.
    pub(crate) fn extend(&self, entries: &[Entry<'_>], up_to: u64) -> Result<(), EngineError> {
        for batch in entries.chunks(BATCH) {
            let index = self.index.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            let needed = index.size() + batch.len();
            if needed > index.capacity() {
                let capacity = needed.max(index.capacity() * 2).max(1_024);
                index.reserve_capacity_and_threads(capacity, self.slots).map_err(|error| graph_error(&error))?;
            }
            add(&index, batch)?;
            drop(index);
            // Whoever waits for the lock gets it before the next batch takes it again.
            std::thread::yield_now();
        }
        self.covered.fetch_max(up_to, Ordering::AcqRel);
        Ok(())
    }

    /// The numbers of the nearest rows among the allowed ones, nearest first.
    pub(crate) fn search(
        &self,
        query: &[f32],
        limit: usize,
        ef: Option<usize>,
        allowed: impl Fn(u64) -> bool,
    ) -> Result<Vec<u64>, EngineError> {
        debug_assert_eq!(query.len(), self.dim, "the request's check compares the dimensions");
        let ef = ef.unwrap_or(DEFAULT_EF).max(limit);
        let found = {
            let index = read(&self.index);
            if index.size() == 0 {
                return Ok(Vec::new());
            }
            if index.expansion_search() == ef {
                index.filtered_search(query, limit, allowed)
            } else {
                drop(index);
                // The width of a search is a setting of the whole index: change it alone.
                let index = self.index.write().unwrap_or_else(std::sync::PoisonError::into_inner);
                index.change_expansion_search(ef);
                index.filtered_search(query, limit, allowed)
            }
        };
        Ok(found.map_err(|error| graph_error(&error))?.keys)
    }

    /// The graph as bytes: a version, what it covers, and the library's own form.
    pub(crate) fn snapshot(&self) -> Result<Vec<u8>, EngineError> {
        let index = read(&self.index);
        let mut bytes = rows::encode(&self.covered(), "index snapshot")?;
        let head = bytes.len();
        bytes.resize(head + index.serialized_length(), 0);
        index.save_to_buffer(&mut bytes[head..]).map_err(|error| graph_error(&error))?;
        Ok(bytes)
    }

    /// Takes a snapshot in, in place of what the graph holds. The bytes must come from a sealed object, which proves
    /// that this engine wrote them.
    pub(crate) fn restore(&self, bytes: &[u8]) -> Result<(), EngineError> {
        let (covered, graph): (u64, &[u8]) = rows::decode_head(bytes, "index snapshot")?;
        let index = self.index.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        index.load_from_buffer(graph).map_err(|error| graph_error(&error))?;
        if index.dimensions() != self.dim {
            return Err(EngineError::Record("index snapshot"));
        }
        index.reserve_capacity_and_threads(index.size().max(1_024), self.slots).map_err(|error| graph_error(&error))?;
        index.change_expansion_search(DEFAULT_EF);
        self.covered.store(covered, Ordering::Release);
        Ok(())
    }
}

/// A panic in a reader or writer of the index ends its request, not the index.
fn read(index: &RwLock<Index>) -> std::sync::RwLockReadGuard<'_, Index> {
    index.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Adds rows from one thread: rows that several threads add at once can end up without links, and are then never found
/// (the vector-index ADR has the count).
fn add(index: &Index, batch: &[Entry<'_>]) -> Result<(), EngineError> {
    // A row is there already when an earlier attempt failed half way.
    let mut missing = batch.iter().filter(|(number, _)| !index.contains(*number));
    missing.try_for_each(|(number, vector)| index.add(*number, vector).map_err(|error| graph_error(&error)))
}

fn graph_error(error: &impl std::fmt::Display) -> EngineError {
    EngineError::Storage(format!("the graph index failed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Vec<[f32; 2]> {
        (0..900_u16).map(|place| [f32::from(place % 30), f32::from(place / 30)]).collect()
    }

    fn graph_of(points: &[[f32; 2]]) -> Graph {
        let graph = Graph::new(IndexKind::Auto, Metric::L2, 2).unwrap();
        let entries: Vec<Entry<'_>> = points.iter().zip(0..).map(|(point, number)| (number, &point[..])).collect();
        graph.extend(&entries, points.len() as u64).unwrap();
        graph
    }

    #[test]
    fn finds_the_nearest_among_the_allowed() {
        let graph = graph_of(&grid());
        assert_eq!(graph.search(&[3.1, 2.0], 1, None, |_| true).unwrap(), [63]);
        assert_eq!(graph.search(&[3.1, 2.0], 1, Some(500), |number| number != 63).unwrap(), [64]);
        assert_eq!((graph.covered(), graph.len()), (900, 900));
    }

    #[test]
    fn a_snapshot_answers_as_the_graph_did_and_can_grow() {
        let snapshot = graph_of(&grid()).snapshot().unwrap();
        let graph = Graph::new(IndexKind::Auto, Metric::L2, 2).unwrap();
        graph.restore(&snapshot).unwrap();
        assert_eq!(graph.covered(), 900);
        graph.extend(&[(900, &[50.0, 50.0])], 901).unwrap();
        assert_eq!(graph.search(&[3.1, 2.0], 1, None, |_| true).unwrap(), [63]);
        assert_eq!(graph.search(&[49.0, 49.0], 1, None, |_| true).unwrap(), [900]);
    }

    #[test]
    fn a_snapshot_of_other_vectors_or_cut_short_is_refused() {
        let snapshot = graph_of(&grid()).snapshot().unwrap();
        assert!(Graph::new(IndexKind::Auto, Metric::L2, 3).unwrap().restore(&snapshot).is_err());
        assert!(Graph::new(IndexKind::Auto, Metric::L2, 2).unwrap().restore(&snapshot[..2]).is_err());
    }
}
