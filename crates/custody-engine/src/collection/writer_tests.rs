use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};
use custody_store::PlainZones;
use object_store::memory::InMemory;

use super::*;
use crate::{
    DataType, Engine, Field, NewCollection, QueryRequest, QueryResult, Schema, WriteRequest, value::vectors_from,
};

fn schema() -> Schema {
    let fields = vec![Field::primary("id", DataType::Int64), Field::new("v", DataType::FloatVector { dim: 2 })];
    Schema { description: String::new(), fields, dynamic: false, properties: std::collections::BTreeMap::new() }
}

fn rows(keys: Vec<i64>) -> WriteRequest {
    let len = keys.len();
    let vectors: ArrayRef = Arc::new(vectors_from(vec![1.0; len * 2], 2));
    let columns = vec![("id".into(), Arc::new(Int64Array::from(keys)) as ArrayRef), ("v".into(), vectors)];
    WriteRequest { len, columns, ..WriteRequest::default() }
}

async fn count(engine: &Engine) -> u64 {
    let request = QueryRequest { output_fields: vec!["count(*)".into()], ..QueryRequest::default() };
    match engine.query("", "c", request).await.unwrap() {
        QueryResult::Count(count) => count,
        QueryResult::Rows(_) => panic!("rows"),
    }
}

/// A writer that panicked may have left memory half changed, and there is no writer any more: the collection must come
/// back by itself, with what was acknowledged and nothing else.
#[tokio::test]
async fn a_collection_whose_writer_panicked_comes_back_from_what_is_durable() {
    let zones = Arc::new(PlainZones::new(Arc::new(InMemory::new())));
    let engine = Engine::create(zones).await.unwrap();
    let new = NewCollection { name: "c".into(), schema: schema(), shards: 1, consistency: 0 };
    engine.create_collection("", new).await.unwrap();
    engine.load_collection("", "c").await.unwrap();
    engine.insert("", "c", rows(vec![1, 2, 3])).await.unwrap();
    let open = engine.database("").unwrap().open().await.unwrap();
    let collection = open.collection(&open.find("c").unwrap()).await.unwrap();

    let answer = collection.ask(|reply| Command::Panic { reply }).await;

    assert!(matches!(answer, Err(EngineError::Fault)), "{answer:?}");
    assert!(collection.is_broken());
    assert_eq!(count(&engine).await, 3);
    engine.insert("", "c", rows(vec![3, 4])).await.unwrap();
    assert_eq!(count(&engine).await, 4);
}

/// Each opening writes a little: a client that tries again and again on a full disk must not keep it full by that.
#[tokio::test]
async fn a_collection_that_breaks_again_and_again_is_opened_four_times_a_second_at_most() {
    let zones = Arc::new(PlainZones::new(Arc::new(InMemory::new())));
    let engine = Engine::create(zones).await.unwrap();
    let new = NewCollection { name: "c".into(), schema: schema(), shards: 1, consistency: 0 };
    let begun = std::time::Instant::now();
    engine.create_collection("", new).await.unwrap();
    engine.load_collection("", "c").await.unwrap();
    let open = engine.database("").unwrap().open().await.unwrap();
    let record = open.find("c").unwrap();
    for _ in 0..4 {
        let collection = open.collection(&record).await.unwrap();
        let answer = collection.ask(|reply| Command::Panic { reply }).await;
        assert!(matches!(answer, Err(EngineError::Fault)) && collection.is_broken());
    }
    assert_eq!(count(&engine).await, 0);
    assert!(begun.elapsed() >= 4 * super::super::BETWEEN_OPENINGS, "{:?}", begun.elapsed());
}

/// Whoever was in the queue behind a write that failed is told why, not that the node ends.
#[tokio::test]
async fn what_comes_after_a_failed_write_is_refused_with_its_failure() {
    let zones = Arc::new(PlainZones::new(Arc::new(InMemory::new())));
    let engine = Engine::create(zones).await.unwrap();
    let new = NewCollection { name: "c".into(), schema: schema(), shards: 1, consistency: 0 };
    engine.create_collection("", new).await.unwrap();
    let open = engine.database("").unwrap().open().await.unwrap();
    let collection = open.collection(&open.find("c").unwrap()).await.unwrap();
    let (reply, answer) = oneshot::channel();
    let pending = Pending { change: Change::Keys(Vec::new()), reply };
    let full = EngineError::Storage("no space left".into());
    assert!(collection.refuse(vec![pending], full).is_err());
    let said = answer.await.unwrap().unwrap_err().to_string();
    assert!(said.contains("no space left") && collection.is_broken(), "before anybody is told: {said}");
    // Its writer is gone now, as after every failed write.
    collection.darken();
    let said = collection.ask(|reply| Command::Release { reply }).await.unwrap_err().to_string();
    assert!(said.contains("no space left"), "{said}");
}
