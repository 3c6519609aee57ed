//! The port `Backend`: an adapter to one kind of model API.

use crate::ending::Usage;
use crate::time::Timestamp;
use crate::trace::Header;
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Runs requests on models.
///
/// Promises, checked by `testkit::backend`:
/// - The chunks, joined, are the answer. The last one is [`Chunk::Finish`], exactly once, or an error; a
///   stream that ends without either was cut off, and the worker treats it as [`Fault::Broken`].
/// - Dropping the run, or the future that would give one, stops the model: the upstream's connection is
///   closed, a sequence is freed.
/// - Unknown fields of the request reach the model untouched.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Begins one request. Returns once the model has accepted it: before the first token.
    async fn run(&self, request: Request) -> Result<Run, BackendError>;

    /// The models that it has now.
    async fn models(&self) -> Result<Vec<Model>, BackendError>;
}

/// Turns texts into vectors.
///
/// Promises, checked by `testkit::embedder`: one vector for each input, in their order; dropping the future ends the call
/// upstream.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// Embeds all inputs in one call.
    async fn embed(&self, request: EmbedRequest) -> Result<Embedded, BackendError>;
}

/// What to embed.
#[derive(Clone, Debug)]
pub struct EmbedRequest {
    /// The model's name at the backend.
    pub model: Arc<str>,
    /// The texts.
    pub inputs: Vec<EmbedInput>,
    /// How long each vector is to be, where the model can choose.
    pub dimensions: Option<u32>,
    /// How long to wait for what: `first_token` is for the whole answer.
    pub timeouts: Timeouts,
}

/// One input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmbedInput {
    /// As text.
    Text(String),
    /// As the model's own tokens.
    Tokens(Vec<u32>),
}

/// Vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// One for each input.
    pub vectors: Vec<Vec<f32>>,
    /// What all of them used.
    pub usage: Usage,
    /// What the upstream told of its limits.
    pub limits: Vec<UpstreamLimit>,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Request {
    /// The model's name at the backend.
    pub model: Arc<str>,
    /// OpenAI chat JSON: an object with `messages`. Its `model` and `stream` are the caller's and are ignored.
    pub input: Bytes,
    /// The text that an earlier attempt has already committed; empty at first. A backend that can goes on
    /// from here, and says so with [`Begins::AfterCommitted`].
    pub committed: String,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// The trace that the request belongs to, for a model's server that takes part in traces.
    pub trace: Option<Header>,
}

/// How long to wait before an upstream counts as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// From the request to the first token.
    pub first_token: Duration,
    /// Between two tokens.
    pub between_tokens: Duration,
}

impl Default for Timeouts {
    /// 5 s to connect; 60 s for the first token, as a long prompt takes on a busy server; 30 s between tokens.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: Duration::from_mins(1),
            between_tokens: Duration::from_secs(30),
        }
    }
}

/// A running request. Dropping it stops the model.
pub struct Run {
    /// Where its text begins.
    pub begins: Begins,
    /// What the model says.
    pub chunks: Chunks,
    /// What the upstream told of its limits.
    pub limits: Vec<UpstreamLimit>,
}

/// What is left of one of an upstream's own limits, as `x-ratelimit-*` headers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamLimit {
    /// What it counts.
    pub of: Counted,
    /// How many there may be in its period.
    pub limit: Option<u64>,
    /// How many are left.
    pub remaining: u64,
    /// When all of them are back.
    pub reset: Option<Duration>,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counted {
    /// Requests.
    Requests,
    /// Tokens, read and written together.
    Tokens,
}

/// What a model says, as it says it.
pub type Chunks = Pin<Box<dyn futures_core::Stream<Item = Result<Chunk, BackendError>> + Send>>;

/// Where a run's text begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// At the start of the answer: committed text no longer counts.
    Afresh,
    /// After the committed text.
    AfterCommitted,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Text; whole UTF-8 characters.
    Text(Bytes),
    /// Reasoning text; whole UTF-8 characters.
    Reasoning(Bytes),
    /// An OpenAI `delta.tool_calls` array, as JSON.
    ToolCall(Bytes),
    /// An OpenAI `logprobs.content` array of the tokens of the text chunk before it, as JSON.
    Logprobs(Bytes),
    /// A vector, as JSON of [`embeddings::Vector`](crate::embeddings::Vector).
    Embedding(Bytes),
    /// Tokens used by this run so far; a later one replaces an earlier one.
    Usage(Usage),
    /// The answer is whole.
    Finish(Reason),
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// OpenAI's `finish_reason`: `stop`, `length`, `tool_calls`, ...
    pub word: Arc<str>,
    /// Which of the stop sequences that were asked for ended it, where one did and the upstream tells.
    pub sequence: Option<Arc<str>>,
}

impl From<&str> for Reason {
    fn from(word: &str) -> Self {
        Self { word: word.into(), sequence: None }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.word)
    }
}

/// A model that a backend has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name at the backend.
    pub name: String,
    /// How many tokens fit its context, where that is known.
    pub context_tokens: Option<u32>,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BackendError {
    /// What kind of failure: it decides what happens next.
    pub fault: Fault,
    /// What happened, for people. Holds no secret and no prompt.
    pub message: String,
    /// When the upstream asked to be tried again.
    pub retry_after: Option<Duration>,
    /// The upstream's HTTP status, where it gave one.
    pub status: Option<u16>,
    /// What the upstream told of its limits.
    pub limits: Vec<UpstreamLimit>,
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The request is wrong, and would be wrong again: no retry.
    InvalidRequest,
    /// The prompt does not fit the model's context: no retry here.
    ContextTooLong,
    /// The model's name is unknown there: no retry here.
    UnknownModel,
    /// The upstream refused our key: no retry here.
    Unauthorized,
    /// The upstream asks for fewer requests: retry later.
    RateLimited,
    /// The upstream is full or failing: retry.
    Overloaded,
    /// No connection: retry.
    Unreachable,
    /// Too long without a token: retry.
    TimedOut,
    /// The answer broke off or made no sense: retry.
    Broken,
    /// A guardrail of ours forbids the prompt or the answer: no retry, and no fault of the upstream.
    Blocked,
    /// A guardrail of ours gave no answer, and nothing passes without: no retry, and no fault of the upstream.
    Unchecked,
}

impl Fault {
    /// The stable code of PROTOCOL.md.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_input",
            Self::ContextTooLong => "context_too_long",
            Self::UnknownModel => "unknown_model",
            Self::Unauthorized => "upstream_unauthorized",
            Self::RateLimited => "upstream_rate_limited",
            Self::Overloaded => "upstream_overloaded",
            Self::Unreachable => "upstream_unreachable",
            Self::TimedOut => "upstream_timeout",
            Self::Broken => "upstream_broken",
            Self::Blocked => "guard_blocked",
            Self::Unchecked => "guard_unavailable",
        }
    }

    /// Whether the upstream had no part in it: its failure or success is still to be seen.
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::Blocked | Self::Unchecked)
    }

    /// Whether another attempt can help.
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::RateLimited | Self::Overloaded | Self::Unreachable | Self::TimedOut | Self::Broken)
    }
}

impl BackendError {
    /// A failure of this kind.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), retry_after: None, status: None, limits: Vec::new() }
    }

    /// When it may be tried again, at the earliest.
    pub fn not_before(&self, now: Timestamp) -> Option<Timestamp> {
        self.retry_after.map(|wait| now.plus(wait))
    }
}
