//! Entity tags ([RFC 9110, 8.8.3](https://www.rfc-editor.org/rfc/rfc9110#section-8.8.3)): what an asker has already is not sent again.

use http::{HeaderMap, header};

/// Strong: the same for the same bytes in the same form, and for no others.
pub(super) fn tag(kind: &str, body: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind.as_bytes()).update(&[0]).update(body.as_bytes());
    format!("\"{}\"", &hasher.finalize().to_hex()[..32])
}

/// Whether `If-None-Match` names this one.
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|known| known.to_str().ok());
    let mut each = known.flat_map(|known| known.split(',')).map(str::trim);
    each.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}
