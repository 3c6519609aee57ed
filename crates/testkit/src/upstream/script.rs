//! What the scripted model server says, and what goes wrong meanwhile.

use std::time::Duration;

/// What to answer. The default: ten tokens at once, told of truthfully.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// How many tokens of each choice: `w0 `, `w1 `, ... Fewer where the caller's `max_tokens` is less.
    pub tokens: u32,
    /// From the request to the first token.
    pub first_token: Duration,
    /// How many of a thousand calls wait how much longer, spread evenly.
    pub slow: (u32, Duration),
    /// From a token to the next. The schedule is absolute: a late token does not delay those after it.
    pub per_token: Duration,
    /// What a truthful count says of the prompt.
    pub input_tokens: u64,
    /// How many of those a truthful count calls cached.
    pub cached_tokens: u64,
    /// How many of the output tokens a truthful count calls reasoning.
    pub reasoning_tokens: u64,
    /// What is said of usage.
    pub usage: Reported,
    /// What goes wrong.
    pub fault: Option<Fault>,
    /// Headers of every answer, such as `("x-ratelimit-remaining-requests", "3")`.
    pub headers: Vec<(String, String)>,
    /// Whether an answer goes on after a last message of the assistant that is the beginning of this script's text.
    pub continues: bool,
    /// Whether it streams where that is asked for; else it answers in one piece, as some servers do.
    pub streams: bool,
    /// How long an embedding is.
    pub dimensions: usize,
    /// Whether texts that have words in common have embeddings that are close to each other, as a model's are.
    pub by_words: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            tokens: 10,
            first_token: Duration::ZERO,
            slow: (0, Duration::ZERO),
            per_token: Duration::ZERO,
            input_tokens: 7,
            cached_tokens: 0,
            reasoning_tokens: 0,
            usage: Reported::Truth,
            fault: None,
            headers: Vec::new(),
            continues: true,
            streams: true,
            dimensions: 8,
            by_words: false,
        }
    }
}

impl Script {
    /// So many tokens, all at once.
    pub fn tokens(tokens: u32) -> Self {
        Self { tokens, ..Self::default() }
    }

    /// A fault, and nothing else of note.
    pub fn failing(fault: Fault) -> Self {
        Self::default().with(fault)
    }

    /// With times to the first token, and from one to the next.
    #[must_use]
    pub fn paced(self, first_token: Duration, per_token: Duration) -> Self {
        Self { first_token, per_token, ..self }
    }

    /// With a fault.
    #[must_use]
    pub fn with(self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self }
    }

    /// With one header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The whole text of a choice.
    pub fn text(&self) -> String {
        text(0, self.tokens)
    }
}

/// The text of the tokens from one to another.
pub(super) fn text(from: u32, to: u32) -> String {
    (from..to).map(token).collect()
}

pub(super) fn token(number: u32) -> String {
    format!("w{number} ")
}

/// What is said of usage at the end of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// What was sent: in a stream where `stream_options.include_usage` asks for it, in a document always.
    Truth,
    /// Nothing, though it was asked for.
    Nothing,
    /// Something else.
    Wrong {
        /// `prompt_tokens`.
        input: u64,
        /// `completion_tokens`.
        output: u64,
    },
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call is refused with an HTTP error.
    Refused(Refusal),
    /// The connection is reset when the request is there.
    Reset,
    /// Nothing is answered, until the client goes or [`super::Upstream::resume`] lets it go on.
    Silent,
    /// The answer breaks after so many tokens (counted over all choices, those that were continued left out). In a
    /// document it breaks in the middle, and no token counts as sent.
    Breaks {
        /// How many tokens go out before.
        after_tokens: u32,
        /// How it breaks.
        how: Break,
    },
    /// The answer breaks once it has said why it ends: before its usage, and before its own end. In a document, as
    /// above.
    BreaksAfterReason {
        /// How it breaks.
        how: Break,
    },
}

/// How an answer breaks in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Nothing more comes, until the client goes or [`super::Upstream::resume`] lets it go on: then the rest comes.
    Stall,
    /// The connection is closed (FIN).
    Cut,
    /// The connection is reset (RST). The client may lose tokens that were sent before.
    Reset,
    /// A chunk that is no JSON, and then the rest as if nothing had been.
    Malformed,
    /// An error in the place of a chunk, and the end.
    Error,
    /// A clean end without a `finish_reason`.
    Early,
}

impl Fault {
    /// `429` with a Retry-After.
    pub fn too_many_requests(retry_after: Option<Duration>) -> Self {
        Self::Refused(Refusal { retry_after, ..Refusal::new(429, "rate_limit_exceeded", "Rate limit reached.") })
    }

    /// `400` because the prompt is longer than the model's context.
    pub fn context_too_long() -> Self {
        let message = "This model's maximum context length is 8192 tokens. Please reduce the length of the messages.";
        Self::Refused(Refusal::new(400, "context_length_exceeded", message))
    }

    /// An answer with this status.
    pub fn status(status: u16) -> Self {
        let code = if status >= 500 { "server_error" } else { "invalid_request" };
        Self::Refused(Refusal::new(status, code, "The scripted upstream was told to say this."))
    }

    /// The answer breaks after so many tokens.
    pub fn after(after_tokens: u32, how: Break) -> Self {
        Self::Breaks { after_tokens, how }
    }
}

/// An HTTP error in OpenAI's shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// `error.code`.
    pub code: String,
    /// `error.message`.
    pub message: String,
    /// The header Retry-After, in whole seconds, and `retry-after-ms`.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// Without a Retry-After.
    pub fn new(status: u16, code: &str, message: &str) -> Self {
        Self { status, code: code.to_owned(), message: message.to_owned(), retry_after: None }
    }
}
