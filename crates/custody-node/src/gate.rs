//! What stands before every call: who calls, how it went, and gRPC's words for what is not there.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use axum::{
    extract::{Request, State},
    http::{
        HeaderValue,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use custody_engine::{Engine, EngineError};
use custody_http::Peer;
use futures::FutureExt;
use tonic::{Code, Status};
use tracing::Instrument;

use crate::{
    auth::{Authenticator, Caller, Denied},
    limits::LARGEST_REQUEST,
    metrics::Metrics,
    service::{self, CALLS, InBand},
};

/// What a client is told when the node itself is at fault.
pub(crate) const FAULT: &str = "the call ended in a fault of the node; it is logged";

/// What calls without an implementation answer.
const DEFAULT_BODY: &str = "Not yet implemented";
/// What tonic and prost say of bytes that are no message.
const UNREADABLE: [&str; 3] =
    ["failed to decode Protobuf message", "protocol error: received message with", "Unexpected EOF decoding stream"];

/// What the gate looks at.
pub(crate) struct Gate {
    pub(crate) engine: Arc<Engine>,
    pub(crate) auth: Arc<Authenticator>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Gate {
    /// Who calls. Of a sealed cluster a stranger learns that it is sealed, and those who are known learn why.
    pub(crate) async fn admit(&self, credential: Option<HeaderValue>) -> Result<Caller, Status> {
        let caller = self.auth.check(credential.as_ref()).await.map_err(|denied| {
            self.metrics.denied(reason(&denied));
            Status::new(denied.code(), denied.to_string())
        })?;
        let status = self.engine.cluster_zone().status();
        if !status.is_usable() {
            return Err(Status::unavailable(EngineError::Sealed(status).to_string()));
        }
        Ok(caller)
    }

    /// Lets a call through to `run`, or not. A panic in there ends the call and nothing else.
    pub(crate) async fn let_in<F: Future<Output = Response>>(
        &self,
        call: Option<&'static str>,
        reads: bool,
        mut request: Request,
        run: impl FnOnce(Request) -> F,
    ) -> Result<Response, Status> {
        // Taken out: nothing behind the gate needs the credential, so nothing can log it.
        let credential = request.headers_mut().remove(AUTHORIZATION);
        let caller = self.admit(credential).await?;
        if let Some(peer) = request.extensions().get::<Peer>() {
            peer.is_known();
        }
        if caller.only_reads() && call.is_some() && !reads {
            return Err(Status::permission_denied("this API key may only read: use one that may write"));
        }
        request.extensions_mut().insert(caller);
        let span = tracing::debug_span!("call", call = call.unwrap_or("other"));
        AssertUnwindSafe(run(request)).catch_unwind().instrument(span).await.map_err(|_| {
            tracing::error!(call = call.unwrap_or("other"), "a call ended in a fault of the node");
            Status::internal(FAULT)
        })
    }

    /// Writes down how a call went: its gRPC code, and the number of an error that the reply itself tells.
    pub(crate) fn answered(&self, call: Option<&'static str>, code: Code, error: Option<i32>, started: Instant) {
        let took = started.elapsed();
        tracing::debug!(call = call.unwrap_or("other"), ?code, error, micros = took.as_micros(), "answered");
        self.metrics.answered(call, code, error, took);
    }
}

fn reason(denied: &Denied) -> &'static str {
    match denied {
        Denied::Missing => "missing",
        Denied::Wrong => "wrong",
        Denied::Throttled(_) => "throttled",
        Denied::Busy => "busy",
        Denied::Sealed => "sealed",
        Denied::Unchecked => "unchecked",
    }
}

/// Lets a gRPC call through, or not.
pub(crate) async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let _in_flight = gate.metrics.begin();
    let asked = call_name(request.uri().path());
    let call = CALLS.iter().copied().find(|call| *call == asked);
    let reads = call.is_some_and(service::reads);
    let response = gate.let_in(call, reads, request, |request| next.run(request)).await;
    let response = in_our_words(response.unwrap_or_else(Status::into_http), &asked);
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    let error = response.extensions().get::<InBand>().map(|error| error.0);
    gate.answered(call, code, error, started);
    response
}

/// Whether a request is a gRPC call.
pub(crate) fn is_grpc(request: &Request) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/grpc"))
}

/// The last part of a call's path. It comes from the client, so that no more is kept of it than a name can have.
fn call_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.chars().filter(char::is_ascii_alphanumeric).take(64).collect()
}

/// Says what the libraries below say in words that help the reader.
fn in_our_words(response: Response, call: &str) -> Response {
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    match status.code() {
        Code::Unimplemented if status.message() == DEFAULT_BODY || status.message().is_empty() => not_implemented(call),
        // A client that sends what is no message of this call: no fault of the node, and no retry helps.
        Code::Internal if UNREADABLE.iter().any(|words| status.message().contains(words)) => {
            Status::invalid_argument(format!("the request can't be read: {}", status.message())).into_http()
        }
        // Clients retry what is out of range; a request that is too large won't get smaller.
        Code::OutOfRange if status.message().contains("decoded message length too large") => {
            let megabytes = LARGEST_REQUEST / (1024 * 1024);
            Status::resource_exhausted(format!("the request is larger than {megabytes} MiB: send fewer rows at once"))
                .into_http()
        }
        _ => response,
    }
}

/// The answer to a call that Custody does not have.
pub(crate) fn not_implemented(call: &str) -> Response {
    Status::unimplemented(format!("{call} is not implemented by Custody")).into_http()
}

/// The answer to a gRPC call of another service.
pub(crate) async fn unknown(request: Request) -> Response {
    if is_grpc(&request) {
        return not_implemented(&call_name(request.uri().path()));
    }
    (axum::http::StatusCode::NOT_FOUND, "not found\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_name_from_a_client_is_cut_to_what_a_name_can_have() {
        assert_eq!(call_name("/milvus.proto.milvus.MilvusService/HybridSearch"), "HybridSearch");
        assert_eq!(call_name("/x/%0aevil\nname"), "0aevilname");
        assert_eq!(call_name(&format!("/x/{}", "a".repeat(1_000))).len(), 64);
        assert_eq!(call_name("/"), "");
    }

    #[test]
    fn an_unimplemented_call_is_named() {
        let bare: Response = Status::unimplemented("Not yet implemented").into_http();
        let response = in_our_words(bare, "HybridSearch");
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::Unimplemented);
        assert_eq!(status.message(), "HybridSearch is not implemented by Custody");
    }

    #[test]
    fn a_request_that_is_too_large_is_told_so_and_not_to_try_again() {
        let bare: Response = Status::out_of_range("Error, decoded message length too large: found 9 bytes").into_http();
        let status = Status::from_header_map(in_our_words(bare, "Insert").headers()).unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.message().contains("64 MiB"));
    }

    #[test]
    fn bytes_that_are_no_message_are_the_callers_fault() {
        let bare: Response = Status::internal("failed to decode Protobuf message: invalid wire type").into_http();
        let status = Status::from_header_map(in_our_words(bare, "Insert").headers()).unwrap();
        assert_eq!(status.code(), Code::InvalidArgument);
        let fault: Response = Status::internal(FAULT).into_http();
        let status = Status::from_header_map(in_our_words(fault, "Insert").headers()).unwrap();
        assert_eq!((status.code(), status.message()), (Code::Internal, FAULT));
    }

    #[test]
    fn a_compression_that_is_not_spoken_is_not_taken_for_a_call_that_is_missing() {
        let words = "Content is compressed with `gzip` which isn't supported";
        let bare: Response = Status::unimplemented(words).into_http();
        let status = Status::from_header_map(in_our_words(bare, "Insert").headers()).unwrap();
        assert_eq!((status.code(), status.message()), (Code::Unimplemented, words));
    }

    #[test]
    fn other_answers_stay_as_they_are() {
        let bare: Response = Status::out_of_range("row 9").into_http();
        let status = Status::from_header_map(in_our_words(bare, "Insert").headers()).unwrap();
        assert_eq!((status.code(), status.message()), (Code::OutOfRange, "row 9"));
    }
}
