//! Projects.

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use custody_control::{Control, Plan, Project};
use serde::Deserialize;

use super::{api_keys, backups, cluster, clusters, cmek, create, record};
use crate::{
    answer::{Answer, Done, Page},
    frame::Frame,
    markup::{Moment, plan_name},
    session::{Ids, Meant, Nothing, Signed},
};

/// All below `/projects`.
pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/", get(list).post(make))
        .route("/{project}/plan", post(set_plan))
        .route("/{project}/delete", post(delete))
        .merge(clusters::router())
        .merge(create::router())
        .merge(cluster::router())
        .merge(cmek::router())
        .merge(backups::router())
        .merge(record::router())
        .merge(api_keys::router())
}

struct Row {
    project: Project,
    plan: &'static str,
    created: Moment,
}

#[derive(Template)]
#[template(path = "projects.html")]
struct ProjectsPage {
    frame: Frame,
    projects: Vec<Row>,
}

async fn list(State(control): State<Arc<Control>>, Signed(visitor): Signed) -> Answer<Page<ProjectsPage>> {
    let projects = control.projects(&visitor.caller).await?.into_iter();
    let row =
        |project: Project| Row { plan: plan_name(project.plan), created: Moment(project.create_time_milli), project };
    Ok(Page(ProjectsPage { frame: Frame::outside(&visitor, "Projects"), projects: projects.map(row).collect() }))
}

#[derive(Deserialize)]
struct NewProject {
    name: String,
    plan: String,
}

async fn make(State(control): State<Arc<Control>>, form: Meant<NewProject>) -> Answer<Done> {
    let plan: Plan = form.given.plan.parse()?;
    let id = control.create_project(&form.visitor.caller, &form.given.name, plan).await?;
    Ok(Done::at(format!("/projects/{id}")))
}

#[derive(Deserialize)]
struct NewPlan {
    plan: String,
}

async fn set_plan(
    State(control): State<Arc<Control>>,
    Ids(project): Ids<String>,
    form: Meant<NewPlan>,
) -> Answer<Done> {
    control.set_plan(&form.visitor.caller, &project, form.given.plan.parse()?).await?;
    Ok(Done::at(format!("/projects/{project}")))
}

async fn delete(
    State(control): State<Arc<Control>>,
    Ids(project): Ids<String>,
    Meant { visitor, given: Nothing {} }: Meant<Nothing>,
) -> Answer<Done> {
    control.delete_project(&visitor.caller, &project).await?;
    Ok(Done::at("/projects"))
}
