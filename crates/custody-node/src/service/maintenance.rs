//! Flushing and compaction. What was acknowledged is durable without either.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use custody_engine::EngineError;
use milvus::proto::{
    common::CompactionState,
    milvus::{
        FlushAllRequest, FlushAllResponse, FlushRequest, FlushResponse, GetCompactionStateRequest,
        GetCompactionStateResponse, GetFlushAllStateRequest, GetFlushAllStateResponse, GetFlushStateRequest,
        GetFlushStateResponse, ManualCompactionRequest, ManualCompactionResponse,
    },
    schema::LongArray,
};

use super::{Adapter, Call, collections::find, collections::milliseconds};
use crate::errors::Failure;

/// How many compactions are remembered.
const REMEMBERED: usize = 1_024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Running,
    Done,
    Failed,
}

/// Compactions that were asked for, by number; the oldest are forgotten.
#[derive(Default)]
pub(super) struct Compactions(Mutex<BTreeMap<i64, Progress>>);

impl Compactions {
    fn set(&self, id: i64, progress: Progress) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(id, progress);
        while known.len() > REMEMBERED {
            known.pop_first();
        }
    }

    fn get(&self, id: i64) -> Option<Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }
}

pub(super) async fn flush(node: &Adapter, call: &Call, request: FlushRequest) -> Result<FlushResponse, Failure> {
    let db = call.db(&request.db_name);
    for collection in &request.collection_names {
        node.engine.flush(db, collection).await?;
    }
    let timestamp = node.engine.next_timestamp();
    let names = || request.collection_names.iter().cloned();
    let seconds = i64::try_from(milliseconds(timestamp) / 1_000).unwrap_or(i64::MAX);
    Ok(FlushResponse {
        db_name: db.to_owned(),
        coll_seg_i_ds: names().map(|name| (name, LongArray::default())).collect::<HashMap<_, _>>(),
        flush_coll_seg_i_ds: names().map(|name| (name, LongArray::default())).collect(),
        coll_seal_times: names().map(|name| (name, seconds)).collect(),
        coll_flush_ts: names().map(|name| (name, timestamp)).collect(),
        ..FlushResponse::default()
    })
}

pub(super) async fn flush_all(node: &Adapter, _: &Call, _: FlushAllRequest) -> Result<FlushAllResponse, Failure> {
    // A sealed database is left out of the list: it has nothing in memory that could be flushed.
    for database in node.engine.list_databases().await? {
        let collections = match node.engine.list_collections(&database.name).await {
            Err(EngineError::Sealed(_)) => continue,
            collections => collections?,
        };
        for collection in collections {
            match node.engine.flush(&database.name, &collection.name).await {
                // Dropped or sealed meanwhile: nothing is left to flush.
                Ok(()) | Err(EngineError::CollectionNotFound(_) | EngineError::Sealed(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    #[expect(deprecated, reason = "clients ask for the state as of this time")]
    let response = FlushAllResponse { flush_all_ts: node.engine.next_timestamp(), ..FlushAllResponse::default() };
    Ok(response)
}

/// A flush is over when it is answered.
pub(super) async fn flush_state(
    _: &Adapter,
    _: &Call,
    _: GetFlushStateRequest,
) -> Result<GetFlushStateResponse, Failure> {
    Ok(GetFlushStateResponse { flushed: true, ..GetFlushStateResponse::default() })
}

/// See [`flush_state`].
pub(super) async fn flush_all_state(
    _: &Adapter,
    _: &Call,
    _: GetFlushAllStateRequest,
) -> Result<GetFlushAllStateResponse, Failure> {
    Ok(GetFlushAllStateResponse { flushed: true, ..GetFlushAllStateResponse::default() })
}

pub(super) async fn compact(
    node: &Adapter,
    call: &Call,
    request: ManualCompactionRequest,
) -> Result<ManualCompactionResponse, Failure> {
    if request.major_compaction {
        return Err(Failure::unsupported("clustering compaction"));
    }
    let db = call.db(&request.db_name).to_owned();
    let name = find(node, &db, &request.collection_name, request.collection_id).await?.name;
    let id = i64::try_from(node.engine.next_timestamp()).unwrap_or(i64::MAX);
    node.compactions.set(id, Progress::Running);
    let (engine, compactions) = (Arc::clone(&node.engine), Arc::clone(&node.compactions));
    tokio::spawn(async move {
        let progress = if engine.compact(&db, &name).await.is_ok() {
            Progress::Done
        } else {
            tracing::warn!(compaction = id, "a compaction failed");
            Progress::Failed
        };
        compactions.set(id, progress);
    });
    Ok(ManualCompactionResponse { compaction_id: id, compaction_plan_count: 1, ..ManualCompactionResponse::default() })
}

pub(super) async fn compaction_state(
    node: &Adapter,
    _: &Call,
    request: GetCompactionStateRequest,
) -> Result<GetCompactionStateResponse, Failure> {
    let progress = node.compactions.get(request.compaction_id);
    let progress = progress.ok_or_else(|| Failure::invalid(format!("no compaction {}", request.compaction_id)))?;
    let state = if progress == Progress::Running { CompactionState::Executing } else { CompactionState::Completed };
    Ok(GetCompactionStateResponse {
        state: state.into(),
        executing_plan_no: i64::from(progress == Progress::Running),
        completed_plan_no: i64::from(progress == Progress::Done),
        failed_plan_no: i64::from(progress == Progress::Failed),
        ..GetCompactionStateResponse::default()
    })
}
