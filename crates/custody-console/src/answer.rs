//! Answers: a page, a way to another page, or a refusal.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use custody_control::{Kind, Refused};

use crate::{assets::ASSETS, assets::Assets};

/// What a handler comes to.
pub(crate) type Answer<T> = Result<T, Failed>;

/// A page.
pub(crate) struct Page<T>(pub(crate) T);

impl<T: Template> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        match self.0.render() {
            Ok(text) => Html(text).into_response(),
            Err(error) => Failed(Refused::internal(error)).into_response(),
        }
    }
}

/// The address besides ours that a page's script may ask: the cluster's node.
#[derive(Clone)]
pub(crate) struct ConnectTo(pub(crate) String);

/// A page whose script asks a cluster's node.
pub(crate) fn with_node<T: Template>(page: T, address: &str) -> Response {
    let mut response = Page(page).into_response();
    response.extensions_mut().insert(ConnectTo(address.to_owned()));
    response
}

/// Something was done; the browser goes on there. A script is told so, and goes itself.
#[derive(Clone)]
pub(crate) struct Moved(pub(crate) String);

/// Something was done.
pub(crate) struct Done(String);

impl Done {
    pub(crate) fn at(path: impl Into<String>) -> Self {
        Self(path.into())
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        let mut response = StatusCode::SEE_OTHER.into_response();
        response.extensions_mut().insert(Moved(self.0));
        response
    }
}

/// Something was refused. How that is shown, the guard decides.
pub(crate) struct Failed(pub(crate) Refused);

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Self(refused)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let mut response = self.0.kind.status().into_response();
        response.extensions_mut().insert(self.0);
        response
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    assets: &'static Assets,
    title: &'static str,
    message: &'a str,
}

/// A refusal as a page of its own.
pub(crate) fn error_page(refused: &Refused) -> Response {
    let title = match refused.kind {
        Kind::Invalid => "This can't be meant",
        Kind::Unauthenticated => "Sign in first",
        Kind::Forbidden => "You may not do this",
        Kind::NotFound => "There is no such page",
        Kind::Conflict => "This can't be done as things stand",
        Kind::TooMany => "Too much at once",
        Kind::Unavailable => "This can't be done now",
        Kind::Internal => "A fault of the service",
    };
    let page = ErrorPage { assets: &ASSETS, title, message: &refused.message };
    match page.render() {
        Ok(text) => (refused.kind.status(), Html(text)).into_response(),
        Err(error) => {
            tracing::error!(%error, "the page of an error can't be rendered");
            (refused.kind.status(), refused.message.clone()).into_response()
        }
    }
}
