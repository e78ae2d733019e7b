//! Signing in and out.

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::State,
    http::header,
    response::{AppendHeaders, IntoResponse},
    routing::{get, post},
};
use custody_control::{Control, browser};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    answer::{Answer, Done, Page},
    assets::{ASSETS, Assets},
    session::{Asked, Given, Meant, Nothing, SIGN_IN},
};

const HOME: &str = "/projects";

pub(super) fn router() -> Router<Arc<Control>> {
    Router::new().route(SIGN_IN, get(page).post(sign_in)).route("/sign-out", post(sign_out))
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    assets: &'static Assets,
    next: String,
}

#[derive(Deserialize)]
struct Next {
    next: Option<String>,
}

async fn page(Asked(next): Asked<Next>) -> Page<SignInPage> {
    Page(SignInPage { assets: &ASSETS, next: way_back(next.next.as_deref()).to_owned() })
}

#[derive(Deserialize)]
struct Credentials {
    name: String,
    password: String,
    next: Option<String>,
}

async fn sign_in(
    State(control): State<Arc<Control>>,
    Given(given): Given<Credentials>,
) -> Answer<impl IntoResponse + use<>> {
    let signed = control.sign_in(given.name.trim(), Zeroizing::new(given.password)).await?;
    let cookie = [(header::SET_COOKIE, browser::set_cookie(&control, &signed))];
    Ok((AppendHeaders(cookie), Done::at(way_back(given.next.as_deref()))))
}

async fn sign_out(
    State(control): State<Arc<Control>>,
    headers: axum::http::HeaderMap,
    Meant { given: Nothing {}, .. }: Meant<Nothing>,
) -> Answer<impl IntoResponse + use<>> {
    if let Some(cookie) = browser::cookie(&control, &headers) {
        control.sign_out(&cookie).await?;
    }
    let cookie = [(header::SET_COOKIE, browser::end_cookie(&control))];
    Ok((AppendHeaders(cookie), Done::at(SIGN_IN)))
}

/// Where one was about to go: a page of ours, or else home. An address that a stranger gave leads nowhere else.
fn way_back(next: Option<&str>) -> &str {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.?=&".contains(&byte);
    next.filter(|next| next.starts_with(HOME) && next.bytes().all(plain)).unwrap_or(HOME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        assert_eq!(way_back(Some("/projects/proj-1/cmek")), "/projects/proj-1/cmek");
        for hostile in
            ["//evil.example", "https://evil.example", "/\\evil", "javascript:alert(1)", "/projects\r\nX: y", ""]
        {
            assert_eq!(way_back(Some(hostile)), HOME, "{hostile}");
        }
    }
}
