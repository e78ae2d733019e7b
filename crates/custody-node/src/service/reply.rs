//! Replies that carry a status of their own.

use milvus::proto::{common::Status, milvus as wire};

/// A reply whose status can be set.
pub(super) trait Reply: Default + Send + 'static {
    fn set_status(&mut self, status: Status);
}

impl Reply for Status {
    fn set_status(&mut self, status: Status) {
        *self = status;
    }
}

macro_rules! replies {
    ($($reply:ident),* $(,)?) => {
        $(impl Reply for wire::$reply {
            fn set_status(&mut self, status: Status) {
                self.status = Some(status);
            }
        })*
    };
}

replies!(
    AllocTimestampResponse,
    BatchDescribeCollectionResponse,
    BoolResponse,
    CheckHealthResponse,
    ConnectResponse,
    DescribeAliasResponse,
    DescribeCollectionResponse,
    DescribeDatabaseResponse,
    DescribeIndexResponse,
    FlushAllResponse,
    FlushResponse,
    GetCollectionStatisticsResponse,
    GetCompactionStateResponse,
    GetFlushAllStateResponse,
    GetFlushStateResponse,
    GetIndexBuildProgressResponse,
    GetIndexStateResponse,
    GetIndexStatisticsResponse,
    GetLoadStateResponse,
    GetLoadingProgressResponse,
    GetPartitionStatisticsResponse,
    GetVersionResponse,
    ListAliasesResponse,
    ListCredUsersResponse,
    ListDatabasesResponse,
    ManualCompactionResponse,
    MutationResult,
    QueryResults,
    SearchResults,
    SelectUserResponse,
    ShowCollectionsResponse,
    ShowPartitionsResponse,
);
