//! Users, API keys, and signing in from a browser.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use zeroize::Zeroizing;

use super::{
    answer::{Data, Error, data},
    body::{Body, Ids, Parameters},
    who::Who,
};
use crate::{
    Control, Refused,
    access::{ApiKeyInfo, Grant, NewApiKey, Role, UserInfo},
    browser,
};

pub(super) fn router() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new()
        .routes(routes!(create_api_key, list_api_keys))
        .routes(routes!(delete_api_key))
        .routes(routes!(create_user, list_users))
        .routes(routes!(delete_user))
        .routes(routes!(set_password))
        .routes(routes!(give_role, take_role))
        .routes(routes!(sign_in, sign_out))
}

/// An API key that is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WantedApiKey {
    name: String,
    /// `Owner`, `ProjectAdmin`, `ProjectReadWrite`, `ProjectReadOnly` or `KeyCustodian`.
    role: String,
    /// The project; every project if it is left out.
    project_id: Option<String>,
    /// When it ends.
    expires_at: Option<i64>,
}

/// A new API key, shown once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewSecret {
    api_key_id: String,
    /// The key itself. It can't be had again.
    api_key: String,
}

/// Makes an API key.
#[utoipa::path(
    post,
    path = "/v2/apiKeys",
    tag = "access",
    request_body = WantedApiKey,
    responses((status = 200, body = Data<NewSecret>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn create_api_key(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Body(wanted): Body<WantedApiKey>,
) -> Result<Json<Data<NewSecret>>, Refused> {
    let grant = Grant::new(wanted.role.parse()?, wanted.project_id)?;
    let new = NewApiKey { name: wanted.name, grant, expires_at: wanted.expires_at };
    let (api_key_id, secret) = control.create_api_key(&caller, new).await?;
    Ok(data(NewSecret { api_key_id, api_key: secret.to_string() }))
}

/// All API keys, without the keys.
#[utoipa::path(
    get,
    path = "/v2/apiKeys",
    tag = "access",
    responses((status = 200, body = Data<Vec<ApiKeyInfo>>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn list_api_keys(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
) -> Result<Json<Data<Vec<ApiKeyInfo>>>, Refused> {
    Ok(data(control.api_keys(&caller).await?))
}

/// Deletes an API key.
#[utoipa::path(
    delete,
    path = "/v2/apiKeys/{apiKeyId}",
    tag = "access",
    params(("apiKeyId" = String, Path)),
    responses((status = 200, body = Data<String>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn delete_api_key(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(id): Ids<String>,
) -> Result<Json<Data<String>>, Refused> {
    control.delete_api_key(&caller, &id).await?;
    Ok(data(id))
}

/// A user who is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WantedUser {
    name: String,
    /// 6 to 72 bytes.
    password: String,
    /// `Owner`, `ProjectAdmin`, `ProjectReadWrite`, `ProjectReadOnly` or `KeyCustodian`.
    role: String,
    /// The project; every project if it is left out.
    project_id: Option<String>,
}

/// Makes a user of the console; answers with the id.
#[utoipa::path(
    post,
    path = "/v2/users",
    tag = "access",
    request_body = WantedUser,
    responses((status = 200, body = Data<String>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error), (status = 409, body = Error)),
    security(("apiKey" = []))
)]
async fn create_user(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Body(wanted): Body<WantedUser>,
) -> Result<Json<Data<String>>, Refused> {
    let grant = Grant::new(wanted.role.parse()?, wanted.project_id)?;
    let password = Zeroizing::new(wanted.password);
    Ok(data(control.create_user(&caller, &wanted.name, password, grant).await?))
}

/// All users.
#[utoipa::path(
    get,
    path = "/v2/users",
    tag = "access",
    responses((status = 200, body = Data<Vec<UserInfo>>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn list_users(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
) -> Result<Json<Data<Vec<UserInfo>>>, Refused> {
    Ok(data(control.users(&caller).await?))
}

/// Deletes a user.
#[utoipa::path(
    delete,
    path = "/v2/users/{userId}",
    tag = "access",
    params(("userId" = String, Path)),
    responses((status = 200, body = Data<String>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error), (status = 409, body = Error)),
    security(("apiKey" = []))
)]
async fn delete_user(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(id): Ids<String>,
) -> Result<Json<Data<String>>, Refused> {
    control.delete_user(&caller, &id).await?;
    Ok(data(id))
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewPassword {
    /// The one until now; of one's own.
    old_password: Option<String>,
    /// 6 to 72 bytes.
    new_password: String,
}

/// Sets a user's password, and signs the user out everywhere. Who gives a wrong old one of his own has to wait before the next.
#[utoipa::path(
    put,
    path = "/v2/users/{userId}/password",
    tag = "access",
    params(("userId" = String, Path)),
    request_body = NewPassword,
    responses((status = 200, body = Data<String>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error), (status = 429, body = Error)),
    security(("apiKey" = []))
)]
async fn set_password(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(id): Ids<String>,
    Body(given): Body<NewPassword>,
) -> Result<Json<Data<String>>, Refused> {
    let old = given.old_password.map(Zeroizing::new);
    control.set_password(&caller, &id, old, Zeroizing::new(given.new_password)).await?;
    Ok(data(id))
}

/// Where a user has a role.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Where {
    /// The project; every project if it is left out.
    project_id: Option<String>,
}

/// Gives a user one more role; answers with the user. A project's admin who is given KeyCustodian too manages its keys.
#[utoipa::path(
    put,
    path = "/v2/users/{userId}/grants/{role}",
    tag = "access",
    params(("userId" = String, Path), ("role" = Role, Path), Where),
    responses((status = 200, body = Data<UserInfo>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error)),
    security(("apiKey" = []))
)]
async fn give_role(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids((id, role)): Ids<(String, String)>,
    Parameters(place): Parameters<Where>,
) -> Result<Json<Data<UserInfo>>, Refused> {
    let grant = Grant::new(role.parse()?, place.project_id)?;
    Ok(data(control.give_role(&caller, &id, &grant).await?))
}

/// Takes a role from a user; answers with the user.
#[utoipa::path(
    delete,
    path = "/v2/users/{userId}/grants/{role}",
    tag = "access",
    params(("userId" = String, Path), ("role" = Role, Path), Where),
    responses((status = 200, body = Data<UserInfo>), (status = 400, body = Error), (status = 401, body = Error), (status = 403, body = Error), (status = 404, body = Error), (status = 409, body = Error)),
    security(("apiKey" = []))
)]
async fn take_role(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids((id, role)): Ids<(String, String)>,
    Parameters(place): Parameters<Where>,
) -> Result<Json<Data<UserInfo>>, Refused> {
    let grant = Grant::new(role.parse()?, place.project_id)?;
    Ok(data(control.take_role(&caller, &id, &grant).await?))
}

/// A name and its password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignIn {
    name: String,
    password: String,
}

/// What a browser's further requests carry.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Session {
    /// To be sent as `X-CSRF-Token` with every request that changes something.
    csrf_token: String,
}

/// Signs a user in: sets a cookie that counts for twelve hours.
#[utoipa::path(
    post,
    path = "/v2/session",
    tag = "access",
    request_body = SignIn,
    responses(
        (status = 200, body = Data<Session>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 429, body = Error),
    )
)]
async fn sign_in(
    State(control): State<Arc<Control>>,
    parts: Parts,
    Body(given): Body<SignIn>,
) -> Result<Response, Refused> {
    // Or a page of somebody else's signs the browser in as whom it likes.
    browser::must_be_ours(&control, &parts)?;
    let signed = control.sign_in(&given.name, Zeroizing::new(given.password)).await?;
    let cookie = browser::set_cookie(&control, &signed);
    Ok(([(header::SET_COOKIE, cookie)], data(Session { csrf_token: signed.csrf })).into_response())
}

/// Signs out.
#[utoipa::path(
    delete,
    path = "/v2/session",
    tag = "access",
    responses((status = 200, body = Data<String>), (status = 401, body = Error), (status = 403, body = Error))
)]
async fn sign_out(
    State(control): State<Arc<Control>>,
    headers: HeaderMap,
    Who(caller): Who,
) -> Result<Json<Data<String>>, Refused> {
    if let Some(cookie) = browser::cookie(&control, &headers) {
        control.sign_out(&cookie).await?;
    }
    Ok(data(caller.id().to_owned()))
}
