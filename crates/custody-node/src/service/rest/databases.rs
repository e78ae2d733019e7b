//! Databases.

use milvus::proto::milvus::{
    AlterDatabaseRequest, CreateDatabaseRequest, DescribeDatabaseRequest, DescribeDatabaseResponse,
    DropDatabaseRequest, ListDatabasesRequest, ListDatabasesResponse,
};
use serde_json::json;

use super::{Answer, Body, Result, answer::properties};

pub(super) fn create(body: &mut Body<'_>) -> Result<CreateDatabaseRequest> {
    let (db_name, properties) = (body.required("dbName")?, body.pairs("properties")?);
    Ok(CreateDatabaseRequest { db_name, properties, ..CreateDatabaseRequest::default() })
}

pub(super) fn drop(body: &mut Body<'_>) -> Result<DropDatabaseRequest> {
    Ok(DropDatabaseRequest { db_name: body.required("dbName")?, ..DropDatabaseRequest::default() })
}

pub(super) fn list(body: &mut Body<'_>) -> Result<ListDatabasesRequest> {
    // Every call may name a database; this one has no use for it.
    body.text("dbName")?;
    Ok(ListDatabasesRequest::default())
}

pub(super) fn listed(reply: ListDatabasesResponse) -> Answer {
    json!(reply.db_names).into()
}

pub(super) fn describe(body: &mut Body<'_>) -> Result<DescribeDatabaseRequest> {
    Ok(DescribeDatabaseRequest { db_name: body.required("dbName")?, ..DescribeDatabaseRequest::default() })
}

pub(super) fn described(reply: DescribeDatabaseResponse) -> Answer {
    json!({ "dbID": reply.db_id, "dbName": reply.db_name, "properties": properties(&reply.properties) }).into()
}

pub(super) fn alter(body: &mut Body<'_>) -> Result<AlterDatabaseRequest> {
    let (db_name, properties) = (body.required("dbName")?, body.pairs("properties")?);
    Ok(AlterDatabaseRequest { db_name, properties, ..AlterDatabaseRequest::default() })
}

pub(super) fn drop_properties(body: &mut Body<'_>) -> Result<AlterDatabaseRequest> {
    let (db_name, delete_keys) = (body.required("dbName")?, body.texts("propertyKeys")?);
    Ok(AlterDatabaseRequest { db_name, delete_keys, ..AlterDatabaseRequest::default() })
}
