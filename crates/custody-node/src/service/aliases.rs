//! Aliases: other names of collections.

use custody_engine::EngineError;
use milvus::proto::{
    common::Status,
    milvus::{
        AlterAliasRequest, CreateAliasRequest, DescribeAliasRequest, DescribeAliasResponse, DropAliasRequest,
        ListAliasesRequest, ListAliasesResponse,
    },
};

use super::{Adapter, Call};
use crate::errors::{Failure, MilvusCode};

pub(super) async fn create(node: &Adapter, call: &Call, request: CreateAliasRequest) -> Result<Status, Failure> {
    let db = call.db(&request.db_name);
    match node.engine.create_alias(db, &request.collection_name, &request.alias).await {
        Ok(()) => Ok(Status::default()),
        Err(error @ EngineError::CollectionExists(_)) => {
            Err(Failure::Reply(MilvusCode::AliasExists, error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn drop(node: &Adapter, call: &Call, request: DropAliasRequest) -> Result<Status, Failure> {
    node.engine.drop_alias(call.db(&request.db_name), &request.alias).await?;
    Ok(Status::default())
}

pub(super) async fn alter(node: &Adapter, call: &Call, request: AlterAliasRequest) -> Result<Status, Failure> {
    node.engine.alter_alias(call.db(&request.db_name), &request.collection_name, &request.alias).await?;
    Ok(Status::default())
}

pub(super) async fn describe(
    node: &Adapter,
    call: &Call,
    request: DescribeAliasRequest,
) -> Result<DescribeAliasResponse, Failure> {
    let db = call.db(&request.db_name);
    let collection = node.engine.describe_alias(db, &request.alias).await?;
    Ok(DescribeAliasResponse {
        db_name: db.to_owned(),
        alias: request.alias,
        collection,
        ..DescribeAliasResponse::default()
    })
}

pub(super) async fn list(
    node: &Adapter,
    call: &Call,
    request: ListAliasesRequest,
) -> Result<ListAliasesResponse, Failure> {
    let db = call.db(&request.db_name);
    let named = Some(request.collection_name.as_str()).filter(|name| !name.is_empty());
    let aliases = node.engine.list_aliases(db, named).await?;
    Ok(ListAliasesResponse {
        db_name: db.to_owned(),
        aliases: aliases.into_iter().map(|(alias, _)| alias).collect(),
        collection_name: request.collection_name,
        ..ListAliasesResponse::default()
    })
}
