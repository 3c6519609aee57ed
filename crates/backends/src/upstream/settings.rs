//! How an upstream is reached.

use super::secret::Secret;
use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use std::{fmt, io};

/// How to reach an upstream.
#[derive(Clone, Default)]
pub struct Settings {
    /// The base URL, with the API's version in its path: `https://host/v1`.
    pub url: String,
    /// The key that it asks for.
    pub key: Option<String>,
    /// Headers that go with each request, in place of ours of the same name.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A header may hold a key, and so may a URL that was mistyped.
        to.debug_struct("Settings").finish_non_exhaustive()
    }
}

/// Why there can be no such upstream.
#[derive(Debug, thiserror::Error)]
pub enum BadSettings {
    /// The base URL is none, or has a user name or a fragment in it.
    #[error("the base URL must be like https://host/v1, without a user name in it")]
    Url,
    /// The key has characters that no HTTP header can carry.
    #[error("the API key has characters that an HTTP header can't carry")]
    Key,
    /// A header's name or value has characters that no HTTP header can carry.
    #[error("the header {0:?} has characters that an HTTP header can't carry, or is one that tidewire sets by itself")]
    Header(String),
    /// There are no certificates to check the upstream's against.
    #[error("no certificates to check the upstream's against: install ca-certificates or set SSL_CERT_FILE")]
    Certificates(#[source] io::Error),
    /// TLS can't be set up.
    #[error("TLS can't be set up")]
    Tls(#[from] rustls::Error),
}

/// Where the key goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Auth {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// The key alone, in the header of this name.
    Header(&'static str),
}

/// Headers that describe the body and the connection, which only the client knows.
const OURS: [&str; 6] = ["content-length", "transfer-encoding", "connection", "host", "content-type", "accept"];

impl Settings {
    /// The same at this URL, where none is set.
    pub(crate) fn or_at(&self, url: &str) -> Self {
        let set = !self.url.is_empty();
        Self { url: if set { self.url.clone() } else { url.to_owned() }, ..self.clone() }
    }

    pub(super) fn base(&self) -> Result<Uri, BadSettings> {
        let base: Uri = self.url.parse().map_err(|_| BadSettings::Url)?;
        let known = matches!(base.scheme_str(), Some("http" | "https"));
        let named = base.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if known && named { Ok(base) } else { Err(BadSettings::Url) }
    }

    pub(super) fn headers(
        &self,
        secret: &Secret,
        auth: Auth,
        fixed: &[(&'static str, &'static str)],
    ) -> Result<HeaderMap, BadSettings> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tidewire/", env!("CARGO_PKG_VERSION"))));
        for (name, value) in fixed {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let (name, value) = match auth {
            Auth::Bearer => (AUTHORIZATION, secret.header("Bearer ")),
            Auth::Header(name) => (HeaderName::from_static(name), secret.header("")),
        };
        if let Some(value) = value.map_err(|_| BadSettings::Key)? {
            headers.insert(name, value);
        }
        for (name, value) in &self.headers {
            let bad = || BadSettings::Header(name.clone());
            let parsed: HeaderName = name.parse().map_err(|_| bad())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
            if OURS.contains(&parsed.as_str()) {
                return Err(bad());
            }
            value.set_sensitive(true);
            headers.insert(parsed, value);
        }
        Ok(headers)
    }
}
