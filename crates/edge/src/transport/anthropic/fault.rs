//! Errors in Anthropic's shape (<https://docs.anthropic.com/en/api/errors>), with our stable codes.

use crate::refusal::Refusal;
use crate::transport::openai;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidewire_proto::WireError;

/// A fault, in Anthropic's shape.
pub(in crate::transport) struct Fault(openai::Fault);

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.into())
    }
}

impl From<openai::Fault> for Fault {
    fn from(fault: openai::Fault) -> Self {
        Self(fault)
    }
}

/// Anthropic's error object.
pub(super) fn error_object(error: &WireError) -> Value {
    let kind = match error.status() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        _ => "api_error",
    };
    json!({ "type": "error", "error": { "type": kind, "message": error.message, "code": error.code } })
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        self.0.into_response_with(error_object)
    }
}
