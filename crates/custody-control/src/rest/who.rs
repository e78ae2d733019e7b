//! Who asks: an API key in the header, or a browser that is signed in.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use custody_http::Peer;
use utoipa::{
    Modify,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use crate::{Control, Kind, Refused, access::Caller};

/// The cookie of somebody who is signed in.
pub(super) const COOKIE: &str = "custody_session";
/// The header that a browser's request carries besides the cookie.
const CSRF: &str = "x-csrf-token";

/// Whoever asks, known by a credential.
pub(super) struct Who(pub(super) Caller);

impl FromRequestParts<Arc<Control>> for Who {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, control: &Arc<Control>) -> Result<Self, Refused> {
        // Taken out: nothing behind needs the credential, so that nothing can log it.
        if let Some(value) = parts.headers.remove(header::AUTHORIZATION) {
            let refused =
                || Refused::new(Kind::Unauthenticated, "send the API key as 'Authorization: Bearer <API key>'");
            let text = value.to_str().map_err(|_| refused())?;
            let (scheme, key) = text.split_once(' ').ok_or_else(refused)?;
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(refused());
            }
            let caller = control.caller(key.trim()).await?;
            is_known(parts);
            return Ok(Self(caller));
        }
        let Some(cookie) = cookie(&parts.headers) else {
            return Err(Refused::new(
                Kind::Unauthenticated,
                "authentication is required: send an API key as 'Authorization: Bearer <API key>'",
            ));
        };
        let visitor = control.visitor(&cookie).await?;
        if !parts.method.is_safe() {
            visitor.must_have_meant(parts.headers.get(CSRF).and_then(|value| value.to_str().ok()))?;
        }
        is_known(parts);
        Ok(Self(visitor.caller))
    }
}

/// The connection of a client who has shown a credential is not closed to make room for strangers.
fn is_known(parts: &Parts) {
    if let Some(peer) = parts.extensions.get::<Peer>() {
        peer.is_known();
    }
}

/// The session's cookie.
pub(super) fn cookie(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned())
}

/// How the description says that.
pub(super) struct Credentials;

impl Modify for Credentials {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        description.components.get_or_insert_default().add_security_scheme("apiKey", bearer);
    }
}
