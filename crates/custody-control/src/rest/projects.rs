//! Projects, and what was done in them.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    answer::{Data, Error, data},
    body::{Body, Ids, Parameters},
    who::Who,
};
use crate::{Control, DecryptedRestore, Project, Refused, audit::Activity};

pub(super) fn router() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(describe, delete))
        .routes(routes!(set_plan))
        .routes(routes!(set_decrypted_restore))
        .routes(routes!(activities))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewProject {
    /// 1 to 200 characters.
    project_name: String,
    /// `Free`, `Serverless`, `Standard`, `Enterprise` or `BusinessCritical`.
    plan: String,
    /// Accepted as Zilliz's clients send it; a project is of every region.
    #[serde(default)]
    #[expect(dead_code, reason = "accepted, and of no effect")]
    region_ids: Vec<String>,
}

/// Makes a project; answers with its id.
#[utoipa::path(
    post,
    path = "/v2/projects",
    tag = "projects",
    request_body = NewProject,
    responses(
        (status = 200, body = Data<String>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 409, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn create(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Body(new): Body<NewProject>,
) -> Result<Json<Data<String>>, Refused> {
    Ok(data(control.create_project(&caller, &new.project_name, new.plan.parse()?).await?))
}

/// The projects.
#[utoipa::path(
    get,
    path = "/v2/projects",
    tag = "projects",
    responses((status = 200, body = Data<Vec<Project>>), (status = 401, body = Error)),
    security(("apiKey" = []))
)]
async fn list(State(control): State<Arc<Control>>, Who(caller): Who) -> Result<Json<Data<Vec<Project>>>, Refused> {
    Ok(data(control.projects(&caller).await?))
}

/// A project.
#[utoipa::path(
    get,
    path = "/v2/projects/{projectId}",
    tag = "projects",
    params(("projectId" = String, Path)),
    responses((status = 200, body = Data<Project>), (status = 400, body = Error), (status = 401, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn describe(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(project): Ids<String>,
) -> Result<Json<Data<Project>>, Refused> {
    Ok(data(control.project(&caller, &project).await?))
}

/// Deletes a project that has no cluster, no backup and no key.
#[utoipa::path(
    delete,
    path = "/v2/projects/{projectId}",
    tag = "projects",
    params(("projectId" = String, Path)),
    responses(
        (status = 200, body = Data<String>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
        (status = 409, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn delete(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(project): Ids<String>,
) -> Result<Json<Data<String>>, Refused> {
    control.delete_project(&caller, &project).await?;
    Ok(data(project))
}

#[derive(Deserialize, ToSchema)]
struct NewPlan {
    /// `Free`, `Serverless`, `Standard`, `Enterprise` or `BusinessCritical`.
    plan: String,
}

/// Changes a project's plan.
#[utoipa::path(
    patch,
    path = "/v2/projects/{projectId}/plan",
    tag = "projects",
    params(("projectId" = String, Path)),
    request_body = NewPlan,
    responses(
        (status = 200, body = Data<String>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
        (status = 409, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn set_plan(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(project): Ids<String>,
    Body(new): Body<NewPlan>,
) -> Result<Json<Data<String>>, Refused> {
    control.set_plan(&caller, &project, new.plan.parse()?).await?;
    Ok(data(project))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewDecryptedRestore {
    decrypted_restore: DecryptedRestore,
}

/// Decides whether encrypted backups of the project may be restored without encryption. It takes who manages its keys.
#[utoipa::path(
    patch,
    path = "/v2/projects/{projectId}/decryptedRestore",
    tag = "projects",
    params(("projectId" = String, Path)),
    request_body = NewDecryptedRestore,
    responses(
        (status = 200, body = Data<String>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn set_decrypted_restore(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(project): Ids<String>,
    Body(new): Body<NewDecryptedRestore>,
) -> Result<Json<Data<String>>, Refused> {
    control.set_decrypted_restore(&caller, &project, new.decrypted_restore).await?;
    Ok(data(project))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Page {
    /// Only entries before this one.
    before: Option<i64>,
    /// At most so many, 1 to 1,000.
    limit: Option<i64>,
}

/// The activity log, newest first.
#[utoipa::path(
    get,
    path = "/v2/projects/{projectId}/activities",
    tag = "projects",
    params(("projectId" = String, Path), Page),
    responses((status = 200, body = Data<Vec<Activity>>), (status = 400, body = Error), (status = 401, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn activities(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(project): Ids<String>,
    Parameters(page): Parameters<Page>,
) -> Result<Json<Data<Vec<Activity>>>, Refused> {
    let limit = page.limit.unwrap_or(100).clamp(1, 1_000);
    Ok(data(control.activities(&caller, &project, page.before.unwrap_or(i64::MAX), limit).await?))
}
