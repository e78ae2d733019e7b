//! Collections: making and describing them, loading, statistics, flushing and compaction.

use custody_engine::{CollectionInfo, Metric};
use milvus::proto::{
    common::{CompactionState, ConsistencyLevel, LoadState, Status},
    milvus::{
        AlterCollectionRequest, BoolResponse, CreateCollectionRequest, DescribeCollectionRequest,
        DropCollectionRequest, FlushRequest, GetCollectionStatisticsRequest, GetCollectionStatisticsResponse,
        GetCompactionStateRequest, GetCompactionStateResponse, GetLoadStateRequest, GetLoadStateResponse,
        HasCollectionRequest, LoadCollectionRequest, ManualCompactionRequest, ManualCompactionResponse,
        ReleaseCollectionRequest, RenameCollectionRequest, ShowCollectionsRequest, ShowCollectionsResponse,
    },
    schema::{DataType, FieldSchema, ValueField, value_field::Data as Given},
};
use prost::Message;
use serde_json::{Value as Json, json};

use super::{
    super::{collections, loading},
    Adapter, Answer, Body, Call, Result,
    answer::{properties, row_count},
    collection, indexes,
    schema::New,
};
use crate::errors::Failure;

/// Makes a collection and its indexes, and loads it if it has any.
pub(super) async fn create(node: &Adapter, call: &Call, new: New) -> std::result::Result<Status, Failure> {
    new.check()?;
    let load = LoadCollectionRequest {
        db_name: new.request.db_name.clone(),
        collection_name: new.request.collection_name.clone(),
        ..LoadCollectionRequest::default()
    };
    let request = CreateCollectionRequest { schema: new.schema.encode_to_vec(), ..new.request };
    collections::create(node, call, request).await?;
    if new.indexes.is_empty() {
        return Ok(Status::default());
    }
    indexes::create_all(node, call, new.indexes).await?;
    loading::load(node, call, load).await
}

pub(super) fn drop(body: &mut Body<'_>) -> Result<DropCollectionRequest> {
    let (db_name, collection_name) = collection(body)?;
    Ok(DropCollectionRequest { db_name, collection_name, ..DropCollectionRequest::default() })
}

pub(super) fn has(body: &mut Body<'_>) -> Result<HasCollectionRequest> {
    let (db_name, collection_name) = collection(body)?;
    Ok(HasCollectionRequest { db_name, collection_name, ..HasCollectionRequest::default() })
}

pub(super) fn had(reply: BoolResponse) -> Answer {
    json!({ "has": reply.value }).into()
}

pub(super) fn list(body: &mut Body<'_>) -> Result<ShowCollectionsRequest> {
    Ok(ShowCollectionsRequest { db_name: body.text("dbName")?, ..ShowCollectionsRequest::default() })
}

pub(super) fn listed(reply: ShowCollectionsResponse) -> Answer {
    json!(reply.collection_names).into()
}

pub(super) fn describe(body: &mut Body<'_>) -> Result<DescribeCollectionRequest> {
    let (db_name, collection_name) = collection(body)?;
    Ok(DescribeCollectionRequest { db_name, collection_name, ..DescribeCollectionRequest::default() })
}

pub(super) async fn described(
    node: &Adapter,
    call: &Call,
    request: DescribeCollectionRequest,
) -> std::result::Result<Answer, Failure> {
    let db = call.db(&request.db_name);
    let info = node.engine.describe_collection(db, &request.collection_name).await?;
    Ok(description(db, &info).into())
}

fn description(db: &str, info: &CollectionInfo) -> Json {
    let reply = collections::description(db, info);
    let schema = reply.schema.unwrap_or_default();
    let indexes = info.indexes.iter().map(|index| {
        let metric = index.metric.map(Metric::name);
        json!({ "indexName": index.name, "fieldName": index.field, "metricType": metric.unwrap_or_default() })
    });
    json!({
        "collectionName": info.name,
        "collectionID": info.id,
        "description": schema.description,
        "autoId": schema.fields.iter().any(|field| field.auto_id),
        "enableDynamicField": schema.enable_dynamic_field,
        "fields": schema.fields.iter().map(field).collect::<Vec<_>>(),
        "functions": [],
        "aliases": info.aliases,
        "indexes": indexes.collect::<Vec<_>>(),
        "load": load_name(info.loaded),
        "shardsNum": info.shards,
        "partitionsNum": info.partitions.len(),
        "consistencyLevel": ConsistencyLevel::try_from(info.consistency).unwrap_or_default().as_str_name(),
        "properties": properties(&reply.properties),
    })
}

fn field(field: &FieldSchema) -> Json {
    let mut told = json!({
        "id": field.field_id,
        "name": field.name,
        "description": field.description,
        "type": field.data_type().as_str_name(),
        "primaryKey": field.is_primary_key,
        "partitionKey": field.is_partition_key,
        "clusteringKey": field.is_clustering_key,
        "autoId": field.auto_id,
        "nullable": field.nullable,
    });
    if !field.type_params.is_empty() {
        told["params"] = properties(&field.type_params);
    }
    if field.data_type() == DataType::Array {
        told["elementType"] = field.element_type().as_str_name().into();
    }
    if let Some(value) = &field.default_value {
        told["defaultValue"] = default_value(value);
    }
    told
}

fn default_value(value: &ValueField) -> Json {
    match &value.data {
        Some(Given::BoolData(value)) => json!(value),
        Some(Given::IntData(value)) => json!(value),
        Some(Given::LongData(value)) => json!(value),
        Some(Given::FloatData(value)) => json!(value),
        Some(Given::DoubleData(value)) => json!(value),
        Some(Given::StringData(value)) => json!(value),
        _ => Json::Null,
    }
}

fn load_name(loaded: bool) -> &'static str {
    if loaded { LoadState::Loaded.as_str_name() } else { LoadState::NotLoad.as_str_name() }
}

pub(super) fn rename(body: &mut Body<'_>) -> Result<RenameCollectionRequest> {
    let (db_name, old_name) = collection(body)?;
    let (new_name, new_db_name) = (body.required("newCollectionName")?, body.text("newDbName")?);
    Ok(RenameCollectionRequest { db_name, old_name, new_name, new_db_name, ..RenameCollectionRequest::default() })
}

pub(super) fn alter(body: &mut Body<'_>) -> Result<AlterCollectionRequest> {
    let ((db_name, collection_name), properties) = (collection(body)?, body.pairs("properties")?);
    Ok(AlterCollectionRequest { db_name, collection_name, properties, ..AlterCollectionRequest::default() })
}

pub(super) fn drop_properties(body: &mut Body<'_>) -> Result<AlterCollectionRequest> {
    let ((db_name, collection_name), delete_keys) = (collection(body)?, body.texts("propertyKeys")?);
    Ok(AlterCollectionRequest { db_name, collection_name, delete_keys, ..AlterCollectionRequest::default() })
}

pub(super) fn statistics(body: &mut Body<'_>) -> Result<GetCollectionStatisticsRequest> {
    let (db_name, collection_name) = collection(body)?;
    Ok(GetCollectionStatisticsRequest { db_name, collection_name, ..GetCollectionStatisticsRequest::default() })
}

pub(super) fn counted(reply: GetCollectionStatisticsResponse) -> Answer {
    row_count(&reply.stats)
}

pub(super) fn load(body: &mut Body<'_>) -> Result<LoadCollectionRequest> {
    let (db_name, collection_name) = collection(body)?;
    let load_fields = body.texts("loadFields")?;
    Ok(LoadCollectionRequest { db_name, collection_name, load_fields, ..LoadCollectionRequest::default() })
}

pub(super) fn release(body: &mut Body<'_>) -> Result<ReleaseCollectionRequest> {
    let (db_name, collection_name) = collection(body)?;
    Ok(ReleaseCollectionRequest { db_name, collection_name, ..ReleaseCollectionRequest::default() })
}

pub(super) fn load_state(body: &mut Body<'_>) -> Result<GetLoadStateRequest> {
    let (db_name, collection_name) = collection(body)?;
    let partition_names = body.texts("partitionNames")?;
    Ok(GetLoadStateRequest { db_name, collection_name, partition_names, ..GetLoadStateRequest::default() })
}

pub(super) fn loaded(reply: GetLoadStateResponse) -> Answer {
    let loaded = reply.state() == LoadState::Loaded;
    json!({ "loadState": load_name(loaded), "loadProgress": if loaded { 100 } else { 0 }, "message": "" }).into()
}

pub(super) fn flush(body: &mut Body<'_>) -> Result<FlushRequest> {
    let (db_name, collection_name) = collection(body)?;
    Ok(FlushRequest { db_name, collection_names: vec![collection_name], ..FlushRequest::default() })
}

pub(super) fn compact(body: &mut Body<'_>) -> Result<ManualCompactionRequest> {
    let (db_name, collection_name) = collection(body)?;
    let major_compaction = body.flag("isClustering")?.unwrap_or_default();
    Ok(ManualCompactionRequest { db_name, collection_name, major_compaction, ..ManualCompactionRequest::default() })
}

pub(super) fn compacting(reply: ManualCompactionResponse) -> Answer {
    json!({ "compactionID": reply.compaction_id }).into()
}

pub(super) fn compaction_state(body: &mut Body<'_>) -> Result<GetCompactionStateRequest> {
    body.text("dbName")?;
    let compaction_id = body.integer("jobID")?.ok_or_else(|| body.missing("jobID"))?;
    Ok(GetCompactionStateRequest { compaction_id })
}

pub(super) fn compacted(reply: GetCompactionStateResponse) -> Answer {
    let state = CompactionState::try_from(reply.state).unwrap_or_default().as_str_name();
    json!({
        "state": state,
        "executingPlanNumber": reply.executing_plan_no,
        "completedPlanNumber": reply.completed_plan_no,
        "failedPlanNumber": reply.failed_plan_no,
        "timeoutPlanNumber": reply.timeout_plan_no,
    })
    .into()
}
