//! Gets what the edge asks for over HTTP: the keys that tokens are checked with.

use std::pin::Pin;
use std::time::Duration;
use tidewire_edge::identity::{Fetch, FetchError};

/// How long a connection to an issuer may take.
const CONNECT: Duration = Duration::from_secs(5);

pub(crate) struct HttpFetch(reqwest::Client);

impl HttpFetch {
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        // An error says that the process has chosen its cryptography before us: that one serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // No redirects: the operator names where the keys are, and nobody else.
        let none = reqwest::redirect::Policy::none();
        Ok(Self(reqwest::Client::builder().connect_timeout(CONNECT).redirect(none).build()?))
    }
}

impl Fetch for HttpFetch {
    fn get(&self, url: &str, most_bytes: usize) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, FetchError>> + Send>> {
        let asking = self.0.get(url).send();
        Box::pin(async move {
            let failed = |error: reqwest::Error| FetchError(error.without_url().to_string());
            let mut answer = asking.await.map_err(failed)?.error_for_status().map_err(failed)?;
            let mut body = Vec::new();
            while let Some(piece) = answer.chunk().await.map_err(failed)? {
                body.extend_from_slice(&piece);
                if body.len() > most_bytes {
                    return Err(FetchError(format!("the answer has more than {most_bytes} bytes")));
                }
            }
            Ok(body)
        })
    }
}
