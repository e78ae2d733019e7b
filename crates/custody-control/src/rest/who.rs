//! Who asks: an API key in the header, or a browser that is signed in.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use utoipa::{
    Modify,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use crate::{Control, Kind, Refused, access::Caller, browser};

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
            browser::is_known(parts);
            return Ok(Self(caller));
        }
        if browser::cookie(control, &parts.headers).is_none() {
            return Err(Refused::new(
                Kind::Unauthenticated,
                "authentication is required: send an API key as 'Authorization: Bearer <API key>'",
            ));
        }
        Ok(Self(browser::visitor(control, parts, None).await?.caller))
    }
}

/// How the description says that.
pub(super) struct Credentials;

impl Modify for Credentials {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        description.components.get_or_insert_default().add_security_scheme("apiKey", bearer);
    }
}
