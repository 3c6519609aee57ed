//! A backend for every server that speaks OpenAI's chat completions: OpenAI itself, vLLM, llama.cpp, Ollama,
//! `OpenRouter` and most others.
//!
//! It changes `model`, `stream` and `stream_options.include_usage` in a request and nothing else, so a field that
//! is new at the upstream needs no new version of this.

mod answer;
mod frame;
mod models;
mod refusal;
mod request;
mod secret;
mod upstream;

pub use upstream::BadSettings;

use answer::{Answer, Form};
use async_trait::async_trait;
use http::{Response, StatusCode};
use hyper::body::Incoming;
use std::time::Duration;
use tidewire_core::port::{Backend, BackendError, Begins, MAX_APPEND_BYTES, Model, Request, Run, Timeouts};
use upstream::Upstream;

/// The longest event, and the longest answer in one piece: nothing longer could be appended to a log.
const MAX_ANSWER_BYTES: usize = MAX_APPEND_BYTES;
/// The longest list of models: ten times that of `OpenRouter`, the longest one known.
const MAX_MODELS_BYTES: usize = 8 * 1024 * 1024;
/// How much of an error's body is read: ten times what any upstream was seen to say.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// How long an error's body or the list of models may take: an upstream sends both from memory.
const SHORT_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// An OpenAI-compatible upstream. Connections are pooled, so make one for each base URL and key, and keep it.
#[derive(Debug)]
pub struct OpenAi {
    upstream: Upstream,
}

impl OpenAi {
    /// An upstream by its base URL, with its `/v1` if it has one, and the key that it asks for.
    ///
    /// The environment's proxy settings are not followed, and neither are redirects: the key goes to this host
    /// and nowhere else. Certificates are checked against those of the system, which `SSL_CERT_FILE` can replace.
    pub fn new(base: &str, key: Option<&str>) -> Result<Self, BadSettings> {
        Ok(Self { upstream: Upstream::new(base, key)? })
    }

    async fn refusal(&self, answer: Response<Incoming>) -> BackendError {
        let (head, body) = answer.into_parts();
        let mut deadline = Box::pin(tokio::time::sleep(SHORT_ANSWER_TIMEOUT));
        // The status tells enough where the body does not come.
        let body = upstream::read(body, MAX_ERROR_BYTES, deadline.as_mut()).await.unwrap_or_default();
        refusal::by_status(head.status, &head.headers, &body, self.upstream.secret())
    }
}

#[async_trait]
impl Backend for OpenAi {
    async fn run(&self, request: Request) -> Result<Run, BackendError> {
        let body = request::body(&request.model, &request.input)?;
        let timeouts = request.timeouts;
        let mut first_token = Box::pin(tokio::time::sleep(timeouts.first_token));
        let answer = self.upstream.chat(body, timeouts.connect, first_token.as_mut()).await?;
        if answer.status() != StatusCode::OK {
            return Err(self.refusal(answer).await);
        }
        let form = Form::of(answer.headers())?;
        let secret = self.upstream.secret().clone();
        let answer = Answer::new(answer.into_body(), form, first_token, timeouts.between_tokens, secret);
        Ok(Run { begins: Begins::Afresh, chunks: Box::pin(answer), limits: Vec::new() })
    }

    async fn models(&self) -> Result<Vec<Model>, BackendError> {
        let mut deadline = Box::pin(tokio::time::sleep(SHORT_ANSWER_TIMEOUT));
        let answer = self.upstream.models(Timeouts::default().connect, deadline.as_mut()).await?;
        if answer.status() != StatusCode::OK {
            return Err(self.refusal(answer).await);
        }
        models::parse(&upstream::read(answer.into_body(), MAX_MODELS_BYTES, deadline.as_mut()).await?)
    }
}
