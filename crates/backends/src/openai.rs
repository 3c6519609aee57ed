//! A backend for every server that speaks OpenAI's chat completions: OpenAI itself, Azure, vLLM, llama.cpp, Ollama,
//! `OpenRouter` and most others.
//!
//! It changes `model`, `stream` and `stream_options.include_usage` in a request and nothing else, so a field that
//! is new at the upstream needs no new version of this.

mod answer;
mod azure;
mod embeddings;
mod frame;
mod models;
mod places;
mod request;

pub use crate::upstream::BadSettings;

use crate::upstream::{Answer, Auth, Settings, Upstream, Wanted, first_token, replay};
use answer::Completions;
use async_trait::async_trait;
use places::Places;
use tidewire_core::port::{
    Backend, BackendError, Begins, Chunk, EmbedRequest, Embedded, Embedder, Model, Request, Run,
};

/// The longest list of models: ten times that of `OpenRouter`, the longest one known.
const MAX_MODELS_BYTES: usize = 8 * 1024 * 1024;

/// An OpenAI-compatible upstream. Connections are pooled, so make one for each base URL and key, and keep it.
#[derive(Debug)]
pub struct OpenAi {
    upstream: Upstream,
    places: Places,
}

impl OpenAi {
    /// An upstream by its base URL, with its `/v1` if it has one, and the key that it asks for.
    ///
    /// The environment's proxy settings are not followed, and neither are redirects: the key goes to this host
    /// and nowhere else. Certificates are checked against those of the system, which `SSL_CERT_FILE` can replace.
    pub fn new(base: &str, key: Option<&str>) -> Result<Self, BadSettings> {
        Self::with(&Settings { url: base.to_owned(), key: key.map(str::to_owned), headers: Vec::new() })
    }

    /// The same with headers that go with each request.
    pub fn with(settings: &Settings) -> Result<Self, BadSettings> {
        let upstream = Upstream::new(settings, Auth::Bearer, &[])?;
        let places = Places::fixed(&upstream, "")?;
        Ok(Self { upstream, places })
    }
}

#[async_trait]
impl Backend for OpenAi {
    async fn run(&self, request: Request) -> Result<Run, BackendError> {
        let body = request::body(&request.model, &request.input)?;
        let timeouts = request.timeouts;
        let mut deadline = first_token(timeouts);
        let uri = self.places.chat(&self.upstream, &request.model)?;
        let wanted = (Wanted::Events, request.trace.as_ref());
        let answer = self.upstream.post(&uri, wanted, body, timeouts.connect, deadline.as_mut()).await?;
        Answer::run(&self.upstream, answer, Completions, deadline, timeouts, Begins::Afresh)
    }

    async fn models(&self) -> Result<Vec<Model>, BackendError> {
        models::parse(&self.upstream.list(&self.places.models, MAX_MODELS_BYTES).await?)
    }
}

/// Inputs of one call are all texts or all tokens.
#[async_trait]
impl Embedder for OpenAi {
    async fn embed(&self, request: EmbedRequest) -> Result<Embedded, BackendError> {
        let body = embeddings::body(&request)?;
        let uri = self.places.embeddings(&self.upstream, &request.model)?;
        let asked = self.upstream.ask(&uri, body, embeddings::MAX_VECTORS_BYTES, request.timeouts).await;
        let (answer, limits) = asked?;
        let (vectors, usage) = embeddings::parse(&answer, request.inputs.len())?;
        Ok(Embedded { vectors, usage, limits })
    }
}

/// The chunks of a whole answer of events, which is cut into pieces anywhere: for tests and fuzzing.
pub fn chunks<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Result<Chunk, BackendError>> {
    replay(Completions, pieces)
}
