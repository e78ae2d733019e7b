//! Customer-managed keys: what to set up, the proof, and the keys of a project.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    answer::{Data, Error, data},
    body::{Body, Ids, Parameters},
    live,
    who::Who,
};
use crate::{
    Control, Refused,
    cmek::{Allow, Key, KeyChange, KeyStatusChange, KmsCall, Listed, NewKey, Part, Recovery, Setup, Typed, Validation},
};

pub(super) fn router() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(setup))
        .routes(routes!(roles))
        .routes(routes!(validate))
        .routes(routes!(add, list))
        .routes(routes!(describe, change, delete))
        .routes(routes!(check))
        .routes(routes!(ledger))
        .routes(routes!(statuses))
}

/// What has been typed so far.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct SoFar {
    /// `aws` or `local`.
    provider: String,
    /// Where the key is or will be; the provider's first region if it is left out.
    region_id: Option<String>,
    /// The name of the role that is to be made, or is extended.
    role_name: Option<String>,
    /// The role's ARN, once there is a role: it names the role then, whatever `roleName` says.
    role_arn: Option<String>,
    /// The key's ARN, once there is a key.
    key_arn: Option<String>,
}

/// The documents and commands of the dialog, with what has been typed so far. Of AWS there are none (503) while it is not known
/// whom a role has to trust.
#[utoipa::path(
    get,
    path = "/v2/projects/{projectId}/cmek/setup",
    tag = "cmek",
    params(("projectId" = String, Path), SoFar),
    responses((status = 200, body = Data<Setup>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error), (status = 503, body = Error)),
    security(("apiKey" = []))
)]
async fn setup(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(project): Ids<String>,
    Parameters(typed): Parameters<SoFar>,
) -> Result<Json<Data<Setup>>, Refused> {
    let typed = Typed {
        provider: typed.provider,
        region_id: typed.region_id,
        role_name: typed.role_name,
        role_arn: typed.role_arn,
        key_arn: typed.key_arn,
    };
    Ok(data(control.key_setup(&caller, &project, &typed).await?))
}

/// The roles that keys of the project are reached by.
#[utoipa::path(
    get,
    path = "/v2/projects/{projectId}/cmek/roles",
    tag = "cmek",
    params(("projectId" = String, Path)),
    responses((status = 200, body = Data<Vec<String>>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn roles(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(project): Ids<String>,
) -> Result<Json<Data<Vec<String>>>, Refused> {
    Ok(data(control.key_roles(&caller, &project).await?))
}

/// A key as it is typed in.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Given {
    /// `aws` or `local`.
    provider: String,
    /// Where the key is, such as `aws-us-west-2`.
    region_id: String,
    /// The key's ARN, its id, or an alias of it.
    key_arn: String,
    /// The role that may use it; of an AWS key.
    role_arn: Option<String>,
    /// What people call it.
    name: Option<String>,
    /// What it may protect; everything in the project, if it is left out. A key for databases alone is a tenant's, and does not
    /// count among a project's keys.
    allow: Option<Allow>,
}

impl From<Given> for NewKey {
    fn from(given: Given) -> Self {
        let Given { provider, region_id, key_arn, role_arn, name, allow } = given;
        Self { provider, region_id, key_arn, role_arn, name, allow }
    }
}

/// Proves a key: each check by itself, with its mend. Nothing is stored. While something is denied, it is tried again for a
/// minute: AWS takes a while to spread a change of a policy.
///
/// With `Accept: application/x-ndjson` the answer comes as it comes about, one JSON object a line: `{"check":…}` as each check
/// ends (one of the same name that ends later takes its place), `{"waiting":{"secondsLeft":N}}` each second while something was
/// denied and all checks will be made again, and at the end `{"validation":…}`, or `{"error":{"code":…,"message":…}}`.
#[utoipa::path(
    post,
    path = "/v2/projects/{projectId}/cmek/keys/validate",
    tag = "cmek",
    params(("projectId" = String, Path)),
    request_body = Given,
    responses((status = 200, content((Data<Validation> = "application/json"), (String = "application/x-ndjson"))), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn validate(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(project): Ids<String>,
    headers: HeaderMap,
    Body(given): Body<Given>,
) -> Result<Response, Refused> {
    let accepts = headers.get(header::ACCEPT).and_then(|kinds| kinds.to_str().ok());
    if accepts.is_some_and(|kinds| kinds.contains(live::KIND)) {
        return live::validate(control, caller, project, given.into()).await;
    }
    Ok(data(control.validate_key(&caller, &project, &given.into(), &|_| {}).await?).into_response())
}

/// The id of a new key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Added {
    key_id: String,
}

/// Adds a key; refused unless every check passes.
#[utoipa::path(
    post,
    path = "/v2/projects/{projectId}/cmek/keys",
    tag = "cmek",
    params(("projectId" = String, Path)),
    request_body = Given,
    responses((status = 200, body = Data<Added>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error), (status = 409, body = Error)),
    security(("apiKey" = []))
)]
async fn add(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(project): Ids<String>,
    Body(given): Body<Given>,
) -> Result<Json<Data<Added>>, Refused> {
    Ok(data(Added { key_id: control.add_key(&caller, &project, &given.into()).await? }))
}

/// The keys of a project.
#[derive(Serialize, ToSchema)]
struct KeyList {
    keys: Vec<Key>,
}

/// The keys of a project.
#[utoipa::path(
    get,
    path = "/v2/projects/{projectId}/cmek/keys",
    tag = "cmek",
    params(("projectId" = String, Path)),
    responses((status = 200, body = Data<KeyList>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn list(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(project): Ids<String>,
) -> Result<Json<Data<KeyList>>, Refused> {
    Ok(data(KeyList { keys: control.keys(&caller, &project).await? }))
}

/// A key.
#[utoipa::path(
    get,
    path = "/v2/projects/{projectId}/cmek/keys/{keyId}",
    tag = "cmek",
    params(("projectId" = String, Path), ("keyId" = String, Path)),
    responses((status = 200, body = Data<Key>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn describe(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids((project, key)): Ids<(String, String)>,
) -> Result<Json<Data<Key>>, Refused> {
    Ok(data(control.key(&caller, &project, &key).await?))
}

/// Looks at a key now; answers with what was found.
#[utoipa::path(
    post,
    path = "/v2/projects/{projectId}/cmek/keys/{keyId}/check",
    tag = "cmek",
    params(("projectId" = String, Path), ("keyId" = String, Path)),
    responses((status = 200, body = Data<Key>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn check(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids((project, key)): Ids<(String, String)>,
) -> Result<Json<Data<Key>>, Refused> {
    Ok(data(control.check_key(&caller, &project, &key).await?))
}

/// What a key's owner decides; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WantedKeyChange {
    /// What people call it.
    name: Option<String>,
    /// How long its clusters go on without an answer of KMS: `0s` to `24h`.
    grace: Option<String>,
    /// Whether its clusters open again by themselves after a revocation.
    recovery: Option<Recovery>,
    /// What it may protect.
    allow: Option<Allow>,
}

/// Changes what its owner decides about a key. A tenant's key that may protect clusters from now on counts among the project's
/// keys, and is refused (409) where it would be one too many.
#[utoipa::path(
    patch,
    path = "/v2/projects/{projectId}/cmek/keys/{keyId}",
    tag = "cmek",
    params(("projectId" = String, Path), ("keyId" = String, Path)),
    request_body = WantedKeyChange,
    responses((status = 200, body = Data<Key>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error), (status = 409, body = Error)),
    security(("apiKey" = []))
)]
async fn change(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids((project, key)): Ids<(String, String)>,
    Body(wanted): Body<WantedKeyChange>,
) -> Result<Json<Data<Key>>, Refused> {
    let grace = wanted.grace.as_deref().map(|text| {
        let grace = humantime_serde::re::humantime::parse_duration(text);
        grace.map_err(|error| {
            Refused::invalid(format!("grace {text:?} is no length of time such as 90s or 1h: {error}"))
        })
    });
    let grace = grace.transpose()?.map(|grace| i64::try_from(grace.as_secs()).unwrap_or(i64::MAX));
    let WantedKeyChange { name, recovery, allow, .. } = wanted;
    let wanted = KeyChange { name, grace_seconds: grace, recovery, allow };
    Ok(data(control.change_key(&caller, &project, &key, wanted).await?))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Force {
    /// The ids of the backups that need the key, exactly, with commas between them: they can't be restored without it.
    #[serde(default)]
    force: String,
}

/// Deletes a key that nothing lives under. The key in KMS stays.
#[utoipa::path(
    delete,
    path = "/v2/projects/{projectId}/cmek/keys/{keyId}",
    tag = "cmek",
    params(("projectId" = String, Path), ("keyId" = String, Path), Force),
    responses((status = 200, body = Data<String>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error), (status = 409, body = Error)),
    security(("apiKey" = []))
)]
async fn delete(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids((project, key)): Ids<(String, String)>,
    Parameters(Force { force }): Parameters<Force>,
) -> Result<Json<Data<String>>, Refused> {
    let force: Vec<String> = force.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect();
    control.delete_key(&caller, &project, &key, &force).await?;
    Ok(data(key))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Newest {
    /// Only what is older: the `next` of the answer before.
    before: Option<i64>,
    /// At most so many, 1 to 10,000.
    limit: Option<i64>,
}

impl Newest {
    fn part(&self) -> Part {
        Part { before: self.before.unwrap_or(i64::MAX), limit: self.limit.unwrap_or(1_000).clamp(1, 10_000) }
    }
}

/// Calls to KMS and STS about a key, newest first, with AWS's request ids.
#[derive(Serialize, ToSchema)]
struct Ledger {
    calls: Vec<KmsCall>,
    /// What to give as `before` for older ones; nothing if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

/// The calls to KMS and STS about a key, newest first; all that are kept, page by page.
#[utoipa::path(
    get,
    path = "/v2/projects/{projectId}/cmek/keys/{keyId}/ledger",
    tag = "cmek",
    params(("projectId" = String, Path), ("keyId" = String, Path), Newest),
    responses((status = 200, body = Data<Ledger>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn ledger(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids((project, key)): Ids<(String, String)>,
    Parameters(newest): Parameters<Newest>,
) -> Result<Json<Data<Ledger>>, Refused> {
    let part = newest.part();
    let Listed { items: calls, next } = control.key_ledger(&caller, &project, &key, part).await?;
    Ok(data(Ledger { calls, next }))
}

/// What a key's status was, newest first.
#[derive(Serialize, ToSchema)]
struct Statuses {
    statuses: Vec<KeyStatusChange>,
    /// What to give as `before` for older ones; nothing if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

/// What a key's status was since it was added, newest first, page by page.
#[utoipa::path(
    get,
    path = "/v2/projects/{projectId}/cmek/keys/{keyId}/statuses",
    tag = "cmek",
    params(("projectId" = String, Path), ("keyId" = String, Path), Newest),
    responses((status = 200, body = Data<Statuses>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn statuses(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids((project, key)): Ids<(String, String)>,
    Parameters(newest): Parameters<Newest>,
) -> Result<Json<Data<Statuses>>, Refused> {
    let part = newest.part();
    let Listed { items: statuses, next } = control.key_statuses(&caller, &project, &key, part).await?;
    Ok(data(Statuses { statuses, next }))
}
