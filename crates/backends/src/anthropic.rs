//! A backend for Anthropic's Messages API, which takes and gives the words of OpenAI's chat.
//!
//! What differs between the two is said in the other's words where there are any: see `request` and `answer`. Fields
//! that this does not know pass as they are, so that the API's own (`thinking`, `cache_control` in a part, `top_k`,
//! `mcp_servers`) can be used. What the API does not have at all is refused (`logprobs`, `n`, `json_object`) or left
//! out where it is only a hint (`seed`, penalties, `logit_bias`; `temperature` where a model no longer takes it).
//! Signatures of thoughts are not passed on: OpenAI's form has no place for them.

mod answer;
mod frame;
mod generation;
mod request;
mod turns;

use crate::upstream::{Answer, Auth, BadSettings, Settings, Upstream, Wanted, first_token, invalid, replay};
use answer::Messages;
use async_trait::async_trait;
use http::Uri;
use serde::Deserialize;
use tidewire_core::port::{Backend, BackendError, Chunk, Fault, Model, Request, Run};

/// Where the API is.
pub const PUBLIC_URL: &str = "https://api.anthropic.com/v1";
/// The version of the API that this speaks.
const API_VERSION: &str = "2023-06-01";
/// The longest list of models: a page of 1,000 with all that is told of each.
const MAX_MODELS_BYTES: usize = 8 * 1024 * 1024;

/// An upstream that speaks the Messages API.
#[derive(Debug)]
pub struct Anthropic {
    upstream: Upstream,
    messages: Uri,
    models: Uri,
    max_tokens: Option<u32>,
}

/// What differs from the API's own defaults.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The version of the API; 2023-06-01 unless set.
    pub api_version: Option<String>,
    /// The longest answer where a request does not say; by the model unless set.
    pub max_tokens: Option<u32>,
}

impl Anthropic {
    /// An upstream by its base URL, with its `/v1`; an empty one is the public API's.
    pub fn new(settings: &Settings, options: Options) -> Result<Self, BadSettings> {
        let mut settings = settings.or_at(PUBLIC_URL);
        if let Some(version) = options.api_version {
            settings.headers.push(("anthropic-version".to_owned(), version));
        }
        let upstream = Upstream::new(&settings, Auth::Header("x-api-key"), &[("anthropic-version", API_VERSION)])?;
        let messages = upstream.at("/messages", "")?;
        let models = upstream.at("/models", "limit=1000")?;
        Ok(Self { upstream, messages, models, max_tokens: options.max_tokens })
    }
}

#[async_trait]
impl Backend for Anthropic {
    async fn run(&self, request: Request) -> Result<Run, BackendError> {
        let (body, begins) = request::body(&request, self.max_tokens)?;
        let timeouts = request.timeouts;
        let mut deadline = first_token(timeouts);
        let wanted = (Wanted::Events, request.trace.as_ref());
        let posted = self.upstream.post(&self.messages, wanted, body, timeouts.connect, deadline.as_mut());
        let answer = posted.await?;
        Answer::run(&self.upstream, answer, Messages::default(), deadline, timeouts, begins)
    }

    async fn models(&self) -> Result<Vec<Model>, BackendError> {
        #[derive(Deserialize)]
        struct List {
            data: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            id: String,
            #[serde(default)]
            max_input_tokens: Option<u32>,
        }
        let list = self.upstream.list(&self.models, MAX_MODELS_BYTES).await?;
        let list: List = serde_json::from_slice(&list).map_err(|error| {
            BackendError::new(Fault::Broken, format!("the upstream's list of models can't be read: {error}"))
        })?;
        let model = |entry: Entry| Model { name: entry.id, context_tokens: entry.max_input_tokens };
        Ok(list.data.into_iter().map(model).collect())
    }
}

/// The chunks of a whole answer of events, which is cut into pieces anywhere: for tests and fuzzing.
pub fn chunks<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Result<Chunk, BackendError>> {
    replay(Messages::default(), pieces)
}

/// The body that is sent for a request, for tests.
pub fn body(request: &Request) -> Result<String, BackendError> {
    let (body, _) = request::body(request, None)?;
    String::from_utf8(body.into()).map_err(|_| invalid("the request is not UTF-8"))
}
