//! Asks issuers over HTTP for the edge: for the keys that tokens are checked with, for what a sign-in needs.

use http::HeaderValue;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use std::time::Duration;
use tidewire_edge::identity::{Fetch, FetchError, Fetching, Form};

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
    fn get(&self, url: &str, most_bytes: usize) -> Fetching {
        Box::pin(answer(self.0.get(url), most_bytes))
    }

    fn post(&self, url: &str, form: Form, most_bytes: usize) -> Fetching {
        let mut request = self.0.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        request = request.header(ACCEPT, "application/json").body(form.body);
        if let Some(authorization) = form.authorization {
            let Ok(mut value) = HeaderValue::from_str(&authorization) else {
                return Box::pin(async { Err(FetchError::Failed("the secret can't be sent".to_owned())) });
            };
            // The HTTP client's own log leaves such a value out.
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        Box::pin(answer(request, most_bytes))
    }
}

async fn answer(request: reqwest::RequestBuilder, most_bytes: usize) -> Result<Vec<u8>, FetchError> {
    let failed = |error: reqwest::Error| FetchError::Failed(error.without_url().to_string());
    let mut answer = request.send().await.map_err(failed)?;
    if !answer.status().is_success() {
        return Err(FetchError::Status(answer.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(failed)? {
        body.extend_from_slice(&piece);
        if body.len() > most_bytes {
            return Err(FetchError::Failed(format!("the answer has more than {most_bytes} bytes")));
        }
    }
    Ok(body)
}
