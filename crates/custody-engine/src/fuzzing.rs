//! Doors to the decoders of stored bytes, for the fuzz targets alone.
//!
//! A row's key is never decoded: rows are found by its first byte, and what they are stands in their value. The graph in
//! an index snapshot goes to its library only after a sealed object has proven that this engine wrote it, so that the
//! door to it is the head in front of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    DataType, EngineError, Field, IndexKind, IndexSpec, Metric, PartitionInfo, Schema, Value,
    catalog::{ClusterRecord, CollectionRecord, DatabaseEntry, DatabaseRecord, IndexRecord, Stage, UserRecord},
    memory::Segment,
    rows::{self, StoredRow},
};

/// How many kinds of records there are.
pub const RECORDS: u8 = 6;

/// Decodes a catalog record of a kind and encodes it again.
pub fn record(kind: u8, bytes: &[u8]) -> Result<Vec<u8>, EngineError> {
    fn again<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<Vec<u8>, EngineError> {
        rows::encode(&rows::decode_record::<T>(bytes, "record")?, "record")
    }
    match kind % RECORDS {
        0 => again::<DatabaseEntry>(bytes),
        1 => again::<ClusterRecord>(bytes),
        2 => again::<UserRecord>(bytes),
        3 => again::<DatabaseRecord>(bytes),
        4 => again::<CollectionRecord>(bytes),
        _ => again::<u64>(bytes),
    }
}

/// Decodes a stored row, takes it into memory as a loaded collection does, and encodes it again.
pub fn row(bytes: &[u8]) -> Result<Vec<u8>, EngineError> {
    let row = StoredRow::decode(bytes)?;
    let segment = Segment::from_stored(std::slice::from_ref(&row), &schema().columns());
    assert_eq!(segment.numbers, [row.number]);
    let mut encoded = rows::encode_values(&row.values)?;
    rows::complete(&mut encoded, row.number, row.partition);
    Ok(encoded)
}

/// Decodes what stands before the graph in an index snapshot: the rows it covers, and how long the graph is.
pub fn snapshot_head(bytes: &[u8]) -> Result<(u64, usize), EngineError> {
    rows::decode_head(bytes, "index snapshot").map(|(covered, graph)| (covered, graph.len()))
}

/// A schema with a field of every type.
pub fn schema() -> Schema {
    let field = |name: &str, data_type| Field { nullable: true, ..Field::new(name, data_type) };
    let text = || DataType::VarChar { max_length: 64 };
    let array = |element| DataType::Array { element: Box::new(element), capacity: 8 };
    Schema {
        description: "every type".into(),
        fields: vec![
            Field::primary("id", DataType::Int64),
            field("flag", DataType::Bool),
            field("tiny", DataType::Int8),
            field("small", DataType::Int16),
            Field { default: Some(Value::Int(7)), ..field("middle", DataType::Int32) },
            field("price", DataType::Float),
            field("exact", DataType::Double),
            field("name", text()),
            field("doc", DataType::Json),
            field("numbers", array(DataType::Int64)),
            field("tags", array(text())),
            Field::new("vector", DataType::FloatVector { dim: 2 }),
        ],
        dynamic: true,
        properties: BTreeMap::from([("key".to_owned(), "value".to_owned())]),
    }
}

/// A record of every kind, with the kind's number.
pub fn records() -> Result<Vec<(u8, Vec<u8>)>, EngineError> {
    let index = IndexSpec {
        name: "by_vector".into(),
        field: "vector".into(),
        kind: IndexKind::Hnsw { m: 16, ef_construction: 200 },
        metric: Some(Metric::Cosine),
        params: BTreeMap::from([("M".to_owned(), "16".to_owned())]),
    };
    let collection = CollectionRecord {
        id: 7,
        name: "things".into(),
        schema: schema(),
        aliases: BTreeSet::from(["stuff".to_owned()]),
        created: 1,
        shards: 1,
        consistency: 2,
        loaded: true,
        indexes: vec![IndexRecord { id: 9, spec: index }],
        partitions: vec![PartitionInfo { id: 8, name: "_default".into(), created: 1 }],
    };
    let database = DatabaseRecord { name: "tenant".into(), created: 3, properties: BTreeMap::new(), next_id: 12 };
    let entry = DatabaseEntry { zone: [3; 16], key: Some("arn".into()), tag: [4; 32], stage: Stage::Ready };
    Ok(vec![
        (0, rows::encode(&entry, "record")?),
        (1, rows::encode(&ClusterRecord { tag_key: [5; 32] }, "record")?),
        (2, rows::encode(&UserRecord { hash: "$argon2id$v=19$".into() }, "record")?),
        (3, rows::encode(&database, "record")?),
        (4, rows::encode(&collection, "record")?),
        (5, rows::encode(&300_u64, "record")?),
    ])
}

/// A row of [`schema`], stored.
pub fn stored_row() -> Result<Vec<u8>, EngineError> {
    let values = [
        Value::Int(-7),
        Value::Bool(true),
        Value::Int(1),
        Value::Int(300),
        Value::Null,
        Value::Float(0.5),
        Value::Double(-0.25),
        Value::Text("ada".into()),
        Value::Json("{\"a\": [1]}".into()),
        Value::Array(vec![Value::Int(1), Value::Int(2)]),
        Value::Array(vec![Value::Text("x".into())]),
        Value::Vector(vec![0.5, -1.0]),
        Value::Json("{}".into()),
    ];
    let mut encoded = rows::encode_values(&values)?;
    rows::complete(&mut encoded, 9, 2);
    Ok(encoded)
}
