//! A backend for Google's Gemini API, which takes and gives the words of OpenAI's chat.
//!
//! Fields that this does not know pass as they are, so that the API's own (`safetySettings`, `cachedContent`,
//! `generationConfig`, tools like `{"googleSearch": {}}`) can be used; what is said in them counts more than what
//! follows from OpenAI's. A call of a tool keeps the signature of its thoughts in `extra_content.google`, as in
//! Google's own OpenAI-compatible face. Pictures and sounds in an answer have no place in a log yet and are dropped.

mod answer;
mod contents;
mod embeddings;
mod frame;
mod request;

use crate::upstream::{Answer, Auth, BadSettings, Settings, Upstream, Wanted, first_token, invalid, replay};
use answer::Pieces;
use async_trait::async_trait;
use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tidewire_core::port::{
    Backend, BackendError, Begins, Chunk, EmbedRequest, Embedded, Embedder, Fault, Model, Request, Run,
};

/// Where the API is.
pub const PUBLIC_URL: &str = "https://generativelanguage.googleapis.com/v1beta";
/// The longest list of models: a page of 1,000 with a description of each.
const MAX_MODELS_BYTES: usize = 8 * 1024 * 1024;
/// What a model's name may hold as it is: `models/` and `tunedModels/` are parts of names.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b'@');

/// An upstream that speaks the Gemini API.
#[derive(Debug)]
pub struct Gemini {
    upstream: Upstream,
    models: Uri,
}

impl Gemini {
    /// An upstream by its base URL, with its `/v1beta`; an empty one is the public API's.
    pub fn new(settings: &Settings) -> Result<Self, BadSettings> {
        let upstream = Upstream::new(&settings.or_at(PUBLIC_URL), Auth::Header("x-goog-api-key"), &[])?;
        let models = upstream.at("/models", "pageSize=1000")?;
        Ok(Self { upstream, models })
    }

    /// Where a model does this.
    fn uri(&self, model: &str, does: &str, query: &str) -> Result<Uri, BackendError> {
        let uri = self.upstream.at(&format!("/{}:{does}", utf8_percent_encode(model, NAME)), query);
        uri.map_err(|_| invalid("the model's name is none that a URL can carry"))
    }
}

/// With the folder that it is in, which is `models` unless the name says.
fn whole_name(model: &str) -> Result<String, BackendError> {
    if model.is_empty() || model.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(invalid("the model's name is none that a URL can carry"));
    }
    Ok(if model.contains('/') { model.to_owned() } else { format!("models/{model}") })
}

#[async_trait]
impl Backend for Gemini {
    async fn run(&self, request: Request) -> Result<Run, BackendError> {
        let body = request::body(&request)?;
        let uri = self.uri(&whole_name(&request.model)?, "streamGenerateContent", "alt=sse")?;
        let timeouts = request.timeouts;
        let mut deadline = first_token(timeouts);
        let wanted = (Wanted::Events, request.trace.as_ref());
        let answer = self.upstream.post(&uri, wanted, body, timeouts.connect, deadline.as_mut()).await?;
        Answer::run(&self.upstream, answer, Pieces::default(), deadline, timeouts, Begins::Afresh)
    }

    async fn models(&self) -> Result<Vec<Model>, BackendError> {
        #[derive(Deserialize)]
        struct List {
            #[serde(default)]
            models: Vec<Entry>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Entry {
            name: String,
            #[serde(default)]
            input_token_limit: Option<u32>,
        }
        let list = self.upstream.list(&self.models, MAX_MODELS_BYTES).await?;
        let list: List = serde_json::from_slice(&list).map_err(|error| {
            BackendError::new(Fault::Broken, format!("the upstream's list of models can't be read: {error}"))
        })?;
        let model = |entry: Entry| {
            let name = entry.name.strip_prefix("models/").unwrap_or(&entry.name).to_owned();
            Model { name, context_tokens: entry.input_token_limit }
        };
        Ok(list.models.into_iter().map(model).collect())
    }
}

/// Inputs are texts.
#[async_trait]
impl Embedder for Gemini {
    async fn embed(&self, request: EmbedRequest) -> Result<Embedded, BackendError> {
        let model = whole_name(&request.model)?;
        let body = embeddings::body(&request, &model)?;
        let uri = self.uri(&model, "batchEmbedContents", "")?;
        let (answer, limits) = self.upstream.ask(&uri, body, embeddings::MAX_VECTORS_BYTES, request.timeouts).await?;
        let (vectors, usage) = embeddings::parse(&answer, &request.inputs)?;
        Ok(Embedded { vectors, usage, limits })
    }
}

/// The chunks of a whole answer of events, which is cut into pieces anywhere: for tests and fuzzing.
pub fn chunks<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Result<Chunk, BackendError>> {
    replay(Pieces::default(), pieces)
}

/// The body that is sent for a request, for tests.
pub fn body(request: &Request) -> Result<String, BackendError> {
    String::from_utf8(request::body(request)?.into()).map_err(|_| invalid("the request is not UTF-8"))
}
