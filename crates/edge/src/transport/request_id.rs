//! Names each request, so that what the server's log says of it can be found: by the caller's own name for it, or one made
//! here.

use http::{HeaderMap, HeaderName, HeaderValue};
use tidewire_core::port::Clock;
use tracing::Span;
use tracing::field::Empty;

/// Under which a request names itself, and its answer says which it was.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest that is taken: twice a UUID's, with room for a prefix.
const MAX_BYTES: usize = 128;

/// A request's name.
pub(super) struct RequestId(String);

impl RequestId {
    /// The one in the request's head, where it is made of letters, digits and a few marks; else a fresh one. What else it
    /// may hold could forge a line of a log.
    pub(super) fn of(headers: &HeaderMap, clock: &dyn Clock) -> Self {
        let fits = |id: &&str| {
            let plain = |letter: u8| letter.is_ascii_alphanumeric() || b"-_.:+/=@".contains(&letter);
            (1..=MAX_BYTES).contains(&id.len()) && id.bytes().all(plain)
        };
        let given = headers.get(HEADER).and_then(|id| id.to_str().ok()).filter(fits);
        Self(given.map_or_else(|| format!("{:016x}{:016x}", clock.random(), clock.random()), str::to_owned))
    }

    /// What is logged meanwhile carries it, and the task that the request makes. Of the highest level: whatever the filter
    /// lets through has it.
    pub(super) fn span(&self) -> Span {
        tracing::error_span!("request", request_id = self.0, task = Empty)
    }

    /// For the answer.
    pub(super) fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static(""))
    }
}
