//! What callers ask of a collection, and what they get. Columns are Arrow arrays: see [`crate::DataType::arrow`].

use arrow_array::{ArrayRef, Int64Array, StringArray};
use serde_json::{Map, Value as Json};

use crate::{Field, Metric};

/// Named columns of equal length.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// How many rows there are.
    pub len: usize,
    /// Each column with its field.
    pub columns: Vec<(Field, ArrayRef)>,
}

/// Rows to insert or upsert.
#[derive(Clone, Debug, Default)]
pub struct WriteRequest {
    /// The partition to write to; `None` is the default one.
    pub partition: Option<String>,
    /// How many rows there are.
    pub len: usize,
    /// Columns by field name; the dynamic fields, one JSON object a row, under [`crate::DYNAMIC_FIELD`].
    pub columns: Vec<(String, ArrayRef)>,
    /// Upsert only: fields not given keep the stored row's values.
    pub partial: bool,
}

/// Primary keys, all of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum PrimaryKeys {
    /// Of an Int64 key.
    Int(Vec<i64>),
    /// Of a VarChar key.
    Text(Vec<String>),
}

impl PrimaryKeys {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Int(keys) => keys.len(),
            Self::Text(keys) => keys.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As an Arrow column.
    pub fn to_array(&self) -> ArrayRef {
        match self {
            Self::Int(keys) => std::sync::Arc::new(Int64Array::from(keys.clone())),
            Self::Text(keys) => std::sync::Arc::new(StringArray::from_iter_values(keys)),
        }
    }
}

/// Which rows to delete.
#[derive(Clone, Debug, Default)]
pub struct DeleteRequest {
    /// The partition to delete from; `None` is all of them.
    pub partition: Option<String>,
    /// The filter that the rows match.
    pub filter: String,
    /// Values for `{name}` in the filter.
    pub params: Map<String, Json>,
}

/// What a write did.
#[derive(Clone, Debug)]
pub struct WriteResult {
    /// The keys of the rows written or deleted, in order.
    pub keys: PrimaryKeys,
    /// How many rows were written or deleted.
    pub count: usize,
    /// When, as a hybrid timestamp: milliseconds << 18.
    pub timestamp: u64,
}

/// Which rows to read.
#[derive(Clone, Debug, Default)]
pub struct QueryRequest {
    /// The filter that the rows match; empty is all rows.
    pub filter: String,
    /// Values for `{name}` in the filter.
    pub params: Map<String, Json>,
    /// Partitions to look in; empty is all of them.
    pub partitions: Vec<String>,
    /// Fields to return; `*` is all. The primary key is always there. `count(*)` alone counts.
    pub output_fields: Vec<String>,
    /// The most rows to return.
    pub limit: Option<usize>,
    /// Rows to skip first, in key order.
    pub offset: usize,
}

/// What a query found.
#[derive(Clone, Debug)]
pub enum QueryResult {
    /// Rows in order of their primary key.
    Rows(Rows),
    /// The answer to `count(*)`.
    Count(u64),
}

/// Which neighbours to find.
#[derive(Clone, Debug, Default)]
pub struct SearchRequest {
    /// The vector field; `None` if the collection has just one.
    pub field: Option<String>,
    /// The query vectors.
    pub vectors: Vec<Vec<f32>>,
    /// The most neighbours of each query.
    pub limit: usize,
    /// Nearest neighbours to skip first.
    pub offset: usize,
    /// The filter that neighbours match; empty is all rows.
    pub filter: String,
    /// Values for `{name}` in the filter.
    pub params: Map<String, Json>,
    /// Partitions to look in; empty is all of them.
    pub partitions: Vec<String>,
    /// Fields to return with each neighbour; `*` is all.
    pub output_fields: Vec<String>,
    /// The metric the client expects; refused if the index has another.
    pub metric: Option<Metric>,
    /// Candidates weighed in a graph (`ef`).
    pub ef: Option<usize>,
    /// Range search, the outer bound: a score must be nearer than this.
    pub radius: Option<f32>,
    /// Range search, the inner bound: a score must not be nearer than this.
    pub range_filter: Option<f32>,
    /// Search every vector even where a graph exists.
    pub exact: bool,
}

/// The neighbours of all queries, one query after another, nearest first.
#[derive(Clone, Debug)]
pub struct SearchResult {
    /// How many neighbours each query has.
    pub counts: Vec<usize>,
    /// Their primary keys.
    pub keys: PrimaryKeys,
    /// Their scores under the index's metric.
    pub scores: Vec<f32>,
    /// The requested fields of each.
    pub rows: Rows,
}
