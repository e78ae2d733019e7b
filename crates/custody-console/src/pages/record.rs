//! What was done and what happened: jobs, alerts, activities.

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use custody_control::{
    Control,
    alert::{Alert, AlertRule, NewRule},
    audit::Activity,
    job::{Job, JobKind, JobStatus},
};
use serde::Deserialize;

use crate::{
    answer::{Answer, Done, Page},
    frame::{At, Frame},
    markup::{Badge, Moment, of_delivery, of_job},
    session::{Asked, Ids, Meant, Nothing, Signed},
};

/// How many entries a page shows.
pub(super) const LISTED: i64 = 100;

pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/{project}/jobs", get(jobs))
        .route("/{project}/jobs/{job}/cancel", post(cancel))
        .route("/{project}/alerts", get(alerts).post(make_rule))
        .route("/{project}/alerts/{rule}/delete", post(delete_rule))
        .route("/{project}/activities", get(activities))
}

struct JobRow {
    badge: Badge,
    what: &'static str,
    receipt: Option<String>,
    cancels: bool,
    job: Job,
}

/// Whether a job can be taken back, so that no button is shown that would be refused.
pub(super) fn is_cancelable(job: &Job) -> bool {
    let pending = job.status == JobStatus::Pending;
    match job.kind {
        JobKind::CreateBackup | JobKind::RestoreCluster | JobKind::RestoreCollection => {
            pending || job.status == JobStatus::Running
        }
        JobKind::DeleteBackup => pending,
        // By the cluster's own page.
        JobKind::CreateCluster | JobKind::DropCluster => false,
    }
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct JobsPage {
    frame: Frame,
    jobs: Vec<JobRow>,
}

async fn jobs(
    State(control): State<Arc<Control>>,
    Signed(visitor): Signed,
    Ids(project): Ids<String>,
) -> Answer<Page<JobsPage>> {
    let frame = Frame::inside(&control, &visitor, &project, At::Jobs, "Jobs").await?;
    let row = |job: Job| JobRow {
        badge: of_job(job.status),
        what: match job.kind {
            JobKind::CreateCluster => "Create cluster",
            JobKind::DropCluster => "Drop cluster",
            JobKind::CreateBackup => "Create backup",
            JobKind::RestoreCluster => "Restore cluster",
            JobKind::RestoreCollection => "Restore collections",
            JobKind::DeleteBackup => "Delete backup",
        },
        cancels: is_cancelable(&job),
        receipt: job.receipt.as_ref().map(|receipt| format!("{receipt:#}")),
        job,
    };
    let jobs = control.jobs(&visitor.caller, &project, LISTED).await?.into_iter().map(row).collect();
    Ok(Page(JobsPage { frame, jobs }))
}

#[derive(Deserialize)]
struct Cancel {
    /// Whether it was asked for on the page of the backups.
    on_backups: Option<String>,
}

async fn cancel(
    State(control): State<Arc<Control>>,
    Ids((project, job)): Ids<(String, String)>,
    form: Meant<Cancel>,
) -> Answer<Done> {
    control.cancel_job(&form.visitor.caller, &job).await?;
    let page = if form.given.on_backups.is_some() { "backups" } else { "jobs" };
    Ok(Done::at(format!("/projects/{project}/{page}")))
}

struct AlertRow {
    at: Moment,
    deliveries: Vec<DeliveryRow>,
    alert: Alert,
}

struct DeliveryRow {
    badge: Badge,
    attempts: i64,
    error: Option<String>,
}

struct RuleRow {
    created: Moment,
    kinds: String,
    rule: AlertRule,
}

#[derive(Template)]
#[template(path = "alerts.html")]
struct AlertsPage {
    frame: Frame,
    rules: Vec<RuleRow>,
    alerts: Vec<AlertRow>,
}

async fn alerts(
    State(control): State<Arc<Control>>,
    Signed(visitor): Signed,
    Ids(project): Ids<String>,
) -> Answer<Page<AlertsPage>> {
    let frame = Frame::inside(&control, &visitor, &project, At::Alerts, "Alerts").await?;
    let rule = |rule: AlertRule| RuleRow {
        created: Moment(rule.created_at),
        kinds: rule.kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", "),
        rule,
    };
    let alert = |alert: Alert| AlertRow {
        at: Moment(alert.at),
        deliveries: alert
            .deliveries
            .iter()
            .map(|sent| DeliveryRow {
                badge: of_delivery(sent.delivered_at.is_some(), sent.next_try_at.is_none()),
                attempts: sent.attempts,
                error: sent.error.clone(),
            })
            .collect(),
        alert,
    };
    let rules = control.alert_rules(&visitor.caller, &project).await?.into_iter().map(rule).collect();
    let alerts = control.alerts(&visitor.caller, &project, LISTED).await?.into_iter().map(alert).collect();
    Ok(Page(AlertsPage { frame, rules, alerts }))
}

#[derive(Deserialize)]
struct WantedRule {
    name: String,
    url: String,
}

#[derive(Template)]
#[template(path = "secret.html")]
pub(super) struct SecretPage {
    pub(super) frame: Frame,
    /// What was made.
    pub(super) what: &'static str,
    /// What the secret is for.
    pub(super) purpose: &'static str,
    pub(super) name: String,
    pub(super) secret: String,
    /// Where one goes on.
    pub(super) back: String,
}

async fn make_rule(
    State(control): State<Arc<Control>>,
    Ids(project): Ids<String>,
    form: Meant<WantedRule>,
) -> Answer<Page<SecretPage>> {
    let Meant { visitor, given } = form;
    let new = NewRule { name: given.name, url: given.url.trim().to_owned(), kinds: Vec::new() };
    let (_, secret) = control.create_alert_rule(&visitor.caller, &project, &new).await?;
    Ok(Page(SecretPage {
        frame: Frame::inside(&control, &visitor, &project, At::Alerts, "Alert rule").await?,
        what: "The alert rule was made",
        purpose: "Each delivery to the webhook is signed with this secret. It is shown this once.",
        name: new.name,
        secret: secret.reveal().to_owned(),
        back: format!("/projects/{project}/alerts"),
    }))
}

async fn delete_rule(
    State(control): State<Arc<Control>>,
    Ids((project, rule)): Ids<(String, String)>,
    Meant { visitor, given: Nothing {} }: Meant<Nothing>,
) -> Answer<Done> {
    control.delete_alert_rule(&visitor.caller, &project, &rule).await?;
    Ok(Done::at(format!("/projects/{project}/alerts")))
}

struct ActivityRow {
    at: Moment,
    activity: Activity,
}

#[derive(Template)]
#[template(path = "activities.html")]
struct ActivitiesPage {
    frame: Frame,
    activities: Vec<ActivityRow>,
    /// Where older ones are.
    older: Option<i64>,
    /// Whether these are the newest.
    newest: bool,
}

#[derive(Deserialize)]
struct Before {
    before: Option<i64>,
}

async fn activities(
    State(control): State<Arc<Control>>,
    Signed(visitor): Signed,
    Ids(project): Ids<String>,
    Asked(asked): Asked<Before>,
) -> Answer<Page<ActivitiesPage>> {
    let frame = Frame::inside(&control, &visitor, &project, At::Activities, "Activities").await?;
    let before = asked.before.unwrap_or(i64::MAX);
    let found = control.activities(&visitor.caller, &project, before, LISTED).await?;
    let full = i64::try_from(found.len()).is_ok_and(|count| count == LISTED);
    let older = found.last().map(|last| last.seq).filter(|_| full);
    let activities = found.into_iter().map(|activity| ActivityRow { at: Moment(activity.at), activity }).collect();
    Ok(Page(ActivitiesPage { frame, activities, older, newest: asked.before.is_none() }))
}
