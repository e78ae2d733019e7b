//! The envelope of Milvus' REST answers, and which HTTP status a refusal has.
//!
//! As in Milvus, an error of the request's meaning comes with HTTP 200 and its own number. What stands before the meaning (who
//! calls, whether there is something to call, whether the body can be read) has a status of its own.

use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use tonic::{Code, Status};

use crate::errors::{MilvusCode, short};

/// Where the REST calls begin.
pub(crate) const PREFIX: &str = "/v2/vectordb";

/// Whether a request is a REST call, by its path.
pub(crate) fn is_rest(request: &Request) -> bool {
    let rest = request.uri().path().strip_prefix(PREFIX);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A JSON text as an answer.
pub(crate) fn json_answer(status: StatusCode, text: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// An error, with the HTTP status it comes with.
pub(crate) fn error(status: StatusCode, code: MilvusCode, reason: String) -> Response {
    json_answer(status, json!({ "code": code as i32, "message": short(reason) }).to_string().into_bytes())
}

/// What gRPC tells in its status, over HTTP.
pub(crate) fn refused(refusal: &Status) -> Response {
    let (status, code) = match refusal.code() {
        Code::Unauthenticated => (StatusCode::UNAUTHORIZED, MilvusCode::NeedAuthenticate),
        Code::PermissionDenied => (StatusCode::FORBIDDEN, MilvusCode::PrivilegeNotPermitted),
        Code::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, MilvusCode::HttpRateLimit),
        Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, MilvusCode::ServiceUnavailable),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, MilvusCode::ServiceInternal),
    };
    let mut response = error(status, code, refusal.message().to_owned());
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn only_paths_below_the_prefix_are_rest() {
        let asked = |path: &str| is_rest(&Request::builder().uri(path).body(Body::empty()).unwrap());
        assert!(asked("/v2/vectordb") && asked("/v2/vectordb/collections/list"));
        assert!(!asked("/v2/vectordbs") && !asked("/") && !asked("/x/v2/vectordb/collections/list"));
    }

    #[test]
    fn a_refusal_has_the_status_that_http_clients_look_at() {
        for (code, status) in [
            (Code::Unauthenticated, StatusCode::UNAUTHORIZED),
            (Code::PermissionDenied, StatusCode::FORBIDDEN),
            (Code::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS),
            (Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
            (Code::Internal, StatusCode::INTERNAL_SERVER_ERROR),
        ] {
            assert_eq!(refused(&Status::new(code, "why")).status(), status);
        }
    }
}
