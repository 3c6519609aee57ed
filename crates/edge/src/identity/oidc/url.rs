//! What is read from and written into URLs.

use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::net::IpAddr;

/// All but what RFC 3986 leaves as it is.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The longest path to go to afterwards: longer than any page's own.
const MAX_PATH_BYTES: usize = 1024;

/// As a value in a query or a form.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Names and values as a query or a form.
pub(super) fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    pairs.join("&")
}

/// Whether what comes from there can be believed: over TLS, or from this machine.
pub fn is_trusted(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else { return false };
    let host = url.host().unwrap_or_default();
    let is_loopback = || {
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    match url.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => is_loopback(),
        _ => false,
    }
}

/// Whether browsers come there over TLS.
pub(super) fn is_tls(url: &str) -> bool {
    url.starts_with("https://")
}

/// The path of a URL.
pub(super) fn path(url: &str) -> String {
    url.parse::<Uri>().map(|url| url.path().to_owned()).unwrap_or_default()
}

/// Whether it is a path of this server. Browsers read `//host`, `/\host` and paths with tabs in them as other sites'.
pub(super) fn is_local(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'<' | b'>' | b'`');
    let begins = path.starts_with('/') && !path.starts_with("//");
    begins && path.len() <= MAX_PATH_BYTES && path.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_server_are_local() {
        for local in ["/", "/page?x=1&y=%20#z", "/a/b", "/.well-known"] {
            assert!(is_local(local), "{local}");
        }
        let long = format!("/{}", "x".repeat(MAX_PATH_BYTES));
        for foreign in [
            "",
            "x",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "javascript:1",
            "/\t/evil.example",
            "/\n",
            " /",
            "/ü",
            "/\"><script>",
            "http:/evil",
            long.as_str(),
        ] {
            assert!(!is_local(foreign), "{foreign}");
        }
    }

    #[test]
    fn only_tls_and_this_machine_are_trusted() {
        for trusted in [
            "https://a.example",
            "https://a.example:8443/x",
            "http://127.0.0.1:1/x",
            "http://[::1]/",
            "http://localhost/",
        ] {
            assert!(is_trusted(trusted), "{trusted}");
        }
        for not in [
            "http://a.example",
            "http://localhost@a.example/",
            "http://localhost.a.example/",
            "ftp://a.example",
            "/x",
            "",
        ] {
            assert!(!is_trusted(not), "{not}");
        }
    }

    #[test]
    fn values_are_encoded_whole() {
        assert_eq!(form(&[("a", "x y&z=ü"), ("b", "-._~")]), "a=x%20y%26z%3D%C3%BC&b=-._~");
    }
}
