//! The upstream's API key, kept where no log and no error message can show it.

use http::HeaderValue;
use http::header::InvalidHeaderValue;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A key, or none.
#[derive(Clone)]
pub(super) struct Secret(Option<Arc<str>>);

impl Secret {
    /// An empty key is none: that is what an unset variable in a configuration gives.
    pub(super) fn new(key: Option<&str>) -> Self {
        Self(key.map(str::trim).filter(|key| !key.is_empty()).map(Arc::from))
    }

    /// The value of the header that carries it.
    pub(super) fn header(&self, prefix: &str) -> Result<Option<HeaderValue>, InvalidHeaderValue> {
        let Some(key) = &self.0 else { return Ok(None) };
        let mut value = HeaderValue::try_from(format!("{prefix}{key}"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// The text without the key: some upstreams repeat it when they refuse it.
    pub(super) fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.0 {
            Some(key) if text.contains(&**key) => text.replace(&**key, "[the key]").into(),
            _ => text.into(),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(if self.0.is_some() { "[a key]" } else { "[no key]" })
    }
}
