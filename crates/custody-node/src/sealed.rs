//! The keyless stub: it stands where a node stood whose cluster went dark, holds no key and no data, and says so.

use std::future::Future;

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::watch;

use crate::{
    gate::is_grpc,
    server::{self, Limits, Tls},
};

/// Answers "sealed" on a bound listener until `shutdown`. Every gRPC call gets UNAVAILABLE and every HTTP path 503, with
/// the current text of `reason`; whoever asks gets it, so it must tell no more than strangers may know. `/healthz` says
/// that the process is alive.
pub async fn serve_sealed(
    listener: std::net::TcpListener,
    reason: watch::Receiver<String>,
    tls: Option<Tls>,
    shutdown: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    let router = Router::new().route("/healthz", get(|| async { "ok\n" })).fallback(sealed).with_state(reason);
    server::serve(listener, tls, router, Limits::default(), None, shutdown).await
}

async fn sealed(State(reason): State<watch::Receiver<String>>, request: Request) -> Response {
    let text = match reason.borrow().as_str() {
        "" => "sealed".to_owned(),
        reason => format!("sealed: {reason}"),
    };
    if is_grpc(&request) {
        return tonic::Status::unavailable(text).into_http();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{text}\n")).into_response()
}
