//! Jobs.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    answer::{Data, Error, data},
    body::{Ids, Parameters},
    who::Who,
};
use crate::{Control, Refused, job::Job};

pub(super) fn router() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new().routes(routes!(describe)).routes(routes!(cancel)).routes(routes!(list))
}

/// A job.
#[utoipa::path(
    get,
    path = "/v2/jobs/{jobId}",
    tag = "jobs",
    params(("jobId" = String, Path)),
    responses((status = 200, body = Data<Job>), (status = 400, body = Error), (status = 401, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn describe(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(job): Ids<String>,
) -> Result<Json<Data<Job>>, Refused> {
    Ok(data(control.job(&caller, &job).await?))
}

/// Takes a job back: a backup or a restore. One that has not begun is canceled with this; one that is under way undoes what it
/// has made, unless it is done before.
#[utoipa::path(
    post,
    path = "/v2/jobs/{jobId}/cancel",
    tag = "jobs",
    params(("jobId" = String, Path)),
    responses(
        (status = 200, body = Data<Job>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
        (status = 409, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn cancel(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(job): Ids<String>,
) -> Result<Json<Data<Job>>, Refused> {
    Ok(data(control.cancel_job(&caller, &job).await?))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Newest {
    /// At most so many, 1 to 1,000.
    limit: Option<i64>,
}

/// The jobs of a project, newest first.
#[utoipa::path(
    get,
    path = "/v2/projects/{projectId}/jobs",
    tag = "jobs",
    params(("projectId" = String, Path), Newest),
    responses((status = 200, body = Data<Vec<Job>>), (status = 400, body = Error), (status = 401, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn list(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(project): Ids<String>,
    Parameters(newest): Parameters<Newest>,
) -> Result<Json<Data<Vec<Job>>>, Refused> {
    let limit = newest.limit.unwrap_or(100).clamp(1, 1_000);
    Ok(data(control.jobs(&caller, &project, limit).await?))
}
