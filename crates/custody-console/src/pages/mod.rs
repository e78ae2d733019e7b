//! The pages, each with what can be done on it.

mod api_keys;
mod backups;
mod cluster;
mod clusters;
mod cmek;
mod create;
mod projects;
mod record;
mod sign_in;

use std::sync::Arc;

use axum::{Router, response::Redirect, routing::get};
use custody_control::{Control, Refused};

use crate::{answer::Failed, session::Signed};

pub(crate) fn router() -> Router<Arc<Control>> {
    Router::new().route("/", get(home)).merge(sign_in::router()).nest("/projects", projects::router().fallback(unknown))
}

async fn home(_: Signed) -> Redirect {
    Redirect::to("/projects")
}

async fn unknown() -> Failed {
    Failed(Refused::new(custody_control::Kind::NotFound, "this address leads nowhere: begin at the projects"))
}
