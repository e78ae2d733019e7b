//! Which pages in a browser may call (rule 32): those of the control plane's console, and no others. A page has no credential
//! of ours that a browser would send by itself; it sends the one that its user has typed.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// How long a browser may remember what it was told, in seconds.
const REMEMBERED: &str = "600";

/// The addresses whose pages may call.
pub(crate) type Origins = Arc<[String]>;

/// Answers a browser's question whether a page may call, and lets the page read the answer to its call.
pub(crate) async fn allow(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = origin.filter(|origin| origins.iter().any(|known| known.as_bytes() == origin.as_bytes()));
    let Some(origin) = allowed else { return next.run(request).await };
    let asks =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response =
        if asks { (StatusCode::NO_CONTENT, permitted()).into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    response
}

fn permitted() -> HeaderMap {
    [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "accept-type-allow-int64, authorization, content-type"),
        (header::ACCESS_CONTROL_MAX_AGE, REMEMBERED),
    ]
    .into_iter()
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
    .collect()
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, middleware, routing::post};
    use tower::ServiceExt;

    use super::*;

    async fn ask(method: Method, origin: Option<&str>, asks: bool) -> Response {
        let origins: Origins = Arc::new(["http://127.0.0.1:8080".to_owned()]);
        let router =
            Router::new().route("/", post(async || "rows")).layer(middleware::from_fn_with_state(origins, allow));
        let mut request = Request::builder().method(method).uri("/").body(Body::empty()).unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert(header::ORIGIN, origin.parse().unwrap());
        }
        if asks {
            request.headers_mut().insert(header::ACCESS_CONTROL_REQUEST_METHOD, "POST".parse().unwrap());
        }
        router.oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_page_of_the_console_may_ask_and_read() {
        let told = ask(Method::OPTIONS, Some("http://127.0.0.1:8080"), true).await;
        assert_eq!(told.status(), StatusCode::NO_CONTENT);
        assert_eq!(told.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "http://127.0.0.1:8080");
        assert_eq!(
            told.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS],
            "accept-type-allow-int64, authorization, content-type"
        );
        assert!(!told.headers().contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        let answer = ask(Method::POST, Some("http://127.0.0.1:8080"), false).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "http://127.0.0.1:8080");
        assert_eq!(answer.headers()[header::VARY], "Origin");
    }

    #[tokio::test]
    async fn no_other_page_is_told_that_it_may() {
        for origin in [
            "http://127.0.0.1:8081",
            "https://127.0.0.1:8080",
            "http://localhost:8080",
            "null",
            "*",
            "http://evil.example",
        ] {
            for (method, asks) in [(Method::OPTIONS, true), (Method::POST, false)] {
                let answer = ask(method, Some(origin), asks).await;
                assert!(!answer.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "{origin}");
            }
        }
        assert!(!ask(Method::POST, None, false).await.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }
}
