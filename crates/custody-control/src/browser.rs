//! Browsers: the cookie of a session, and whether a request is for us and from a page of ours (rule 32). REST and the console
//! look at requests in the same way.

use std::net::IpAddr;

use axum::http::{HeaderMap, Method, header, request::Parts};
use custody_http::Peer;

use crate::{
    Control,
    access::{SignedIn, Visitor},
    refusal::{Kind, Refused},
};

/// The header that a script's request carries besides the cookie.
pub const CSRF: &str = "x-csrf-token";
/// What a browser says of where a request was made; no page can change it.
const SITE: &str = "sec-fetch-site";

/// The session's cookie. Under TLS its prefix has the browser refuse one that another host or plain http would set.
fn cookie_name(tls: bool) -> &'static str {
    if tls { "__Host-custody_session" } else { "custody_session" }
}

/// The value of the session's cookie.
pub fn cookie(control: &Control, headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == cookie_name(control.has_tls())).map(|(_, value)| value.to_owned())
}

/// What sets the cookie.
pub fn set_cookie(control: &Control, signed: &SignedIn) -> String {
    write_cookie(control.has_tls(), &signed.cookie, signed.lasts.as_secs())
}

/// What takes the cookie away.
pub fn end_cookie(control: &Control) -> String {
    write_cookie(control.has_tls(), "", 0)
}

fn write_cookie(tls: bool, value: &str, seconds: u64) -> String {
    let secure = if tls { "; Secure" } else { "" };
    format!("{}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}", cookie_name(tls))
}

/// Who is signed in in the browser that sends this. Whatever changes something has to carry the session's CSRF token, in
/// the header unless a form gave it in `form`.
pub async fn visitor(control: &Control, parts: &Parts, form: Option<&str>) -> Result<Visitor, Refused> {
    let unknown = || Refused::new(Kind::Unauthenticated, "you are not signed in: sign in");
    let cookie = cookie(control, &parts.headers).ok_or_else(unknown)?;
    must_be_ours(control, parts)?;
    let visitor = control.visitor(&cookie).await?;
    if !parts.method.is_safe() {
        let in_header = parts.headers.get(CSRF).and_then(|value| value.to_str().ok());
        visitor.must_have_meant(in_header.or(form))?;
    }
    is_known(parts);
    Ok(visitor)
}

/// The connection of a client who has shown a credential is not closed to make room for strangers.
pub fn is_known(parts: &Parts) {
    if let Some(peer) = parts.extensions.get::<Peer>() {
        peer.is_known();
    }
}

/// Refuses a browser's request for a host that is not ours, and one that changes something and that a page of somebody else's
/// has made.
pub fn must_be_ours(control: &Control, parts: &Parts) -> Result<(), Refused> {
    let authority = parts.uri.authority().map(axum::http::uri::Authority::as_str);
    let host = authority.or_else(|| parts.headers.get(header::HOST)?.to_str().ok()).unwrap_or_default();
    let settings = &control.nodes.settings;
    if !is_our_host(host, settings.public_host.as_deref()) {
        let mend = "use the address that the service was started with, or have it started with --public-host";
        return Err(Refused::new(
            Kind::Forbidden,
            format!("this service does not answer for the host {host:?}: {mend}"),
        ));
    }
    if parts.method.is_safe() || parts.method == Method::OPTIONS || is_from(host, control.has_tls(), &parts.headers) {
        return Ok(());
    }
    Err(Refused::new(Kind::Forbidden, "the request was not made by a page of this service, and nothing was changed"))
}

/// An address is always ours: what a stranger's name leads here by (DNS rebinding) is a name.
fn is_our_host(authority: &str, public: Option<&str>) -> bool {
    let name = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let public = public.is_some_and(|host| host.trim_matches(['[', ']']).eq_ignore_ascii_case(name));
    public || name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Whether a page of this host made the request. What is no browser says nothing of it; it has to know the CSRF token all the
/// same. A form of a page whose referrer is kept secret says `null`; the browser's own word counts then.
fn is_from(host: &str, tls: bool, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    let site = text(SITE);
    if site.is_some_and(|site| site != "same-origin") {
        return false;
    }
    match text(header::ORIGIN.as_str()) {
        None => true,
        Some("null") => site.is_some(),
        Some(origin) => match origin.split_once("://") {
            Some(("https", from)) => from.eq_ignore_ascii_case(host),
            Some(("http", from)) => !tls && from.eq_ignore_ascii_case(host),
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_here_by_somebody_elses_will_are_not_ours() {
        for host in ["127.0.0.1:8080", "[::1]:8080", "localhost", "LOCALHOST:1", "192.0.2.7", "custody.example:443"] {
            assert!(is_our_host(host, Some("custody.example")), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "[evil]"]
        {
            assert!(!is_our_host(host, Some("custody.example")), "{host}");
        }
        assert!(!is_our_host("custody.example", None));
    }

    #[test]
    fn the_cookie_is_for_scripts_of_nobody_and_under_tls_for_tls_alone() {
        let plain = write_cookie(false, "v", 60);
        assert_eq!(plain, "custody_session=v; Path=/; HttpOnly; SameSite=Strict; Max-Age=60");
        let tls = write_cookie(true, "v", 60);
        assert_eq!(tls, "__Host-custody_session=v; Path=/; HttpOnly; SameSite=Strict; Max-Age=60; Secure");
    }

    #[test]
    fn only_a_page_of_ours_changes_anything() {
        let headers = |pairs: &[(&'static str, &str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
        };
        let from = |tls, pairs: &[(&'static str, &str)]| is_from("127.0.0.1:8080", tls, &headers(pairs));
        assert!(from(false, &[]), "no browser");
        assert!(from(false, &[("origin", "http://127.0.0.1:8080"), (SITE, "same-origin")]));
        assert!(from(false, &[("origin", "https://127.0.0.1:8080")]), "a proxy may end TLS");
        assert!(from(false, &[("origin", "null"), (SITE, "same-origin")]));
        for other in ["http://127.0.0.1:8081", "http://evil.example", "null", "", "http://127.0.0.1:8080.evil.example"]
        {
            assert!(!from(false, &[("origin", other)]), "{other}");
        }
        for site in ["cross-site", "same-site", "none", ""] {
            assert!(!from(false, &[("origin", "http://127.0.0.1:8080"), (SITE, site)]), "{site}");
        }
        assert!(!from(true, &[("origin", "http://127.0.0.1:8080")]), "plain http is not our page where we have TLS");
    }
}
