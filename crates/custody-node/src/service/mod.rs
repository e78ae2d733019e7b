//! Milvus' calls over the engine: gRPC's service, a table of its calls, and what is common to all. [`rest`] answers the
//! same calls over HTTP.

mod aliases;
mod collections;
mod data;
mod databases;
mod indexes;
mod iterate;
mod loading;
mod maintenance;
mod partitions;
mod query;
mod reply;
pub(crate) mod rest;
mod search;
mod system;
mod users;

use std::{future::Future, sync::Arc};

use custody_engine::Engine;
use milvus::proto::{common, milvus as wire, milvus::milvus_service_server::MilvusService};
use tonic::{Code, Request, Response, Status, async_trait, metadata::MetadataValue};

use crate::{
    auth::{Authenticator, Caller},
    errors::{Failure, failed, short, success},
    gate::FAULT,
};
use iterate::Iterators;
use maintenance::Compactions;
use reply::Reply;
#[cfg(feature = "fuzzing")]
pub(crate) use search::vectors;

/// What the calls work with.
pub(crate) struct Adapter {
    pub(crate) engine: Arc<Engine>,
    pub(crate) auth: Arc<Authenticator>,
    compactions: Arc<Compactions>,
    iterators: Iterators,
}

/// The service; [`CALLS`] names what it answers.
#[derive(Clone)]
pub(crate) struct Service(Arc<Adapter>);

impl Service {
    pub(crate) fn new(engine: Arc<Engine>, auth: Arc<Authenticator>) -> Self {
        Self(Arc::new(Adapter { engine, auth, compactions: Arc::default(), iterators: Iterators::default() }))
    }
}

/// What a call brings besides its message.
struct Call {
    /// The database that the client has chosen for its connection.
    database: String,
    caller: Caller,
}

impl Call {
    /// Takes a request apart.
    #[expect(clippy::result_large_err, reason = "the trait of the service wants tonic's status")]
    fn open<T>(request: Request<T>) -> Result<(Self, T), Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        // The gate in front lets nobody in without one.
        let caller = caller.ok_or_else(|| Status::unauthenticated("authentication is required"))?;
        let database = match request.metadata().get("dbname").map(MetadataValue::to_str) {
            None => String::new(),
            Some(Ok(name)) => name.to_owned(),
            // Taken for no name it would send the call to the default database.
            Some(Err(_)) => return Err(Status::invalid_argument("the metadata 'dbname' must be plain ASCII text")),
        };
        Ok((Self { database, caller }, request.into_inner()))
    }

    /// The database that a request is for: its own, or the connection's.
    fn db<'a>(&'a self, named: &'a str) -> &'a str {
        if named.is_empty() { &self.database } else { named }
    }
}

/// The number of the error that a reply tells in its own status.
#[derive(Clone, Copy)]
pub(crate) struct InBand(pub(crate) i32);

#[expect(clippy::result_large_err, reason = "the trait of the service wants tonic's status")]
fn answer<R: Reply>(result: Result<R, Failure>) -> Result<Response<R>, Status> {
    match result {
        Ok(mut reply) => {
            reply.set_status(success());
            Ok(Response::new(reply))
        }
        Err(Failure::Reply(code, reason)) => {
            let mut reply = R::default();
            reply.set_status(failed(code, reason));
            let mut response = Response::new(reply);
            response.extensions_mut().insert(InBand(code as i32));
            Ok(response)
        }
        Err(Failure::Grpc(code, reason)) => Err(Status::new(code, short(reason))),
    }
}

/// Runs a change to its end even when the client goes away meanwhile: a call that is dropped halfway could leave memory
/// and storage telling different stories.
async fn detached<R: Send + 'static>(
    change: impl Future<Output = Result<R, Failure>> + Send + 'static,
) -> Result<R, Failure> {
    let done = tokio::spawn(change).await;
    done.unwrap_or_else(|_| Err(Failure::Grpc(Code::Internal, FAULT.to_owned())))
}

macro_rules! run {
    (read $handler:path, $node:expr, $call:expr, $request:expr) => {
        $handler(&$node, &$call, $request).await
    };
    (write $handler:path, $node:expr, $call:expr, $request:expr) => {
        detached(async move { $handler(&$node, &$call, $request).await }).await
    };
}
use run;

macro_rules! calls {
    ($($kind:ident $wire_name:literal $name:ident($request:ty) -> $response:ty = $handler:path;)*) => {
        /// The calls that are answered. All others are told that they are not implemented.
        pub(crate) const CALLS: &[&str] = &[$($wire_name),*];

        /// Whether a call only reads.
        pub(crate) fn reads(call: &str) -> bool {
            match call {
                $($wire_name => stringify!($kind) == "read",)*
                _ => false,
            }
        }

        #[async_trait]
        impl MilvusService for Service {
            $(async fn $name(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                let node = Arc::clone(&self.0);
                let (call, request) = Call::open(request)?;
                answer(run!($kind $handler, node, call, request))
            })*
        }
    };
}

calls! {
    read "Connect" connect(wire::ConnectRequest) -> wire::ConnectResponse = system::connect;
    read "GetVersion" get_version(wire::GetVersionRequest) -> wire::GetVersionResponse = system::version;
    read "CheckHealth" check_health(wire::CheckHealthRequest) -> wire::CheckHealthResponse = system::health;
    read "AllocTimestamp" alloc_timestamp(wire::AllocTimestampRequest) -> wire::AllocTimestampResponse = system::timestamp;

    write "CreateDatabase" create_database(wire::CreateDatabaseRequest) -> common::Status = databases::create;
    write "DropDatabase" drop_database(wire::DropDatabaseRequest) -> common::Status = databases::drop;
    read "ListDatabases" list_databases(wire::ListDatabasesRequest) -> wire::ListDatabasesResponse = databases::list;
    read "DescribeDatabase" describe_database(wire::DescribeDatabaseRequest) -> wire::DescribeDatabaseResponse = databases::describe;
    write "AlterDatabase" alter_database(wire::AlterDatabaseRequest) -> common::Status = databases::alter;

    write "CreateCollection" create_collection(wire::CreateCollectionRequest) -> common::Status = collections::create;
    write "DropCollection" drop_collection(wire::DropCollectionRequest) -> common::Status = collections::drop;
    read "HasCollection" has_collection(wire::HasCollectionRequest) -> wire::BoolResponse = collections::has;
    read "DescribeCollection" describe_collection(wire::DescribeCollectionRequest) -> wire::DescribeCollectionResponse = collections::describe;
    read "BatchDescribeCollection" batch_describe_collection(wire::BatchDescribeCollectionRequest) -> wire::BatchDescribeCollectionResponse = collections::describe_all;
    read "ShowCollections" show_collections(wire::ShowCollectionsRequest) -> wire::ShowCollectionsResponse = collections::show;
    write "RenameCollection" rename_collection(wire::RenameCollectionRequest) -> common::Status = collections::rename;
    write "AlterCollection" alter_collection(wire::AlterCollectionRequest) -> common::Status = collections::alter;
    read "GetCollectionStatistics" get_collection_statistics(wire::GetCollectionStatisticsRequest) -> wire::GetCollectionStatisticsResponse = collections::statistics;

    write "LoadCollection" load_collection(wire::LoadCollectionRequest) -> common::Status = loading::load;
    write "ReleaseCollection" release_collection(wire::ReleaseCollectionRequest) -> common::Status = loading::release;
    write "LoadPartitions" load_partitions(wire::LoadPartitionsRequest) -> common::Status = loading::load_partitions;
    write "ReleasePartitions" release_partitions(wire::ReleasePartitionsRequest) -> common::Status = loading::release_partitions;
    read "GetLoadState" get_load_state(wire::GetLoadStateRequest) -> wire::GetLoadStateResponse = loading::state;
    read "GetLoadingProgress" get_loading_progress(wire::GetLoadingProgressRequest) -> wire::GetLoadingProgressResponse = loading::progress;

    write "CreatePartition" create_partition(wire::CreatePartitionRequest) -> common::Status = partitions::create;
    write "DropPartition" drop_partition(wire::DropPartitionRequest) -> common::Status = partitions::drop;
    read "HasPartition" has_partition(wire::HasPartitionRequest) -> wire::BoolResponse = partitions::has;
    read "ShowPartitions" show_partitions(wire::ShowPartitionsRequest) -> wire::ShowPartitionsResponse = partitions::show;
    read "GetPartitionStatistics" get_partition_statistics(wire::GetPartitionStatisticsRequest) -> wire::GetPartitionStatisticsResponse = partitions::statistics;

    write "CreateAlias" create_alias(wire::CreateAliasRequest) -> common::Status = aliases::create;
    write "DropAlias" drop_alias(wire::DropAliasRequest) -> common::Status = aliases::drop;
    write "AlterAlias" alter_alias(wire::AlterAliasRequest) -> common::Status = aliases::alter;
    read "DescribeAlias" describe_alias(wire::DescribeAliasRequest) -> wire::DescribeAliasResponse = aliases::describe;
    read "ListAliases" list_aliases(wire::ListAliasesRequest) -> wire::ListAliasesResponse = aliases::list;

    write "CreateIndex" create_index(wire::CreateIndexRequest) -> common::Status = indexes::create;
    write "DropIndex" drop_index(wire::DropIndexRequest) -> common::Status = indexes::drop;
    read "DescribeIndex" describe_index(wire::DescribeIndexRequest) -> wire::DescribeIndexResponse = indexes::describe;
    read "GetIndexStatistics" get_index_statistics(wire::GetIndexStatisticsRequest) -> wire::GetIndexStatisticsResponse = indexes::statistics;
    read "GetIndexState" get_index_state(wire::GetIndexStateRequest) -> wire::GetIndexStateResponse = indexes::state;
    read "GetIndexBuildProgress" get_index_build_progress(wire::GetIndexBuildProgressRequest) -> wire::GetIndexBuildProgressResponse = indexes::progress;

    write "Insert" insert(wire::InsertRequest) -> wire::MutationResult = data::insert;
    write "Upsert" upsert(wire::UpsertRequest) -> wire::MutationResult = data::upsert;
    write "Delete" delete(wire::DeleteRequest) -> wire::MutationResult = data::delete;
    read "Query" query(wire::QueryRequest) -> wire::QueryResults = query::query;
    read "Search" search(wire::SearchRequest) -> wire::SearchResults = search::search;

    write "Flush" flush(wire::FlushRequest) -> wire::FlushResponse = maintenance::flush;
    write "FlushAll" flush_all(wire::FlushAllRequest) -> wire::FlushAllResponse = maintenance::flush_all;
    read "GetFlushState" get_flush_state(wire::GetFlushStateRequest) -> wire::GetFlushStateResponse = maintenance::flush_state;
    read "GetFlushAllState" get_flush_all_state(wire::GetFlushAllStateRequest) -> wire::GetFlushAllStateResponse = maintenance::flush_all_state;
    write "ManualCompaction" manual_compaction(wire::ManualCompactionRequest) -> wire::ManualCompactionResponse = maintenance::compact;
    read "GetCompactionState" get_compaction_state(wire::GetCompactionStateRequest) -> wire::GetCompactionStateResponse = maintenance::compaction_state;

    write "CreateCredential" create_credential(wire::CreateCredentialRequest) -> common::Status = users::create;
    write "UpdateCredential" update_credential(wire::UpdateCredentialRequest) -> common::Status = users::update;
    write "DeleteCredential" delete_credential(wire::DeleteCredentialRequest) -> common::Status = users::delete;
    read "ListCredUsers" list_cred_users(wire::ListCredUsersRequest) -> wire::ListCredUsersResponse = users::list;
    read "SelectUser" select_user(wire::SelectUserRequest) -> wire::SelectUserResponse = users::select;
}
