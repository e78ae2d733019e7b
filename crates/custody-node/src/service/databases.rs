//! Databases: each is an encryption zone of its own.

use custody_engine::{CIPHER_KEY, DatabaseInfo, NewDatabase};
use milvus::proto::{
    common::{KeyValuePair, Status},
    milvus::{
        AlterDatabaseRequest, CreateDatabaseRequest, DescribeDatabaseRequest, DescribeDatabaseResponse,
        DropDatabaseRequest, ListDatabasesRequest, ListDatabasesResponse,
    },
};

use super::{Adapter, Call};
use crate::{
    convert::{params::pairs, schema::to_pairs},
    errors::Failure,
};

pub(super) async fn create(node: &Adapter, call: &Call, request: CreateDatabaseRequest) -> Result<Status, Failure> {
    let database = NewDatabase { name: request.db_name, properties: pairs(&request.properties) };
    // A key that is in use can't be deleted by its custodian: who may write rows has no say in that.
    if database.properties.contains_key(CIPHER_KEY) && !call.caller.uses_keys() {
        return Err(Failure::no_use_of_keys());
    }
    node.engine.create_database(database).await?;
    Ok(Status::default())
}

pub(super) async fn drop(node: &Adapter, _: &Call, request: DropDatabaseRequest) -> Result<Status, Failure> {
    node.engine.drop_database(&request.db_name).await?;
    Ok(Status::default())
}

pub(super) async fn list(node: &Adapter, _: &Call, _: ListDatabasesRequest) -> Result<ListDatabasesResponse, Failure> {
    let databases = node.engine.list_databases().await?;
    Ok(ListDatabasesResponse {
        created_timestamp: databases.iter().map(|database| database.created).collect(),
        db_ids: databases.iter().map(number).collect(),
        db_names: databases.into_iter().map(|database| database.name).collect(),
        ..ListDatabasesResponse::default()
    })
}

pub(super) async fn describe(
    node: &Adapter,
    call: &Call,
    request: DescribeDatabaseRequest,
) -> Result<DescribeDatabaseResponse, Failure> {
    let database = node.engine.describe_database(call.db(&request.db_name)).await?;
    let mut properties = to_pairs(&database.properties);
    let mut tell = |key: &str, value: String| {
        if !database.properties.contains_key(key) {
            properties.push(KeyValuePair { key: key.to_owned(), value });
        }
    };
    tell("cipher.enabled", database.encrypted.to_string());
    if let Some(key) = &database.key {
        tell(CIPHER_KEY, key.clone());
    }
    Ok(DescribeDatabaseResponse {
        db_id: number(&database),
        created_timestamp: database.created,
        db_name: database.name,
        properties,
        ..DescribeDatabaseResponse::default()
    })
}

pub(super) async fn alter(node: &Adapter, call: &Call, request: AlterDatabaseRequest) -> Result<Status, Failure> {
    let set = pairs(&request.properties);
    node.engine.alter_database(call.db(&request.db_name), set, request.delete_keys).await?;
    Ok(Status::default())
}

/// Milvus numbers databases; the opaque id's first 60 bits are as good a number as any.
fn number(database: &DatabaseInfo) -> i64 {
    database.id.get(..15).and_then(|digits| i64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}
