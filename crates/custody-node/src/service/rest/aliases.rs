//! Aliases.

use milvus::proto::milvus::{
    AlterAliasRequest, CreateAliasRequest, DescribeAliasRequest, DescribeAliasResponse, DropAliasRequest,
    ListAliasesRequest, ListAliasesResponse,
};
use serde_json::json;

use super::{Answer, Body, Result, collection, database_name};

pub(super) fn create(body: &mut Body<'_>) -> Result<CreateAliasRequest> {
    let (db_name, collection_name) = collection(body)?;
    let alias = body.required("aliasName")?;
    Ok(CreateAliasRequest { db_name, collection_name, alias, ..CreateAliasRequest::default() })
}

pub(super) fn alter(body: &mut Body<'_>) -> Result<AlterAliasRequest> {
    let (db_name, collection_name) = collection(body)?;
    let alias = body.required("aliasName")?;
    Ok(AlterAliasRequest { db_name, collection_name, alias, ..AlterAliasRequest::default() })
}

pub(super) fn drop(body: &mut Body<'_>) -> Result<DropAliasRequest> {
    let (db_name, alias) = (body.text("dbName")?, body.required("aliasName")?);
    Ok(DropAliasRequest { db_name, alias, ..DropAliasRequest::default() })
}

pub(super) fn describe(body: &mut Body<'_>) -> Result<DescribeAliasRequest> {
    let (db_name, alias) = (body.text("dbName")?, body.required("aliasName")?);
    Ok(DescribeAliasRequest { db_name, alias, ..DescribeAliasRequest::default() })
}

pub(super) fn described(reply: DescribeAliasResponse) -> Answer {
    json!({ "dbName": database_name(reply.db_name), "aliasName": reply.alias, "collectionName": reply.collection })
        .into()
}

pub(super) fn list(body: &mut Body<'_>) -> Result<ListAliasesRequest> {
    let (db_name, collection_name) = (body.text("dbName")?, body.text("collectionName")?);
    Ok(ListAliasesRequest { db_name, collection_name, ..ListAliasesRequest::default() })
}

pub(super) fn listed(reply: ListAliasesResponse) -> Answer {
    json!(reply.aliases).into()
}
