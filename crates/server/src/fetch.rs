//! Asks issuers over HTTP for the edge: for the keys that tokens are checked with, for what a sign-in needs.

use crate::config::OutgoingConfig;
use crate::outgoing::{Outgoing, SystemLookup};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method};
use std::sync::Arc;
use tidewire_edge::identity::{Fetch, FetchError, Fetching, Form};

pub(crate) struct HttpFetch(Outgoing);

impl HttpFetch {
    /// `issuer`: the URL that the operator has set. What an issuer names beside it must be public, or allowed.
    pub(crate) fn new(outgoing: &OutgoingConfig, issuer: &str) -> Result<Self, String> {
        Ok(Self(Outgoing::new(&outgoing.allow, issuer, Arc::new(SystemLookup))?))
    }
}

impl Fetch for HttpFetch {
    fn get(&self, url: &str, most_bytes: usize) -> Fetching {
        match self.0.request(Method::GET, url) {
            Ok(request) => Box::pin(answer(request, most_bytes)),
            Err(refused) => Box::pin(async { Err(FetchError::Failed(refused)) }),
        }
    }

    fn post(&self, url: &str, form: Form, most_bytes: usize) -> Fetching {
        let request = match self.0.request(Method::POST, url) {
            Ok(request) => request,
            Err(refused) => return Box::pin(async { Err(FetchError::Failed(refused)) }),
        };
        let mut request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
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
    // The last reason is the one that says what to do, such as an address that may not be called.
    let failed = |error: reqwest::Error| {
        let error = error.without_url();
        let mut told = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(reason) = source {
            source = reason.source();
            if source.is_none() {
                told = format!("{told}: {reason}");
            }
        }
        FetchError::Failed(told)
    };
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
