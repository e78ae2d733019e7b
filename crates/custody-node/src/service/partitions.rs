//! Partitions.

use custody_engine::EngineError;
use milvus::proto::{
    common::Status,
    milvus::{
        BoolResponse, CreatePartitionRequest, DropPartitionRequest, GetPartitionStatisticsRequest,
        GetPartitionStatisticsResponse, HasPartitionRequest, ShowPartitionsRequest, ShowPartitionsResponse, ShowType,
    },
};

use super::{
    Adapter, Call,
    collections::{find, milliseconds, row_count},
};
use crate::errors::Failure;

pub(super) async fn create(node: &Adapter, call: &Call, request: CreatePartitionRequest) -> Result<Status, Failure> {
    let db = call.db(&request.db_name);
    match node.engine.create_partition(db, &request.collection_name, &request.partition_name).await {
        // As in Milvus, making the same partition twice is no error.
        Ok(()) | Err(EngineError::PartitionExists(_)) => Ok(Status::default()),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn drop(node: &Adapter, call: &Call, request: DropPartitionRequest) -> Result<Status, Failure> {
    let db = call.db(&request.db_name);
    match node.engine.drop_partition(db, &request.collection_name, &request.partition_name).await {
        // As in Milvus, dropping what is not there is no error.
        Ok(()) | Err(EngineError::PartitionNotFound(_)) => Ok(Status::default()),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn has(node: &Adapter, call: &Call, request: HasPartitionRequest) -> Result<BoolResponse, Failure> {
    let db = call.db(&request.db_name);
    let value = node.engine.has_partition(db, &request.collection_name, &request.partition_name).await?;
    Ok(BoolResponse { value, ..BoolResponse::default() })
}

pub(super) async fn show(
    node: &Adapter,
    call: &Call,
    request: ShowPartitionsRequest,
) -> Result<ShowPartitionsResponse, Failure> {
    #[expect(deprecated, reason = "older clients ask for loaded partitions alone")]
    let loaded_only = request.r#type == ShowType::InMemory as i32;
    let info = find(node, call.db(&request.db_name), &request.collection_name, request.collection_id).await?;
    let mut partitions = info.partitions;
    for name in &request.partition_names {
        if !partitions.iter().any(|partition| partition.name == *name) {
            return Err(EngineError::PartitionNotFound(name.clone()).into());
        }
    }
    let named = &request.partition_names;
    partitions.retain(|partition| named.is_empty() || named.contains(&partition.name));
    if loaded_only && !info.loaded {
        partitions.clear();
    }
    let percentage = if info.loaded { 100 } else { 0 };
    #[expect(deprecated, reason = "older clients read the percentages")]
    let response = ShowPartitionsResponse {
        partition_i_ds: partitions.iter().map(|partition| partition.id).collect(),
        created_timestamps: partitions.iter().map(|partition| partition.created).collect(),
        created_utc_timestamps: partitions.iter().map(|partition| milliseconds(partition.created)).collect(),
        in_memory_percentages: vec![percentage; partitions.len()],
        partition_names: partitions.into_iter().map(|partition| partition.name).collect(),
        ..ShowPartitionsResponse::default()
    };
    Ok(response)
}

pub(super) async fn statistics(
    node: &Adapter,
    call: &Call,
    request: GetPartitionStatisticsRequest,
) -> Result<GetPartitionStatisticsResponse, Failure> {
    let db = call.db(&request.db_name);
    let rows = node.engine.partition_row_count(db, &request.collection_name, &request.partition_name).await?;
    Ok(GetPartitionStatisticsResponse { stats: row_count(rows), ..GetPartitionStatisticsResponse::default() })
}
