//! What stands around every page: whether the request is for us, how a refusal is shown, and the headers by which the browser
//! defends the page.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use custody_control::{Control, Kind, Refused, browser};
use serde_json::json;

use crate::{
    answer::{ConnectTo, Moved, error_page},
    session::SIGN_IN,
};

/// How the console's own scripts say that they ask.
const ASKED_BY: &str = "x-console";

/// Who waits for the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// A browser that shows what it gets.
    Browser,
    /// A script that has sent a form or wants a page's newest parts.
    Script,
}

/// Lets a request through, and makes of its answer what the asker can use.
pub(crate) async fn guard(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    let asker = if request.headers().contains_key(ASKED_BY) { Asker::Script } else { Asker::Browser };
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |it| it.as_str()).to_owned();
    let reads = parts.method.is_safe();
    let mut response = match browser::must_be_ours(&control, &parts) {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(refused) => crate::answer::Failed(refused).into_response(),
    };
    if let Some(refused) = response.extensions_mut().remove::<Refused>() {
        response = refusal(&refused, asker, reads, &path);
    } else if let Some(Moved(to)) = response.extensions_mut().remove::<Moved>() {
        let cookies: Vec<HeaderValue> = response.headers().get_all(header::SET_COOKIE).iter().cloned().collect();
        response = match asker {
            Asker::Script => Json(json!({ "location": to })).into_response(),
            Asker::Browser => Redirect::to(&to).into_response(),
        };
        for cookie in cookies {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    let connect = response.extensions_mut().remove::<ConnectTo>();
    defend(response.headers_mut(), connect.as_ref().map(|to| to.0.as_str()), control.has_tls());
    response
}

fn refusal(refused: &Refused, asker: Asker, reads: bool, path: &str) -> Response {
    match asker {
        Asker::Script => (refused.kind.status(), Json(json!({ "message": refused.message }))).into_response(),
        Asker::Browser if refused.kind == Kind::Unauthenticated && reads => {
            // The way back, for after the sign-in.
            let way = if path == "/" { SIGN_IN.to_owned() } else { format!("{SIGN_IN}?next={}", encoded(path)) };
            Redirect::to(&way).into_response()
        }
        Asker::Browser => error_page(refused),
    }
}

/// A path as the value of a parameter.
fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The headers of every answer. `connect` is the one address besides ours that the page's script may ask.
fn defend(headers: &mut HeaderMap, connect: Option<&str>, tls: bool) {
    let connect = connect.filter(|to| is_origin(to)).map(|to| format!(" {to}")).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'{connect}; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    // Made of what is checked: it can be a header.
    let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    let mut set = |name: HeaderName, value| drop(headers.insert(name, HeaderValue::from_static(value)));
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CACHE_CONTROL, "no-store");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()");
    if tls {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
}

/// Whether an address is nothing but scheme, host and port: more would be another directive of the policy.
fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(connect: Option<&str>) -> String {
        let mut headers = HeaderMap::new();
        defend(&mut headers, connect, false);
        headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned()
    }

    #[test]
    fn a_page_may_ask_its_clusters_node_and_nobody_else() {
        assert!(policy(None).contains("connect-src 'self'; "));
        assert!(policy(Some("http://127.0.0.1:19530")).contains("connect-src 'self' http://127.0.0.1:19530; "));
        for hostile in ["http://x; script-src *", "http://", "*", "https://a/b", "data:", "http://a b"] {
            assert!(policy(Some(hostile)).contains("connect-src 'self'; "), "{hostile}");
        }
    }

    #[test]
    fn nothing_runs_that_is_not_a_file_of_ours() {
        let policy = policy(None);
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; "));
        assert!(!policy.contains("unsafe") && !policy.contains('*'));
        assert!(policy.ends_with("form-action 'self'; base-uri 'none'; frame-ancestors 'none'"));
    }

    #[test]
    fn browsers_are_told_to_come_back_by_tls_only_where_there_is_tls() {
        for tls in [true, false] {
            let mut headers = HeaderMap::new();
            defend(&mut headers, None, tls);
            assert_eq!(headers.contains_key(header::STRICT_TRANSPORT_SECURITY), tls);
        }
    }

    #[test]
    fn the_way_back_is_one_parameter() {
        assert_eq!(encoded("/projects/p-1?a=b&c"), "/projects/p-1%3Fa%3Db%26c");
    }
}
