//! Connecting, versions, health, time.

use milvus::proto::{
    common::ServerInfo,
    milvus::{
        AllocTimestampRequest, AllocTimestampResponse, CheckHealthRequest, CheckHealthResponse, ConnectRequest,
        ConnectResponse, GetVersionRequest, GetVersionResponse,
    },
};

use super::{Adapter, Call};
use crate::errors::Failure;

const VERSION: &str = concat!("custody-", env!("CARGO_PKG_VERSION"));

pub(super) async fn connect(node: &Adapter, _: &Call, _: ConnectRequest) -> Result<ConnectResponse, Failure> {
    Ok(ConnectResponse {
        server_info: Some(ServerInfo {
            build_tags: VERSION.to_owned(),
            deploy_mode: "STANDALONE".to_owned(),
            ..ServerInfo::default()
        }),
        // A number that tells connections apart; the clock gives none twice, and none above 63 bits for ages to come.
        identifier: i64::try_from(node.engine.next_timestamp()).unwrap_or(i64::MAX),
        ..ConnectResponse::default()
    })
}

pub(super) async fn version(_: &Adapter, _: &Call, _: GetVersionRequest) -> Result<GetVersionResponse, Failure> {
    Ok(GetVersionResponse { version: VERSION.to_owned(), ..GetVersionResponse::default() })
}

pub(super) async fn health(node: &Adapter, _: &Call, _: CheckHealthRequest) -> Result<CheckHealthResponse, Failure> {
    let sealed = node.engine.zones().await.into_iter().filter(|zone| !zone.status.is_usable());
    let reasons: Vec<String> = sealed.map(|zone| format!("zone {}: {}", zone.zone, zone.status)).collect();
    // One tenant's key that is gone does not make the cluster ill.
    let is_healthy = node.engine.cluster_zone().status().is_usable();
    Ok(CheckHealthResponse { is_healthy, reasons, ..CheckHealthResponse::default() })
}

pub(super) async fn timestamp(
    node: &Adapter,
    _: &Call,
    _: AllocTimestampRequest,
) -> Result<AllocTimestampResponse, Failure> {
    Ok(AllocTimestampResponse { timestamp: node.engine.next_timestamp(), ..AllocTimestampResponse::default() })
}
