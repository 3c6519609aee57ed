//! What all adapters that speak HTTP share: connections and time limits, the key, the reading of an answer as it comes,
//! what an error means, and what is left of the upstream's own limits.

mod answer;
mod body;
mod client;
mod limits;
mod reading;
mod refusal;
mod secret;
mod settings;
mod tls;

pub use settings::{BadSettings, Settings};

pub(crate) use answer::{Answer, first_token};
pub(crate) use client::{Upstream, Wanted};
pub(crate) use reading::{Dialect, Heard, replay};
pub(crate) use settings::Auth;

use tidewire_core::port::{BackendError, Fault, MAX_APPEND_BYTES};

/// The longest event, and the longest answer in one piece: nothing longer could be appended to a log.
pub(crate) const MAX_ANSWER_BYTES: usize = MAX_APPEND_BYTES;

/// A request that no upstream would take.
pub(crate) fn invalid(message: impl Into<String>) -> BackendError {
    BackendError::new(Fault::InvalidRequest, message)
}
