//! The chat page at `/`: a few files without a build step.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Uri, header};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) async fn index() -> Response {
    file("text/html; charset=utf-8", include_str!("../../page/index.html"))
}

pub(super) async fn css() -> Response {
    file("text/css; charset=utf-8", include_str!("../../page/page.css"))
}

/// A script of the page, by the last part of its path.
pub(super) async fn script(uri: Uri) -> Response {
    let text = match uri.path() {
        "/prose.js" => include_str!("../../page/prose.js"),
        "/wire.js" => include_str!("../../page/wire.js"),
        _ => include_str!("../../page/page.js"),
    };
    file("text/javascript; charset=utf-8", text)
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, text).into_response()
}
