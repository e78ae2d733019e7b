//! The node: one cluster's engine, served to Milvus clients.

use std::{future::Future, sync::Arc};

use axum::{
    Extension, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use custody_engine::{Engine, EngineError};
use custody_http::{Limits, MAX_CONNECTIONS, Peer, Tls};
use milvus::proto::milvus::milvus_service_server::MilvusServiceServer;
use zeroize::Zeroizing;

use crate::{
    auth::{ApiKeys, AuthError, Authenticator},
    cors, envelope,
    gate::{self, Gate},
    limits::{LARGEST_ANSWER, LARGEST_REQUEST},
    metrics::{Metrics, MetricsError},
    service::{Service, rest},
    tally::Tally,
};

/// The path of Milvus' service.
const CALLS: &str = "/milvus.proto.milvus.MilvusService/{call}";

/// How a node is served.
pub struct NodeOptions {
    /// The password of the user `root`, used only if the cluster has no such user yet.
    pub root_password: Option<Zeroizing<String>>,
    /// Static tokens that may do everything.
    pub api_keys: Vec<Zeroizing<String>>,
    /// The argon2id hash (PHC) of that password, where it is not given as text.
    pub root_hash: Option<String>,
    /// Knows the API keys that begin with `custody_`.
    pub issued_keys: Option<Arc<dyn ApiKeys>>,
    /// A certificate; without one connections are plain.
    pub tls: Option<Tls>,
    /// Connections at the same time; see [`crate::connections`].
    pub connections: usize,
    /// The addresses (`scheme://host:port`) from which a browser's page may call.
    pub console_origins: Vec<String>,
    /// Counts what is answered.
    pub tally: Arc<Tally>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            root_password: None,
            api_keys: Vec::new(),
            root_hash: None,
            issued_keys: None,
            tls: None,
            connections: MAX_CONNECTIONS,
            console_origins: Vec::new(),
            tally: Arc::default(),
        }
    }
}

impl std::fmt::Debug for NodeOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeOptions")
            .field("api_keys", &self.api_keys.len())
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// A node that can't serve.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Credentials can't be used.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The user `root` could not be made.
    #[error("the user 'root' could not be created: {0}")]
    Root(EngineError),
    /// Metrics can't be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The listener failed.
    #[error("the node can't listen: {0}")]
    Listen(#[from] std::io::Error),
}

/// The Milvus surface of one cluster.
#[derive(Debug)]
pub struct Node;

impl Node {
    /// Serves the engine on a bound listener until `shutdown`: Milvus' gRPC and REST calls, and over HTTP `/healthz`,
    /// `/readyz` and `/metrics`. The engine stays open.
    pub async fn serve(
        engine: Arc<Engine>,
        options: NodeOptions,
        listener: std::net::TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), NodeError> {
        let auth = Authenticator::new(Arc::clone(&engine) as _, options.root_password, &options.api_keys).await?;
        let auth = Arc::new(auth.with_root_hash(options.root_hash)?.with_issued(options.issued_keys));
        match auth.ensure_root().await {
            // Root is made when it first signs in after the cluster is open again.
            Ok(()) | Err(EngineError::Sealed(_)) => {}
            Err(error) => return Err(NodeError::Root(error)),
        }
        let limits = Limits { connections: options.connections, large_bodies: true, ..Limits::default() };
        let metrics = Arc::new(Metrics::new()?.counting_in(options.tally));
        let connections = metrics.connections.clone();
        let gate = Arc::new(Gate { engine, auth, metrics });
        custody_http::serve(
            listener,
            options.tls,
            router(gate, options.console_origins.into()),
            limits,
            Some(connections),
            shutdown,
        )
        .await?;
        Ok(())
    }
}

fn router(gate: Arc<Gate>, origins: cors::Origins) -> Router {
    let service = Service::new(Arc::clone(&gate.engine), Arc::clone(&gate.auth));
    let rest = rest::router(Arc::clone(&gate), &service);
    let rest = rest.layer(middleware::from_fn_with_state(origins, cors::allow));
    let calls = MilvusServiceServer::new(service)
        .max_decoding_message_size(LARGEST_REQUEST)
        .max_encoding_message_size(LARGEST_ANSWER);
    let calls =
        Router::new().route_service(CALLS, calls).layer(middleware::from_fn_with_state(Arc::clone(&gate), gate::pass));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(gate)
        .nest(envelope::PREFIX, rest)
        .merge(calls)
        .fallback(gate::unknown)
}

/// Whether the cluster can serve. Why it can't is for those alone who are known.
async fn ready(State(gate): State<Arc<Gate>>, headers: HeaderMap) -> Response {
    let status = gate.engine.cluster_zone().status();
    if status.is_usable() {
        return "ready\n".into_response();
    }
    let known = gate.auth.check(headers.get(header::AUTHORIZATION)).await.is_ok();
    let reason = if known { format!("{}\n", EngineError::Sealed(status)) } else { "sealed\n".to_owned() };
    (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
}

/// The figures; off loopback they need a credential.
async fn metrics(State(gate): State<Arc<Gate>>, Extension(peer): Extension<Peer>, headers: HeaderMap) -> Response {
    if !peer.address.ip().to_canonical().is_loopback() {
        let denied = gate.auth.check(headers.get(header::AUTHORIZATION)).await.err();
        if let Some(denied) = denied {
            let status = match denied.code() {
                tonic::Code::Unauthenticated => StatusCode::UNAUTHORIZED,
                tonic::Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            return (status, "metrics need a credential: send it as 'Authorization: Bearer'\n").into_response();
        }
    }
    match gate.metrics.render(&gate.engine).await {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written out");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use custody_store::PlainZones;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn off_loopback_the_figures_are_shown_to_a_credential_alone() {
        let engine = Engine::create(Arc::new(PlainZones::new(Arc::new(InMemory::new())))).await.unwrap();
        let api_key = Zeroizing::new("key-0123456789abcdef0123".to_owned());
        let auth = Authenticator::new(Arc::clone(&engine) as _, None, &[api_key]).await.unwrap();
        let gate = Arc::new(Gate { engine, auth: Arc::new(auth), metrics: Arc::new(Metrics::new().unwrap()) });
        let ask = async |address: &str, credential: Option<&'static str>| {
            let peer = Peer::at(address.parse().unwrap());
            let shown = credential.map(|value| (header::AUTHORIZATION, HeaderValue::from_static(value)));
            metrics(State(Arc::clone(&gate)), Extension(peer), shown.into_iter().collect()).await.status()
        };
        for address in ["192.0.2.1:4000", "[2001:db8::1]:4000", "[::ffff:192.0.2.1]:4000", "10.0.0.1:4000"] {
            assert_eq!(ask(address, None).await, StatusCode::UNAUTHORIZED, "{address}");
            let wrong = Some("Bearer key-0123456789abcdef0124");
            assert_eq!(ask(address, wrong).await, StatusCode::UNAUTHORIZED, "{address}");
            assert_eq!(ask(address, Some("Bearer key-0123456789abcdef0123")).await, StatusCode::OK, "{address}");
        }
        for address in ["127.0.0.1:4000", "[::1]:4000", "[::ffff:127.0.0.1]:4000"] {
            assert_eq!(ask(address, None).await, StatusCode::OK, "{address}");
        }
    }
}
