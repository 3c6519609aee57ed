//! What the ports refuse, as errors that a client can act on.

use crate::allowance;
use crate::identity::Over;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::time::Duration;
use tidewire_core::port::{FamilyError, Left, ReadError, SubmitError, Unavailable, UpdateError};
use tidewire_core::queue::Full;
use tidewire_proto::{Code, ErrorBody, WireError};

/// How soon a client may try an engine again that was unavailable: an operator takes longer, a hiccup does not.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(2);

/// A request that was refused.
#[derive(Clone, Debug)]
pub(crate) struct Refusal(
    pub(crate) WireError,
    /// What is left of the caller's limits, where one of them is why.
    Option<Box<Left>>,
);

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self(error, None)
    }
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        WireError::new(code, message).into()
    }

    pub(crate) fn with_left(self, left: Left) -> Self {
        Self(self.0, Some(Box::new(left)))
    }

    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self
    }

    pub(crate) fn unknown_task(id: &str) -> Self {
        Self::new(Code::UnknownTask, format!("there is no task `{id}`: it never was, or it has expired"))
    }

    /// Who asks is not known.
    pub(crate) fn unauthorized(message: &str) -> Self {
        Self::new(Code::Unauthorized, message)
    }

    pub(crate) fn shutting_down() -> Self {
        Self::new(Code::ShuttingDown, "the server is shutting down; try again in a moment")
            .retry_after(UNAVAILABLE_RETRY)
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What goes with it, whatever shape a face gives the error itself.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = match &self.1 {
            Some(left) => allowance::refusal_headers(left, self.0.retry_after_ms.map(Duration::from_millis)),
            None => HeaderMap::new(),
        };
        if let Some(millis) = self.0.retry_after_ms {
            // Seconds, rounded up.
            headers.insert(header::RETRY_AFTER, HeaderValue::from(millis.div_ceil(1000)));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tidewire\""));
        }
        headers
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let headers = self.headers();
        (status, headers, axum::Json(ErrorBody { error: self.0 })).into_response()
    }
}

impl From<Unavailable> for Refusal {
    fn from(error: Unavailable) -> Self {
        // After a failed commit it can be in the store all the same: only the acknowledgement is sure to be missing.
        let message = format!("not acknowledged: {}", error.reason);
        Self::new(Code::Unavailable, message).retry_after(UNAVAILABLE_RETRY)
    }
}

impl From<Over> for Refusal {
    fn from(over: Over) -> Self {
        Self::new(over.code(), over.message())
    }
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        let code = match full {
            Full::Bound { .. } => Code::QueueFull,
            Full::TooLate { .. } => Code::WaitTooLong,
        };
        Self::new(code, full.to_string()).retry_after(full.retry_after())
    }
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::KeyConflict { task } => Self::new(
                Code::IdempotencyConflict,
                format!("this idempotency key belongs to {task}, which has another body; use another key"),
            ),
            SubmitError::Family(error) => error.into(),
            SubmitError::Unavailable(error) => error.into(),
        }
    }
}

impl From<FamilyError> for Refusal {
    fn from(error: FamilyError) -> Self {
        let code = match error {
            FamilyError::Unknown => Code::UnknownTask,
            FamilyError::Ended => Code::ParentEnded,
            FamilyError::Overspent(_) => Code::BudgetSpent,
            FamilyError::NotDead => Code::NotDeadLetter,
        };
        Self::new(code, error.to_string())
    }
}

impl From<UpdateError> for Refusal {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::Unknown => {
                Self::new(Code::UnknownTask, "there is no such task: it never was, or it has expired")
            }
            UpdateError::LeaseLost => Self::new(Code::Internal, "the lease is no longer held"),
            UpdateError::Unavailable(error) => error.into(),
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unknown => Self::new(Code::UnknownLog, "there is no such log: it never was, or it has expired"),
            ReadError::EpochChanged { epoch } => Self::new(
                Code::EpochChanged,
                format!(
                    "the log's epoch is {}: the offset belongs to another one; follow again without `after`",
                    epoch.0
                ),
            ),
            ReadError::Trimmed { first } => Self::new(
                Code::Trimmed,
                format!("the log was trimmed up to offset {}; follow again without `after`", first.0),
            ),
            ReadError::Future { tail } => Self::new(
                Code::OffsetInFuture,
                format!(
                    "the log's tail is {}: nothing is there yet after your offset; follow again without `after`",
                    tail.0
                ),
            ),
            ReadError::Damaged { offset } => Self::new(
                Code::Damaged,
                format!("what is stored at offset {} fails its checksum; nothing wrong is given back", offset.0),
            ),
            ReadError::Unavailable(error) => error.into(),
        }
    }
}
