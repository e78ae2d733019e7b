//! The envelope of all answers: `{"code":0,"data":…}`, or `{"code":N,"message":"…"}` under a fitting HTTP status.

use axum::{
    Json,
    body::{Body, to_bytes},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Refused;

/// The longest text of a library that is put into the envelope.
const LONGEST: usize = 4_096;

/// An answer with data.
#[derive(Serialize, ToSchema)]
pub(super) struct Data<T> {
    /// Always 0.
    #[schema(maximum = 0, minimum = 0)]
    code: u16,
    data: T,
}

/// An answer with data.
pub(super) fn data<T>(data: T) -> Json<Data<T>> {
    Json(Data { code: 0, data })
}

/// A refusal.
#[derive(Serialize, ToSchema)]
pub(super) struct Error {
    /// The HTTP status.
    #[schema(minimum = 400)]
    code: u16,
    /// What failed, why, and what to do.
    message: String,
}

fn error(status: StatusCode, message: String) -> Response {
    (status, Json(Error { code: status.as_u16(), message })).into_response()
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self { code: refused.kind.status().as_u16(), message: refused.message }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        error(self.kind.status(), self.message)
    }
}

/// Puts what a library refused by itself into the envelope.
pub(super) async fn in_the_envelope(response: Response) -> Response {
    let status = response.status();
    let json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let text = to_bytes(body, LONGEST).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let message = if text.is_empty() { status.to_string() } else { text };
    head.headers.remove(header::CONTENT_LENGTH);
    let rewritten = error(status, message);
    let (new, body) = rewritten.into_parts();
    head.headers.extend(new.headers);
    Response::from_parts(head, Body::new(body))
}
