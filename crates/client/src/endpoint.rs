//! Where a server is, read from what a user wrote.

use http::{HeaderValue, Uri};
use std::str::FromStr;

/// A server's base address: `http://host:8080`, with a path where a proxy put the server under one.
#[derive(Clone, Debug)]
pub struct Endpoint {
    base: String,
    socket: Uri,
    key: Option<HeaderValue>,
}

/// What was written is no server's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is no server's address: write it as http://HOST:PORT")]
pub struct BadUrl {
    url: String,
}

impl FromStr for Endpoint {
    type Err = BadUrl;

    fn from_str(url: &str) -> Result<Self, BadUrl> {
        let bad = || BadUrl { url: url.to_owned() };
        let (scheme, rest) = url.trim().split_once("://").unwrap_or(("http", url.trim()));
        let secure = match scheme {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err(bad()),
        };
        let rest = rest.trim_end_matches('/');
        if rest.contains(['?', '#', '@', ' ']) {
            return Err(bad());
        }
        let (web, socket) = if secure { ("https", "wss") } else { ("http", "ws") };
        let socket: Uri = format!("{socket}://{rest}/v1/ws").parse().map_err(|_| bad())?;
        if socket.host().is_none_or(str::is_empty) {
            return Err(bad());
        }
        Ok(Self { base: format!("{web}://{rest}"), socket, key: None })
    }
}

impl Endpoint {
    /// The same server, asked with a key. One that is no plain text is sent as none, and the server says so.
    #[must_use]
    pub fn with_key(mut self, key: Option<&str>) -> Self {
        self.key = key.and_then(|key| HeaderValue::from_str(&format!("Bearer {}", key.trim())).ok());
        if let Some(key) = &mut self.key {
            // Shown nowhere.
            key.set_sensitive(true);
        }
        self
    }

    /// What goes into `Authorization`.
    pub(crate) fn key(&self) -> Option<&HeaderValue> {
        self.key.as_ref()
    }

    /// The address as `http://…` or `https://…`, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        self.socket.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, the scheme's own where none was written.
    pub fn port(&self) -> u16 {
        self.socket.port_u16().unwrap_or(if self.is_secure() { 443 } else { 80 })
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.socket.scheme_str() == Some("wss")
    }

    pub(crate) fn socket(&self) -> &Uri {
        &self.socket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_however_it_is_written() {
        for (written, base, host, port) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "127.0.0.1", 8080),
            ("localhost:8080/", "http://localhost:8080", "localhost", 8080),
            ("https://ai.example.com/tide/", "https://ai.example.com/tide", "ai.example.com", 443),
            ("ws://[::1]:9", "http://[::1]:9", "::1", 9),
        ] {
            let endpoint: Endpoint = written.parse().unwrap();
            assert_eq!((endpoint.url(), endpoint.host(), endpoint.port()), (base, host, port), "{written}");
        }
        for wrong in ["", "ftp://a", "http://", "http://a b", "http://a/?x=1"] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }
}
