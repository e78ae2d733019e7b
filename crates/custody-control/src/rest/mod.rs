//! REST v2: Zilliz's paths, names and envelope over the services of [`Control`]. Nothing is decided here.

mod access;
mod alerts;
mod answer;
mod backups;
mod body;
mod clusters;
mod jobs;
mod keys;
mod live;
mod metrics;
mod projects;
mod regions;
mod who;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{Control, Kind, Refused};
use who::Credentials;

/// The largest request: names, ARNs and rules are all that is ever sent.
const LARGEST_REQUEST: usize = 64 * 1024;

/// What the description says of the whole.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Custody control plane",
        description = "Projects, customer-managed keys and encrypted clusters. Every call but signing in, the probes and this \
                       description needs `Authorization: Bearer <API key>`. Times are milliseconds since 1970."
    ),
    modifiers(&Credentials)
)]
struct Description;

/// Serves the control plane.
pub fn router(control: Arc<Control>) -> Router {
    let (router, description) = OpenApiRouter::with_openapi(Description::openapi())
        .merge(regions::router())
        .merge(access::router())
        .merge(projects::router())
        .merge(keys::router())
        .merge(alerts::router())
        .merge(clusters::router())
        .merge(backups::router())
        .merge(jobs::router())
        .merge(metrics::router())
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .split_for_parts();
    let description = Arc::new(description);
    router
        .route("/openapi.json", get(async move || Json(description.as_ref().clone())))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::map_response(answer::in_the_envelope))
        .layer(middleware::map_response_with_state(Arc::clone(&control), count))
        .layer(DefaultBodyLimit::max(LARGEST_REQUEST))
        .with_state(control)
}

/// The process is alive.
#[utoipa::path(get, path = "/healthz", tag = "service", responses((status = 200, body = String, content_type = "text/plain")))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// The control plane can serve: its database answers.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "service",
    responses((status = 200, body = String, content_type = "text/plain"), (status = 503, body = answer::Error))
)]
async fn readyz(State(control): State<Arc<Control>>) -> Result<&'static str, Refused> {
    control.ready().await?;
    Ok("ready\n")
}

async fn count(State(control): State<Arc<Control>>, response: Response) -> Response {
    control.requests.count(response.status().as_u16());
    response
}

async fn unknown() -> Refused {
    Refused::new(Kind::NotFound, "there is no such call: GET /openapi.json lists them all")
}

async fn wrong_method() -> Response {
    let message = "this path has no such method: GET /openapi.json lists them all";
    (StatusCode::METHOD_NOT_ALLOWED, message).into_response()
}
