//! Style, scripts and the icon: in the program, under addresses that change with what they hold.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::LazyLock,
};

use axum::{
    Router,
    extract::Path,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

/// What a browser may keep for ever: another content has another address.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The addresses, for the pages.
pub(crate) struct Assets {
    pub(crate) style: String,
    pub(crate) icon: String,
    pub(crate) console: String,
    pub(crate) cmek: String,
    pub(crate) create: String,
    pub(crate) data: String,
    files: [Asset; 6],
}

struct Asset {
    name: String,
    kind: &'static str,
    text: &'static str,
}

impl Asset {
    fn new(stem: &str, ending: &str, kind: &'static str, text: &'static str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self { name: format!("{stem}-{:016x}.{ending}", hasher.finish()), kind, text }
    }

    fn address(&self) -> String {
        format!("/assets/{}", self.name)
    }
}

/// All of them.
pub(crate) static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    let files = [
        Asset::new("console", "css", "text/css; charset=utf-8", include_str!("../assets/console.css")),
        Asset::new("icon", "svg", "image/svg+xml", include_str!("../assets/icon.svg")),
        Asset::new("console", "js", SCRIPT, include_str!("../assets/console.js")),
        Asset::new("cmek", "js", SCRIPT, include_str!("../assets/cmek.js")),
        Asset::new("create", "js", SCRIPT, include_str!("../assets/create.js")),
        Asset::new("data", "js", SCRIPT, include_str!("../assets/data.js")),
    ];
    let [style, icon, console, cmek, create, data] = files.each_ref().map(Asset::address);
    Assets { style, icon, console, cmek, create, data, files }
});

pub(crate) fn router() -> Router {
    Router::new().route("/assets/{name}", get(asset))
}

async fn asset(Path(name): Path<String>) -> Response {
    let Some(asset) = ASSETS.files.iter().find(|asset| asset.name == name) else {
        return (StatusCode::NOT_FOUND, "there is no such file: load the page again\n").into_response();
    };
    let head = [(header::CONTENT_TYPE, asset.kind), (header::CACHE_CONTROL, FOR_EVER)];
    let mut response = (head, asset.text).into_response();
    // An icon that is opened by itself is a page, and runs nothing either.
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_content_has_another_address() {
        let address = |text| Asset::new("a", "js", SCRIPT, text).address();
        assert_ne!(address("1"), address("2"));
        assert_eq!(address("1"), address("1"));
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere_and_nothing_is_run_from_text() {
        for asset in &ASSETS.files {
            // The namespace of SVG is a name, and leads nowhere.
            let text = asset.text.replace("http://www.w3.org/2000/svg", "");
            for banned in
                ["http://", "https://", "//cdn", "@import", "innerHTML", "eval(", "new Function", "document.write"]
            {
                assert!(!text.contains(banned), "{} has {banned}", asset.name);
            }
        }
    }
}
