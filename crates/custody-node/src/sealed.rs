//! The keyless stub: it stands where a node stood whose cluster went dark, holds no key and no data, and says so.

use std::{future::Future, sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use custody_http::{Limits, Tls};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::{
    auth::Known,
    envelope::{self, is_rest},
    gate::is_grpc,
};

/// Answers "sealed" on a bound listener until `shutdown`: every gRPC call gets UNAVAILABLE and every HTTP path 503, REST
/// calls in their envelope. `/healthz` says that the process is alive.
///
/// Whoever shows one of the `credentials` (API keys, `user:password`) is told the current text of `reason` besides. The
/// users of the cluster are sealed with it and can't be known here: they are strangers, and strangers are told only
/// "sealed" (rule 19).
pub async fn serve_sealed(
    listener: std::net::TcpListener,
    reason: watch::Receiver<String>,
    credentials: &[Zeroizing<String>],
    tls: Option<Tls>,
    connections: usize,
    shutdown: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    let known = Known::new(credentials).map_err(std::io::Error::other)?;
    let notice = Arc::new(Notice { reason, known });
    let router = Router::new().route("/healthz", get(|| async { "ok\n" })).fallback(sealed).with_state(notice);
    custody_http::serve(listener, tls, router, Limits { connections, ..Limits::default() }, None, shutdown).await
}

struct Notice {
    reason: watch::Receiver<String>,
    known: Known,
}

async fn sealed(State(notice): State<Arc<Notice>>, request: Request) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION);
    let known = shown.is_some_and(|value| notice.known.fits(value, Instant::now()));
    let text = if known { notice.reason.borrow().clone() } else { "sealed".to_owned() };
    if is_grpc(&request) {
        return tonic::Status::unavailable(text).into_http();
    }
    if is_rest(&request) {
        return envelope::refused(&tonic::Status::unavailable(text));
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{text}\n")).into_response()
}
