//! Collections: making, describing, listing, renaming.

use custody_engine::{CollectionInfo, EngineError, Field, NewCollection, Schema};
use milvus::proto::{
    common::{KeyValuePair, Status},
    milvus::{
        AlterCollectionRequest, BatchDescribeCollectionRequest, BatchDescribeCollectionResponse, BoolResponse,
        CreateCollectionRequest, DescribeCollectionRequest, DescribeCollectionResponse, DropCollectionRequest,
        GetCollectionStatisticsRequest, GetCollectionStatisticsResponse, HasCollectionRequest, RenameCollectionRequest,
        ShowCollectionsRequest, ShowCollectionsResponse, ShowType,
    },
    schema::CollectionSchema,
};
use prost::Message;

use super::{Adapter, Call};
use crate::{
    convert::{ConvertError, params::pairs, schema},
    errors::{Failure, MilvusCode, success},
};

/// The bits of a hybrid timestamp below its milliseconds.
const LOGICAL_BITS: u32 = 18;

/// Properties that would change what a collection holds, and that nothing here acts upon.
const UNKEPT_PROMISES: [&str; 2] = ["collection.ttl.seconds", "ttl_field"];

pub(super) async fn create(node: &Adapter, call: &Call, request: CreateCollectionRequest) -> Result<Status, Failure> {
    let db = call.db(&request.db_name);
    let sent = CollectionSchema::decode(request.schema.as_slice()).map_err(ConvertError::from)?;
    let properties = pairs(&request.properties);
    refuse_promises(properties.keys())?;
    let new = NewCollection {
        name: request.collection_name.clone(),
        schema: schema::from_wire(sent, properties)?,
        shards: request.shards_num.max(1),
        consistency: request.consistency_level,
    };
    let wanted = new.schema.clone();
    match node.engine.create_collection(db, new).await {
        Ok(()) => Ok(Status::default()),
        // As in Milvus, making the same collection twice is no error.
        Err(EngineError::CollectionExists(name)) => {
            let existing = node.engine.describe_collection(db, &name).await?;
            if existing.name == name && same_schema(&existing.schema, &wanted) {
                return Ok(Status::default());
            }
            let reason = format!("create duplicate collection with different parameters, collection: {name}");
            Err(Failure::Reply(MilvusCode::Unexpected, reason))
        }
        Err(error) => Err(error.into()),
    }
}

fn refuse_promises<'a>(mut keys: impl Iterator<Item = &'a String>) -> Result<(), Failure> {
    match keys.find(|key| UNKEPT_PROMISES.contains(&key.as_str())) {
        Some(key) => Err(Failure::unsupported(&format!("the property '{key}'"))),
        None => Ok(()),
    }
}

fn same_schema(existing: &Schema, wanted: &Schema) -> bool {
    let plain = |fields: &[Field]| fields.iter().map(|field| Field { id: 0, ..field.clone() }).collect::<Vec<_>>();
    existing.dynamic == wanted.dynamic
        && existing.description == wanted.description
        && existing.properties == wanted.properties
        && plain(&existing.fields) == plain(&wanted.fields)
}

pub(super) async fn drop(node: &Adapter, call: &Call, request: DropCollectionRequest) -> Result<Status, Failure> {
    match node.engine.drop_collection(call.db(&request.db_name), &request.collection_name).await {
        // As in Milvus, dropping what is not there is no error.
        Ok(()) | Err(EngineError::CollectionNotFound(_)) => Ok(Status::default()),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn has(node: &Adapter, call: &Call, request: HasCollectionRequest) -> Result<BoolResponse, Failure> {
    let value = node.engine.has_collection(call.db(&request.db_name), &request.collection_name).await?;
    Ok(BoolResponse { value, ..BoolResponse::default() })
}

pub(super) async fn describe(
    node: &Adapter,
    call: &Call,
    request: DescribeCollectionRequest,
) -> Result<DescribeCollectionResponse, Failure> {
    let db = call.db(&request.db_name);
    let info = find(node, db, &request.collection_name, request.collection_id).await?;
    Ok(description(db, &info))
}

pub(super) async fn describe_all(
    node: &Adapter,
    call: &Call,
    request: BatchDescribeCollectionRequest,
) -> Result<BatchDescribeCollectionResponse, Failure> {
    let db = call.db(&request.db_name);
    let named = request.collection_name.iter().map(|name| (name.as_str(), 0));
    let numbered = request.collection_id.iter().map(|id| ("", *id));
    let mut responses = Vec::new();
    for (name, id) in named.chain(numbered) {
        let info = find(node, db, name, id).await?;
        responses.push(DescribeCollectionResponse { status: Some(success()), ..description(db, &info) });
    }
    Ok(BatchDescribeCollectionResponse { responses, ..BatchDescribeCollectionResponse::default() })
}

/// A collection by its name, or by its id if there is no name.
pub(super) async fn find(node: &Adapter, db: &str, name: &str, id: i64) -> Result<CollectionInfo, EngineError> {
    if !name.is_empty() || id == 0 {
        return node.engine.describe_collection(db, name).await;
    }
    let all = node.engine.list_collections(db).await?;
    all.into_iter().find(|info| info.id == id).ok_or_else(|| EngineError::CollectionNotFound(id.to_string()))
}

/// What clients are told of a collection.
pub(super) fn description(db: &str, info: &CollectionInfo) -> DescribeCollectionResponse {
    let database = if db.is_empty() { custody_engine::DEFAULT_DATABASE } else { db };
    DescribeCollectionResponse {
        schema: Some(schema::to_wire(&info.name, database, &info.schema)),
        collection_id: info.id,
        created_timestamp: info.created,
        created_utc_timestamp: milliseconds(info.created),
        // A schema never changes after its collection is made.
        update_timestamp: info.created,
        update_timestamp_str: info.created.to_string(),
        shards_num: info.shards,
        aliases: info.aliases.clone(),
        consistency_level: info.consistency,
        collection_name: info.name.clone(),
        properties: schema::to_pairs(&info.schema.properties),
        db_name: database.to_owned(),
        num_partitions: i64::try_from(info.partitions.len()).unwrap_or(i64::MAX),
        ..DescribeCollectionResponse::default()
    }
}

/// The milliseconds since 1970 of a hybrid timestamp.
pub(super) fn milliseconds(timestamp: u64) -> u64 {
    timestamp >> LOGICAL_BITS
}

pub(super) async fn show(
    node: &Adapter,
    call: &Call,
    request: ShowCollectionsRequest,
) -> Result<ShowCollectionsResponse, Failure> {
    #[expect(deprecated, reason = "older clients name the collections they want")]
    let named = &request.collection_names;
    let loaded_only = request.r#type == ShowType::InMemory as i32;
    let mut infos = node.engine.list_collections(call.db(&request.db_name)).await?;
    infos.retain(|info| (named.is_empty() || named.contains(&info.name)) && (!loaded_only || info.loaded));
    #[expect(deprecated, reason = "older clients read the percentages")]
    let response = ShowCollectionsResponse {
        collection_ids: infos.iter().map(|info| info.id).collect(),
        created_timestamps: infos.iter().map(|info| info.created).collect(),
        created_utc_timestamps: infos.iter().map(|info| milliseconds(info.created)).collect(),
        in_memory_percentages: infos.iter().map(|info| if info.loaded { 100 } else { 0 }).collect(),
        query_service_available: infos.iter().map(|info| info.loaded).collect(),
        shards_num: infos.iter().map(|info| info.shards).collect(),
        collection_names: infos.into_iter().map(|info| info.name).collect(),
        ..ShowCollectionsResponse::default()
    };
    Ok(response)
}

pub(super) async fn rename(node: &Adapter, call: &Call, request: RenameCollectionRequest) -> Result<Status, Failure> {
    let new_db = Some(request.new_db_name.as_str()).filter(|name| !name.is_empty());
    node.engine.rename_collection(call.db(&request.db_name), &request.old_name, &request.new_name, new_db).await?;
    Ok(Status::default())
}

pub(super) async fn alter(node: &Adapter, call: &Call, request: AlterCollectionRequest) -> Result<Status, Failure> {
    let db = call.db(&request.db_name);
    let name = find(node, db, &request.collection_name, request.collection_id).await?.name;
    let set = pairs(&request.properties);
    refuse_promises(set.keys())?;
    node.engine.alter_collection_properties(db, &name, set, request.delete_keys).await?;
    Ok(Status::default())
}

pub(super) async fn statistics(
    node: &Adapter,
    call: &Call,
    request: GetCollectionStatisticsRequest,
) -> Result<GetCollectionStatisticsResponse, Failure> {
    let rows = node.engine.row_count(call.db(&request.db_name), &request.collection_name).await?;
    Ok(GetCollectionStatisticsResponse { stats: row_count(rows), ..GetCollectionStatisticsResponse::default() })
}

/// Statistics as Milvus words them.
pub(super) fn row_count(rows: u64) -> Vec<KeyValuePair> {
    vec![KeyValuePair { key: "row_count".to_owned(), value: rows.to_string() }]
}
