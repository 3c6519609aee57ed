//! Errors of the native faces, and their stable codes.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($name:ident = $text:literal, $status:literal;)*) => {
        /// A stable error code. PROTOCOL.md has the same table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = concat!("`", $text, "`")] $name,)*
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// As it is written.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status),* }
            }
        }
    };
}

codes! {
    InvalidJson = "invalid_json", 400;
    InvalidRequest = "invalid_request", 400;
    UnknownOp = "unknown_op", 400;
    InvalidInput = "invalid_input", 400;
    ContextTooLong = "context_too_long", 400;
    UnknownModel = "unknown_model", 404;
    NoModel = "no_model", 400;
    UnknownTask = "unknown_task", 404;
    UnknownLog = "unknown_log", 404;
    UnknownStream = "unknown_stream", 404;
    StreamGone = "stream_gone", 410;
    StreamExists = "stream_exists", 409;
    StreamClosed = "stream_closed", 409;
    ContentTypeMismatch = "content_type_mismatch", 409;
    SequenceTaken = "sequence_taken", 409;
    SequenceGap = "sequence_gap", 409;
    StaleProducer = "stale_producer", 403;
    TooManyProducers = "too_many_producers", 429;
    TooManyStreams = "too_many_streams", 429;
    UnknownBatch = "unknown_batch", 404;
    UnknownResponse = "unknown_response", 404;
    UnknownFile = "unknown_file", 404;
    FileNotReadable = "file_not_readable", 400;
    FileNotProcessed = "file_not_processed", 409;
    FileTextTooLong = "file_text_too_long", 400;
    FilesFull = "files_full", 413;
    NotFound = "not_found", 404;
    MethodNotAllowed = "method_not_allowed", 405;
    OffsetInFuture = "offset_in_future", 416;
    EpochChanged = "epoch_changed", 409;
    Trimmed = "trimmed", 410;
    Damaged = "damaged", 500;
    IdempotencyConflict = "idempotency_conflict", 409;
    TooLarge = "too_large", 413;
    TooManyFollows = "too_many_follows", 429;
    OriginNotAllowed = "origin_not_allowed", 403;
    Unauthorized = "unauthorized", 401;
    KeyRevoked = "key_revoked", 401;
    KeyExpired = "key_expired", 401;
    KeyChanged = "key_changed", 409;
    SignInStale = "sign_in_stale", 400;
    SignInRefused = "sign_in_refused", 401;
    ProviderUnavailable = "provider_unavailable", 502;
    Forbidden = "forbidden", 403;
    UnknownTenant = "unknown_tenant", 404;
    TenantExists = "tenant_exists", 409;
    UnknownKey = "unknown_key", 404;
    QueueFull = "queue_full", 429;
    WaitTooLong = "wait_too_long", 429;
    RateLimited = "rate_limited", 429;
    BudgetExceeded = "budget_exceeded", 429;
    NeedsUnmet = "needs_unmet", 400;
    ParentEnded = "parent_ended", 409;
    TooDeep = "too_deep", 400;
    BudgetSpent = "budget_spent", 409;
    BatchIncomplete = "batch_incomplete", 409;
    NotDeadLetter = "not_dead_letter", 409;
    Unavailable = "unavailable", 503;
    ShuttingDown = "shutting_down", 503;
    Internal = "internal", 500;
    NotCached = "not_cached", 504;
    DeadlineExceeded = "deadline_exceeded", 504;
    UpstreamUnauthorized = "upstream_unauthorized", 502;
    UpstreamRateLimited = "upstream_rate_limited", 429;
    UpstreamOverloaded = "upstream_overloaded", 502;
    UpstreamUnreachable = "upstream_unreachable", 502;
    UpstreamBroken = "upstream_broken", 502;
    UpstreamTimeout = "upstream_timeout", 504;
    RouteUnavailable = "route_unavailable", 503;
    AttemptsExhausted = "attempts_exhausted", 502;
    GuardBlocked = "guard_blocked", 400;
    GuardUnavailable = "guard_unavailable", 503;
    InputTooLarge = "input_too_large", 400;
    OutputTooLarge = "output_too_large", 400;
    ToolNotAllowed = "tool_not_allowed", 403;
    RunawayLoop = "runaway_loop", 422;
    Rewound = "rewound", 502;
    Stopped = "stopped", 409;
}

impl Code {
    /// The code that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

/// What went wrong, what to do about it, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireError {
    /// A stable code; text, so that a client of today reads a server of tomorrow.
    pub code: String,
    /// For people: what happened and what to do.
    pub message: String,
    /// When it is worth trying again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl WireError {
    /// An error that no waiting mends.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code: code.as_str().to_owned(), message: message.into(), retry_after_ms: None }
    }

    /// The HTTP status that goes with the code.
    pub fn status(&self) -> u16 {
        Code::parse(&self.code).map_or(500, Code::status)
    }
}

/// An HTTP error's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: WireError,
}
