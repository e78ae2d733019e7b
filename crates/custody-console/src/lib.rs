//! The web console: pages over the services of [`Control`], rendered here, with a little JavaScript of our own and nothing from
//! elsewhere. Nothing is decided here: what is refused, a service refuses.
//!
//! A page never holds a row. Its script asks the cluster's node itself, with the credential that the user has typed for that
//! cluster, which stays in the browser (rule 32); and names of databases and collections come here only with a backup or a
//! restore of some, and go on to the node (rule 15).

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answer;
mod assets;
mod chart;
mod frame;
mod guard;
mod markup;
mod pages;
mod session;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, middleware};
use custody_control::Control;

/// The largest form: names, ARNs and a password are all that is ever sent.
const LARGEST_FORM: usize = 64 * 1024;

/// The console's pages: `/`, `/sign-in`, `/projects…` and `/assets/…`. It is to be merged with REST, whose paths all begin
/// otherwise.
pub fn router(control: Arc<Control>) -> Router {
    pages::router()
        .layer(middleware::from_fn_with_state(Arc::clone(&control), guard::guard))
        .layer(DefaultBodyLimit::max(LARGEST_FORM))
        .with_state(control)
        .merge(assets::router())
}
