//! Answers that are read whole: errors, lists of models, vectors.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::error::Error;
use std::pin::Pin;
use tidewire_core::port::{BackendError, Fault};
use tokio::time::Sleep;

/// How much of an error's body is read: ten times what any upstream was seen to say.
pub(super) const MAX_ERROR_BYTES: usize = 64 * 1024;

/// Reads a body whole. Longer than the limit, or later than the deadline, is an error.
pub(super) async fn read(
    mut body: Incoming,
    limit_bytes: usize,
    mut deadline: Pin<&mut Sleep>,
) -> Result<Vec<u8>, BackendError> {
    let mut whole = Vec::new();
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = deadline.as_mut() => {
                return Err(BackendError::new(Fault::TimedOut, "the upstream took too long to end its answer"));
            }
        };
        let Some(frame) = frame else { return Ok(whole) };
        let data = frame.map_err(|error| broken_off(&error))?.into_data().unwrap_or_default();
        if whole.len() + data.len() > limit_bytes {
            let message = format!("the upstream's answer is longer than {limit_bytes} bytes");
            return Err(BackendError::new(Fault::Broken, message));
        }
        whole.extend_from_slice(&data);
    }
}

/// The connection ended in the middle of an answer.
pub(super) fn broken_off(error: &hyper::Error) -> BackendError {
    BackendError::new(Fault::Broken, format!("the upstream's answer broke off: {}", root(error)))
}

/// What went wrong at the bottom, where the layers above only say that something did.
pub(super) fn root<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root
}
