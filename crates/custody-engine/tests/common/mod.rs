//! A small cluster in memory, and rows for it.
#![allow(dead_code, clippy::unwrap_used, reason = "tests; each file uses its own part")]

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int64Array, StringArray, cast::AsArray, types::Int64Type,
};
use custody_engine::{
    DataType, DeleteRequest, Engine, Field, IndexKind, IndexSpec, Metric, NewCollection, QueryRequest, QueryResult,
    Rows, Schema, SearchRequest, WriteRequest,
};
use custody_store::PlainZones;
use object_store::{ObjectStore, memory::InMemory};

/// The name of the test collection.
pub(crate) const NAME: &str = "points";

/// A store that outlives engines, for restarts.
pub(crate) fn store() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

pub(crate) async fn create(store: &Arc<dyn ObjectStore>) -> Arc<Engine> {
    Engine::create(Arc::new(PlainZones::new(Arc::clone(store)))).await.unwrap()
}

pub(crate) async fn reopen(store: &Arc<dyn ObjectStore>) -> Arc<Engine> {
    Engine::open(Arc::new(PlainZones::new(Arc::clone(store)))).await.unwrap()
}

/// An Int64 key, a text, and a vector of two dimensions.
pub(crate) fn schema() -> Schema {
    Schema {
        description: String::new(),
        fields: vec![
            Field::primary("id", DataType::Int64),
            Field::new("text", DataType::VarChar { max_length: 20 }),
            Field::new("vector", DataType::FloatVector { dim: 2 }),
        ],
        dynamic: false,
        properties: BTreeMap::new(),
    }
}

pub(crate) async fn make(engine: &Engine, schema: Schema) {
    let new = NewCollection { name: NAME.into(), schema, shards: 1, consistency: 0 };
    engine.create_collection("", new).await.unwrap();
}

pub(crate) fn index(kind: IndexKind) -> IndexSpec {
    IndexSpec { name: String::new(), field: "vector".into(), kind, metric: Some(Metric::L2), params: BTreeMap::new() }
}

/// A loaded collection with a graph index.
pub(crate) async fn loaded(engine: &Engine) {
    make(engine, schema()).await;
    engine.create_index("", NAME, index(IndexKind::Auto)).await.unwrap();
    engine.load_collection("", NAME).await.unwrap();
}

pub(crate) fn vectors(points: &[[f32; 2]]) -> ArrayRef {
    let floats: Float32Array = points.iter().flatten().copied().collect();
    let item = Arc::new(arrow_schema::Field::new("item", arrow_schema::DataType::Float32, false));
    Arc::new(FixedSizeListArray::new(item, 2, Arc::new(floats), None))
}

/// Rows whose text and vector follow from the key.
#[expect(clippy::cast_precision_loss, reason = "keys are small")]
pub(crate) fn rows(keys: impl IntoIterator<Item = i64>) -> WriteRequest {
    let keys: Vec<i64> = keys.into_iter().collect();
    let points: Vec<[f32; 2]> = keys.iter().map(|key| [*key as f32, 0.0]).collect();
    WriteRequest {
        len: keys.len(),
        columns: vec![
            ("text".into(), Arc::new(StringArray::from_iter_values(keys.iter().map(|key| format!("row {key}"))))),
            ("vector".into(), vectors(&points)),
            ("id".into(), Arc::new(Int64Array::from(keys))),
        ],
        ..WriteRequest::default()
    }
}

pub(crate) fn delete(filter: &str) -> DeleteRequest {
    DeleteRequest { filter: filter.into(), ..DeleteRequest::default() }
}

pub(crate) fn everything() -> QueryRequest {
    QueryRequest { output_fields: vec!["*".into()], ..QueryRequest::default() }
}

pub(crate) fn near(point: [f32; 2], limit: usize) -> SearchRequest {
    SearchRequest { vectors: vec![point.to_vec()], limit, ..SearchRequest::default() }
}

/// The keys of all rows, in order.
pub(crate) async fn keys(engine: &Engine) -> Vec<i64> {
    match engine.query("", NAME, everything()).await.unwrap() {
        QueryResult::Rows(rows) => ints(&rows, "id"),
        QueryResult::Count(_) => panic!("rows expected"),
    }
}

pub(crate) fn ints(rows: &Rows, name: &str) -> Vec<i64> {
    column(rows, name).as_primitive::<Int64Type>().values().to_vec()
}

pub(crate) fn texts(rows: &Rows, name: &str) -> Vec<String> {
    column(rows, name).as_string::<i32>().iter().map(|text| text.unwrap_or("null").to_owned()).collect()
}

pub(crate) fn column(rows: &Rows, name: &str) -> ArrayRef {
    Arc::clone(&rows.columns.iter().find(|(field, _)| field.name == name).unwrap().1)
}

/// Waits until a graph has all rows.
pub(crate) async fn indexed(engine: &Engine) {
    loop {
        let indexes = engine.describe_indexes("", NAME).await.unwrap();
        if indexes.iter().all(|(_, progress)| progress.pending_rows == 0) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
