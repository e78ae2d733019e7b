//! Custody's engine: databases, collections, indexes and search over a sealed store. It knows nothing of KMS: it sees
//! zones, each of which is open or sealed, and goes dark with them.
//!
//! - Durable: one SlateDB per collection, one per database for its catalog, one for the cluster's.
//! - In memory: a loaded collection's rows as Arrow columns, a map of its primary keys, and a graph per vector field.
//! - Acknowledged means durable and visible to the next read.

mod anchor;
mod catalog;
mod checkpoint;
mod clock;
mod cluster;
mod collection;
mod database;
mod distance;
mod elements;
mod engine;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod graph;
mod info;
mod json;
mod kv;
mod marks;
mod memory;
mod request;
mod restore;
mod rows;
mod rowset;
mod schema;
mod service;
mod value;

pub use anchor::{Anchor, Below, BelowAnchor, MapAnchor, MapName, ZoneAnchor};
pub use catalog::{DEFAULT_DATABASE, DEFAULT_PARTITION};
pub use checkpoint::{
    Checkpoint, CheckpointRequest, CollectionCheckpoint, CollectionImage, DatabaseCheckpoint, DatabaseImage, User,
};
pub use database::Import;
pub use engine::{CIPHER_KEY, Engine};
pub use error::EngineError;
pub use info::{
    CollectionInfo, DatabaseInfo, EngineStats, IndexProgress, NewCollection, NewDatabase, PartitionInfo, ZoneHealth,
};
pub use request::{
    DeleteRequest, PrimaryKeys, QueryRequest, QueryResult, Rows, SearchRequest, SearchResult, WriteRequest, WriteResult,
};
pub use schema::{
    DYNAMIC_FIELD, DataType, Field, IndexKind, IndexSpec, MAX_CAPACITY, MAX_DIMENSION, MAX_VARCHAR, Metric, Schema,
};
pub use value::Value;
