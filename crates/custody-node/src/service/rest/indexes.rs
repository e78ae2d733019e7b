//! Indexes.

use std::collections::BTreeSet;

use custody_engine::Schema;
use milvus::proto::{
    common::{KeyValuePair, Status},
    milvus::{CreateIndexRequest, DescribeIndexRequest, DescribeIndexResponse, DropIndexRequest, IndexDescription},
};
use serde_json::{Value as Json, json};

use super::{
    super::indexes::{self, INDEX_TYPE, METRIC_TYPE},
    Adapter, Answer, Body, Call, Result, collection,
};
use crate::{convert::params::pairs, errors::Failure};

/// The indexes to make of one collection.
pub(super) fn create(body: &mut Body<'_>) -> Result<Vec<CreateIndexRequest>> {
    let (db_name, collection_name) = collection(body)?;
    let wanted = wanted(body, &db_name, &collection_name)?;
    if wanted.is_empty() { Err(body.missing("indexParams")) } else { Ok(wanted) }
}

/// What `indexParams` asks for.
pub(super) fn wanted(body: &mut Body<'_>, db: &str, collection: &str) -> Result<Vec<CreateIndexRequest>> {
    let index = |mut part: Body<'_>| {
        let request = index(&mut part)?;
        part.finish()?;
        Ok(CreateIndexRequest { db_name: db.to_owned(), collection_name: collection.to_owned(), ..request })
    };
    body.objects("indexParams")?.into_iter().map(index).collect()
}

fn index(part: &mut Body<'_>) -> Result<CreateIndexRequest> {
    let (field_name, index_name) = (part.required("fieldName")?, part.text("indexName")?);
    let mut extra_params = part.pairs("params")?;
    for (name, key) in [("indexType", INDEX_TYPE), ("metricType", METRIC_TYPE)] {
        let value = part.text(name)?;
        if !value.is_empty() {
            extra_params.retain(|pair| pair.key != key);
            extra_params.push(KeyValuePair { key: key.to_owned(), value });
        }
    }
    Ok(CreateIndexRequest { field_name, index_name, extra_params, ..CreateIndexRequest::default() })
}

/// Refuses indexes of which only some could be made.
pub(super) fn check(schema: &Schema, wanted: &[CreateIndexRequest]) -> std::result::Result<(), Failure> {
    let (mut names, mut fields) = (BTreeSet::new(), BTreeSet::new());
    for index in wanted {
        let name = if index.index_name.is_empty() { &index.field_name } else { &index.index_name };
        let Some(field) = schema.field(&index.field_name) else {
            return Err(Failure::invalid(format!("index '{name}': field '{}' does not exist", index.field_name)));
        };
        if !names.insert(name) || !fields.insert(&field.name) {
            return Err(Failure::invalid(format!("index '{name}': its name or its field has an index already")));
        }
        indexes::spec(field, name.clone(), &index.extra_params)?;
    }
    Ok(())
}

/// Makes the indexes of a collection that is there, once all of them are known to be sound.
pub(super) async fn creating(
    node: &Adapter,
    call: &Call,
    requests: Vec<CreateIndexRequest>,
) -> std::result::Result<Status, Failure> {
    if let Some(first) = requests.first() {
        let info = node.engine.describe_collection(call.db(&first.db_name), &first.collection_name).await?;
        check(&info.schema, &requests)?;
    }
    create_all(node, call, requests).await
}

pub(super) async fn create_all(
    node: &Adapter,
    call: &Call,
    requests: Vec<CreateIndexRequest>,
) -> std::result::Result<Status, Failure> {
    for request in requests {
        indexes::create(node, call, request).await?;
    }
    Ok(Status::default())
}

pub(super) fn drop(body: &mut Body<'_>) -> Result<DropIndexRequest> {
    let ((db_name, collection_name), index_name) = (collection(body)?, body.required("indexName")?);
    Ok(DropIndexRequest { db_name, collection_name, index_name, ..DropIndexRequest::default() })
}

pub(super) fn describe(body: &mut Body<'_>) -> Result<DescribeIndexRequest> {
    let ((db_name, collection_name), index_name) = (collection(body)?, body.required("indexName")?);
    Ok(DescribeIndexRequest { db_name, collection_name, index_name, ..DescribeIndexRequest::default() })
}

pub(super) fn described(reply: DescribeIndexResponse) -> Answer {
    json!(reply.index_descriptions.iter().map(description).collect::<Vec<_>>()).into()
}

fn description(index: &IndexDescription) -> Json {
    let params = pairs(&index.params);
    let param = |key: &str| params.get(key).map_or("", String::as_str);
    json!({
        "indexName": index.index_name,
        "fieldName": index.field_name,
        "indexType": param(INDEX_TYPE),
        "metricType": param(METRIC_TYPE),
        "indexState": index.state().as_str_name(),
        "failReason": index.index_state_fail_reason,
        "totalRows": index.total_rows,
        "indexedRows": index.indexed_rows,
        "pendingRows": index.pending_index_rows,
    })
}

pub(super) fn list(body: &mut Body<'_>) -> Result<DescribeIndexRequest> {
    let (db_name, collection_name) = collection(body)?;
    Ok(DescribeIndexRequest { db_name, collection_name, ..DescribeIndexRequest::default() })
}

/// The names alone; none is no error here, as in Milvus.
pub(super) async fn names(
    node: &Adapter,
    call: &Call,
    request: DescribeIndexRequest,
) -> std::result::Result<Answer, Failure> {
    let found = node.engine.describe_indexes(call.db(&request.db_name), &request.collection_name).await?;
    Ok(json!(found.into_iter().map(|(spec, _)| spec.name).collect::<Vec<_>>()).into())
}
