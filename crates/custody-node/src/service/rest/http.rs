//! REST calls as HTTP requests: what is looked at before the body, the body, and the answer.
//!
//! The caller is known before anything of the body is read, so that a stranger sends none.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    body::{Body as HttpBody, HttpBody as _},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
};
use futures::StreamExt;
use tonic::Code;

use super::{
    super::{Adapter, Call, Service},
    CALLS, Refused, perform, reads,
};
use crate::{
    auth::Caller,
    envelope,
    errors::{Failure, MilvusCode},
    gate::Gate,
    limits::{LARGEST_ANSWER, LARGEST_REQUEST},
};

/// The database of a call that names none in its body.
const DATABASE: &str = "db-name";
/// `false` asks for integers of 64 bits as text, for readers whose numbers are doubles.
const INT64: &str = "accept-type-allow-int64";

struct Rest {
    gate: Arc<Gate>,
    node: Arc<Adapter>,
}

/// The calls below [`envelope::PREFIX`], to be nested there.
pub(crate) fn router(gate: Arc<Gate>, service: &Service) -> Router {
    Router::new().fallback(handle).with_state(Arc::new(Rest { gate, node: Arc::clone(&service.0) }))
}

/// How a call went, for metrics; see [`Gate::answered`].
#[derive(Clone, Copy)]
struct Told(Code, Option<i32>);

async fn handle(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    let started = Instant::now();
    let _in_flight = rest.gate.metrics.begin();
    let asked = request.uri().path().strip_prefix('/');
    let call = CALLS.iter().copied().find(|call| Some(*call) == asked);
    let answered =
        rest.gate.let_in(call, call.is_some_and(reads), request, |request| answer(&rest.node, call, request)).await;
    let response = answered.unwrap_or_else(|status| told(envelope::refused(&status), status.code(), None));
    let Told(code, error) = response.extensions().get().copied().unwrap_or(Told(Code::Unknown, None));
    rest.gate.answered(call, code, error, started);
    response
}

fn told(mut response: Response, code: Code, error: Option<i32>) -> Response {
    response.extensions_mut().insert(Told(code, error));
    response
}

/// A refusal with a status of its own.
fn refuse(status: StatusCode, code: Code, reason: impl Into<String>) -> Response {
    told(envelope::error(status, MilvusCode::IncorrectParameterFormat, reason.into()), code, None)
}

async fn answer(node: &Arc<Adapter>, call: Option<&'static str>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Some(path) = call else { return unknown(head.uri.path()) };
    if head.method != Method::POST {
        let mut response =
            refuse(StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, format!("{path} is called with POST"));
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    if !body.is_end_stream() && !is_json(&head.headers) {
        let reason = "send JSON, uncompressed, with the header 'Content-Type: application/json'";
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, reason);
    }
    let Some(database) = database(&head.headers) else {
        return refuse(StatusCode::BAD_REQUEST, Code::InvalidArgument, "the header 'DB-Name' must be plain ASCII text");
    };
    let Some(caller) = head.extensions.get::<Caller>().cloned() else {
        // The gate in front lets nobody in without one.
        let status = tonic::Status::unauthenticated("authentication is required");
        return told(envelope::refused(&status), status.code(), None);
    };
    let bytes = match read(body).await {
        Ok(bytes) => bytes,
        Err(response) => return response,
    };
    let int64_as_text = head.headers.get(INT64).is_some_and(|value| value == "false");
    let answered = perform(Arc::clone(node), Call { database, caller }, path, bytes).await;
    match answered.and_then(|answer| Ok(answer.write(int64_as_text, LARGEST_ANSWER)?)) {
        Ok(text) => told(envelope::json_answer(StatusCode::OK, text), Code::Ok, None),
        Err(Refused::Unknown) => unknown(path),
        Err(Refused::Unreadable(reason)) => refuse(StatusCode::BAD_REQUEST, Code::InvalidArgument, reason),
        Err(Refused::Failed(Failure::Reply(code, reason))) => {
            told(envelope::error(StatusCode::OK, code, reason), Code::Ok, Some(code as i32))
        }
        Err(Refused::Failed(Failure::Grpc(code, reason))) => {
            told(envelope::refused(&tonic::Status::new(code, reason)), code, None)
        }
    }
}

/// The answer to a call that is not there. Its name comes from the client, so that no more is told of it than a name can have.
fn unknown(path: &str) -> Response {
    let plain = |letter: &char| letter.is_ascii_alphanumeric() || "_/".contains(*letter);
    let name: String = path.trim_start_matches('/').chars().filter(plain).take(64).collect();
    refuse(StatusCode::NOT_FOUND, Code::Unimplemented, format!("{name} is not implemented by Custody"))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let plain = headers.get(header::CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
    plain && kind.eq_ignore_ascii_case("application/json")
}

/// The database that a header names, if any; `None` if it can't be read: taken for no name it would send the call to the
/// default database.
fn database(headers: &HeaderMap) -> Option<String> {
    match headers.get(DATABASE) {
        None => Some(String::new()),
        Some(name) => name.to_str().ok().map(str::to_owned),
    }
}

async fn read(body: HttpBody) -> Result<Vec<u8>, Response> {
    let too_large = || {
        let megabytes = LARGEST_REQUEST / (1024 * 1024);
        let reason = format!("the request is larger than {megabytes} MiB: send fewer rows at once");
        refuse(StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted, reason)
    };
    if body.size_hint().lower() > LARGEST_REQUEST as u64 {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece
            .map_err(|_| refuse(StatusCode::BAD_REQUEST, Code::InvalidArgument, "the body broke off before its end"))?;
        if bytes.len() + piece.len() > LARGEST_REQUEST {
            return Err(too_large());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
