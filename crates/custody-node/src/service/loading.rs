//! Taking collections into memory and letting them go. The engine keeps a collection in memory whole.

use milvus::proto::{
    common::{LoadState, Status},
    milvus::{
        GetLoadStateRequest, GetLoadStateResponse, GetLoadingProgressRequest, GetLoadingProgressResponse,
        LoadCollectionRequest, LoadPartitionsRequest, ReleaseCollectionRequest, ReleasePartitionsRequest,
    },
};

use super::{Adapter, Call};
use crate::errors::Failure;
use custody_engine::{CollectionInfo, EngineError};

pub(super) async fn load(node: &Adapter, call: &Call, request: LoadCollectionRequest) -> Result<Status, Failure> {
    refuse_partial(&request.load_fields, request.skip_load_dynamic_field)?;
    node.engine.load_collection(call.db(&request.db_name), &request.collection_name).await?;
    Ok(Status::default())
}

fn refuse_partial(fields: &[String], skip_dynamic: bool) -> Result<(), Failure> {
    if !fields.is_empty() || skip_dynamic {
        return Err(Failure::unsupported("loading a part of the fields (load_fields)"));
    }
    Ok(())
}

pub(super) async fn release(node: &Adapter, call: &Call, request: ReleaseCollectionRequest) -> Result<Status, Failure> {
    node.engine.release_collection(call.db(&request.db_name), &request.collection_name).await?;
    Ok(Status::default())
}

/// Loads the collection whole: the partitions asked for are then in memory, and others with them.
pub(super) async fn load_partitions(
    node: &Adapter,
    call: &Call,
    request: LoadPartitionsRequest,
) -> Result<Status, Failure> {
    refuse_partial(&request.load_fields, request.skip_load_dynamic_field)?;
    let db = call.db(&request.db_name);
    describe(node, db, &request.collection_name, &request.partition_names).await?;
    node.engine.load_collection(db, &request.collection_name).await?;
    Ok(Status::default())
}

/// Releases the collection when all of its partitions are named. Clients release a partition before they drop it, so
/// naming some is no error; these stay in memory with the others.
pub(super) async fn release_partitions(
    node: &Adapter,
    call: &Call,
    request: ReleasePartitionsRequest,
) -> Result<Status, Failure> {
    let db = call.db(&request.db_name);
    let info = describe(node, db, &request.collection_name, &request.partition_names).await?;
    if info.partitions.iter().all(|partition| request.partition_names.contains(&partition.name)) {
        node.engine.release_collection(db, &request.collection_name).await?;
    }
    Ok(Status::default())
}

pub(super) async fn state(
    node: &Adapter,
    call: &Call,
    request: GetLoadStateRequest,
) -> Result<GetLoadStateResponse, Failure> {
    let info = describe(node, call.db(&request.db_name), &request.collection_name, &request.partition_names).await?;
    let state = if info.loaded { LoadState::Loaded } else { LoadState::NotLoad };
    Ok(GetLoadStateResponse { state: state.into(), ..GetLoadStateResponse::default() })
}

pub(super) async fn progress(
    node: &Adapter,
    call: &Call,
    request: GetLoadingProgressRequest,
) -> Result<GetLoadingProgressResponse, Failure> {
    let info = describe(node, call.db(&request.db_name), &request.collection_name, &request.partition_names).await?;
    if !info.loaded {
        return Err(EngineError::NotLoaded(info.name).into());
    }
    Ok(GetLoadingProgressResponse { progress: 100, refresh_progress: 100, ..GetLoadingProgressResponse::default() })
}

/// The collection, whose partitions named must exist.
async fn describe(node: &Adapter, db: &str, name: &str, partitions: &[String]) -> Result<CollectionInfo, EngineError> {
    let info = node.engine.describe_collection(db, name).await?;
    match partitions.iter().find(|name| !info.partitions.iter().any(|partition| partition.name == **name)) {
        Some(missing) => Err(EngineError::PartitionNotFound(missing.clone())),
        None => Ok(info),
    }
}
