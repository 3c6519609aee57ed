//! Errors in OpenAI's shape (<https://platform.openai.com/docs/guides/error-codes>), with our stable codes.

use crate::refusal::Refusal;
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde_json::Value;
use tidewire_core::{Ending, Outcome};
use tidewire_proto::{Code, WireError};

/// A fault, in OpenAI's shape.
pub(crate) struct Fault {
    refusal: Refusal,
    /// What else the answer's head says: which task, what is left.
    headers: HeaderMap,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, headers: HeaderMap::new() }
    }
}

impl Fault {
    /// With these headers beside.
    pub(in crate::transport) fn with(error: WireError, headers: HeaderMap) -> Self {
        Self { refusal: error.into(), headers }
    }
}

impl Fault {
    /// With its error said so.
    pub(in crate::transport) fn into_response_with(self, said: impl FnOnce(&WireError) -> Value) -> Response {
        let Self { refusal, headers } = self;
        (refusal.status(), headers, refusal.headers(), Json(said(&refusal.0))).into_response()
    }
}

/// OpenAI's error object.
pub(super) fn error_object(error: &WireError) -> Value {
    let kind = match error.status() {
        // As OpenAI tells an account without credit from one that is too fast.
        _ if error.code == Code::BudgetExceeded.as_str() => "insufficient_quota",
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    };
    serde_json::json!({ "error": { "message": error.message, "type": kind, "param": null, "code": error.code } })
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        self.into_response_with(error_object)
    }
}

/// Why a log's end is no whole answer.
pub(in crate::transport) fn not_whole(ending: &Ending) -> Option<WireError> {
    match (ending.state, &ending.error) {
        (Outcome::Done, _) => None,
        (Outcome::Failed, Some(failure)) => Some(WireError {
            code: failure.code.clone(),
            message: failure.message.clone(),
            retry_after_ms: failure.retry_after_ms,
        }),
        (Outcome::Failed, None) => Some(WireError::new(Code::Internal, "the task failed")),
        (Outcome::Stopped, _) => Some(WireError::new(Code::Stopped, "the task was stopped")),
    }
}

/// The answer began anew after text had been sent.
pub(in crate::transport) fn rewound() -> WireError {
    WireError::new(
        Code::Rewound,
        "the model failed in mid-answer and another attempt starts over; the whole answer is in the task's log",
    )
}
