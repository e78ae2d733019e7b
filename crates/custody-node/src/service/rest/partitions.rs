//! Partitions.

use milvus::proto::milvus::{
    CreatePartitionRequest, DropPartitionRequest, GetPartitionStatisticsRequest, GetPartitionStatisticsResponse,
    HasPartitionRequest, LoadPartitionsRequest, ReleasePartitionsRequest, ShowPartitionsRequest,
    ShowPartitionsResponse,
};
use serde_json::json;

use super::{Answer, Body, Result, answer::row_count, collection};

pub(super) fn create(body: &mut Body<'_>) -> Result<CreatePartitionRequest> {
    let ((db_name, collection_name), partition_name) = (collection(body)?, body.required("partitionName")?);
    Ok(CreatePartitionRequest { db_name, collection_name, partition_name, ..CreatePartitionRequest::default() })
}

pub(super) fn drop(body: &mut Body<'_>) -> Result<DropPartitionRequest> {
    let ((db_name, collection_name), partition_name) = (collection(body)?, body.required("partitionName")?);
    Ok(DropPartitionRequest { db_name, collection_name, partition_name, ..DropPartitionRequest::default() })
}

pub(super) fn has(body: &mut Body<'_>) -> Result<HasPartitionRequest> {
    let ((db_name, collection_name), partition_name) = (collection(body)?, body.required("partitionName")?);
    Ok(HasPartitionRequest { db_name, collection_name, partition_name, ..HasPartitionRequest::default() })
}

pub(super) fn list(body: &mut Body<'_>) -> Result<ShowPartitionsRequest> {
    let (db_name, collection_name) = collection(body)?;
    Ok(ShowPartitionsRequest { db_name, collection_name, ..ShowPartitionsRequest::default() })
}

pub(super) fn listed(reply: ShowPartitionsResponse) -> Answer {
    json!(reply.partition_names).into()
}

pub(super) fn statistics(body: &mut Body<'_>) -> Result<GetPartitionStatisticsRequest> {
    let ((db_name, collection_name), partition_name) = (collection(body)?, body.required("partitionName")?);
    let request = GetPartitionStatisticsRequest::default();
    Ok(GetPartitionStatisticsRequest { db_name, collection_name, partition_name, ..request })
}

pub(super) fn counted(reply: GetPartitionStatisticsResponse) -> Answer {
    row_count(&reply.stats)
}

/// The partitions that a call is for: some must be named, or it would be for none.
fn named(body: &mut Body<'_>) -> Result<Vec<String>> {
    let names = body.texts("partitionNames")?;
    if names.is_empty() { Err(body.missing("partitionNames")) } else { Ok(names) }
}

pub(super) fn load(body: &mut Body<'_>) -> Result<LoadPartitionsRequest> {
    let ((db_name, collection_name), partition_names) = (collection(body)?, named(body)?);
    Ok(LoadPartitionsRequest { db_name, collection_name, partition_names, ..LoadPartitionsRequest::default() })
}

pub(super) fn release(body: &mut Body<'_>) -> Result<ReleasePartitionsRequest> {
    let ((db_name, collection_name), partition_names) = (collection(body)?, named(body)?);
    Ok(ReleasePartitionsRequest { db_name, collection_name, partition_names, ..ReleasePartitionsRequest::default() })
}
