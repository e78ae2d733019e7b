//! Alert rules, and what was raised.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    answer::{Data, Error, data},
    body::{Body, Ids},
    who::Who,
};
use crate::{
    Control, Refused,
    alert::{Alert, AlertKind, AlertRule, NewRule},
};

/// How many alerts are listed.
const LISTED: i64 = 200;

pub(super) fn router() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(delete))
}

/// A rule that is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WantedRule {
    name: String,
    /// The webhook: `https://`, and not an address of this network unless the operator lists it.
    url: String,
    /// Which kinds; all, if it is left out.
    #[serde(default)]
    kinds: Vec<AlertKind>,
}

/// A new rule.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MadeRule {
    rule_id: String,
    /// What deliveries are signed with. It can't be had again.
    secret: String,
}

/// Makes an alert rule.
#[utoipa::path(
    post,
    path = "/v2/projects/{projectId}/alerts",
    tag = "alerts",
    params(("projectId" = String, Path)),
    request_body = WantedRule,
    responses(
        (status = 200, body = Data<MadeRule>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
        (status = 409, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn create(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(project): Ids<String>,
    Body(wanted): Body<WantedRule>,
) -> Result<Json<Data<MadeRule>>, Refused> {
    let new = NewRule { name: wanted.name, url: wanted.url, kinds: wanted.kinds };
    let (rule_id, secret) = control.create_alert_rule(&caller, &project, &new).await?;
    Ok(data(MadeRule { rule_id, secret: secret.reveal().to_owned() }))
}

/// The rules of a project and its newest alerts.
#[derive(Serialize, ToSchema)]
struct AlertList {
    rules: Vec<AlertRule>,
    alerts: Vec<Alert>,
}

/// The rules of a project, and its newest alerts with what became of each.
#[utoipa::path(
    get,
    path = "/v2/projects/{projectId}/alerts",
    tag = "alerts",
    params(("projectId" = String, Path)),
    responses(
        (status = 200, body = Data<AlertList>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 404, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn list(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids(project): Ids<String>,
) -> Result<Json<Data<AlertList>>, Refused> {
    let rules = control.alert_rules(&caller, &project).await?;
    Ok(data(AlertList { rules, alerts: control.alerts(&caller, &project, LISTED).await? }))
}

/// Deletes an alert rule, with what still waits to be sent by it.
#[utoipa::path(
    delete,
    path = "/v2/projects/{projectId}/alerts/{ruleId}",
    tag = "alerts",
    params(("projectId" = String, Path), ("ruleId" = String, Path)),
    responses(
        (status = 200, body = Data<String>),
        (status = 400, body = Error),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 404, body = Error),
    ),
    security(("apiKey" = []))
)]
async fn delete(
    State(control): State<Arc<Control>>,
    Who(caller): Who,
    Ids((project, rule)): Ids<(String, String)>,
) -> Result<Json<Data<String>>, Refused> {
    control.delete_alert_rule(&caller, &project, &rule).await?;
    Ok(data(rule))
}
