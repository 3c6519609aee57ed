//! The web app, where it was built into the program: a few files, compressed beforehand.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

/// One file of the app, in all forms that a browser may take.
pub(super) struct Asset {
    /// Where it is; `/` is the page.
    path: &'static str,
    plain: &'static [u8],
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/app.rs"));

/// No script and no style but the app's own files, and no connection but to this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// A name under `/assets/` holds a hash of what is in the file, so that it never changes.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// Whether the app was there when the program was built.
pub(super) const fn is_built() -> bool {
    !ASSETS.is_empty()
}

/// A file of the app.
pub(super) async fn file(uri: Uri, headers: HeaderMap) -> Response {
    answer(ASSETS, uri.path(), &headers)
}

fn answer(assets: &[Asset], path: &str, headers: &HeaderMap) -> Response {
    let Some(asset) = assets.iter().find(|asset| asset.path == path) else {
        // A page that was opened before an upgrade asks for a file of the old app: it has to be loaded anew.
        return StatusCode::NOT_FOUND.into_response();
    };
    let takes = |coding| accepts(headers, coding);
    let (bytes, coding) = match (asset.brotli, asset.gzip) {
        (Some(bytes), _) if takes("br") => (bytes, Some("br")),
        (_, Some(bytes)) if takes("gzip") => (bytes, Some("gzip")),
        _ => (asset.plain, None),
    };
    let kept = if path.starts_with("/assets/") { FOREVER } else { "public, no-cache" };
    let mut response = bytes.into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind(path)));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    out.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    out.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    out.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Some(coding) = coding {
        out.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    response
}

/// Whether `Accept-Encoding` names a coding and does not refuse it.
fn accepts(headers: &HeaderMap, coding: &str) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|one| {
            let (name, weight) = one.split_once(';').unwrap_or((one, "q=1"));
            let refused = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok()) == Some(0.0);
            name.trim().eq_ignore_ascii_case(coding) && !refused
        })
}

fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("html", |(_, end)| end) {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "html" => "text/html; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]
    use super::*;

    const APP: &[Asset] = &[
        Asset { path: "/", plain: b"page", brotli: Some(b"page.br"), gzip: Some(b"page.gz") },
        Asset { path: "/assets/index-1a2b.js", plain: b"script", brotli: None, gzip: Some(b"script.gz") },
        Asset { path: "/icon.svg", plain: b"icon", brotli: None, gzip: None },
    ];

    async fn get(path: &str, coding: &'static str) -> (http::response::Parts, Vec<u8>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(coding));
        let (parts, body) = answer(APP, path, &headers).into_parts();
        let bytes = axum::body::to_bytes(body, 1024).await.unwrap();
        (parts, bytes.to_vec())
    }

    #[tokio::test]
    async fn a_hashed_file_is_kept_for_good_and_the_page_is_asked_for_again() {
        let (script, _) = get("/assets/index-1a2b.js", "").await;
        assert_eq!(script.headers["cache-control"], FOREVER);
        assert_eq!(script.headers["content-type"], "text/javascript; charset=utf-8");
        for path in ["/", "/icon.svg"] {
            assert_eq!(get(path, "").await.0.headers["cache-control"], "public, no-cache", "{path}");
        }
    }

    #[tokio::test]
    async fn the_best_form_that_a_browser_takes_is_sent() {
        for (path, coding, bytes, sent) in [
            ("/", "gzip, deflate, br", "page.br", Some("br")),
            ("/", "gzip, deflate", "page.gz", Some("gzip")),
            ("/", "br;q=0, gzip;q=0.5", "page.gz", Some("gzip")),
            ("/", "", "page", None),
            ("/assets/index-1a2b.js", "br, gzip", "script.gz", Some("gzip")),
            ("/icon.svg", "br, gzip", "icon", None),
        ] {
            let (parts, body) = get(path, coding).await;
            assert_eq!(body, bytes.as_bytes(), "{path} for {coding:?}");
            assert_eq!(
                parts.headers.get("content-encoding").map(|value| value.to_str().unwrap()),
                sent,
                "{path} for {coding:?}"
            );
            assert_eq!(parts.headers["vary"], "accept-encoding");
        }
    }

    #[tokio::test]
    async fn no_inline_script_or_style_may_run() {
        let (page, _) = get("/", "br").await;
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[tokio::test]
    async fn a_file_of_an_older_app_is_unknown() {
        assert_eq!(get("/assets/index-0000.js", "br").await.0.status, StatusCode::NOT_FOUND);
    }
}
