//! Figures for Prometheus.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Extension,
    extract::{FromRequestParts, Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use custody_http::Peer;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{answer::Error, who::Who};
use crate::{Control, Kind, Refused, access::Privilege, metrics};

pub(super) fn router() -> OpenApiRouter<Arc<Control>> {
    OpenApiRouter::new().routes(routes!(figures))
}

/// Whether who asks from there has to show a key.
fn needs_key(peer: IpAddr) -> bool {
    !peer.to_canonical().is_loopback()
}

/// Figures in Prometheus' text format. From elsewhere than this machine they need an API key that sees every project.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "service",
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = 401, body = Error),
        (status = 403, body = Error),
        (status = 503, body = Error),
    ),
    security((), ("apiKey" = []))
)]
async fn figures(
    State(control): State<Arc<Control>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Refused> {
    if needs_key(peer.address.ip()) {
        let (mut parts, _) = request.into_parts();
        let Who(caller) = Who::from_request_parts(&mut parts, &control).await?;
        if !caller.may(Privilege::SeeProject, None) {
            return Err(Refused::new(
                Kind::Forbidden,
                "metrics tell of every project: show an API key with a role in all of them, such as ProjectReadOnly",
            ));
        }
    }
    Ok(([(header::CONTENT_TYPE, metrics::KIND)], control.figures().await?).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn off_loopback_a_key_is_needed() {
        for peer in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "10.0.0.1", "0.0.0.0"] {
            assert!(needs_key(peer.parse().unwrap()), "{peer}");
        }
        for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(!needs_key(peer.parse().unwrap()), "{peer}");
        }
    }
}
