//! Reads a request's body, bounded.

use crate::Edge;
use crate::refusal::Refusal;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::time::Duration;
use tidewire_proto::Code;

/// How long a body may take to arrive: 1 MiB over a slow phone's link.
const PATIENCE: Duration = Duration::from_mins(1);

/// The whole body, where it is within the limit and comes in time.
pub(super) async fn read(edge: &Edge, body: Body) -> Result<Bytes, Refusal> {
    let limit = edge.limits.body_bytes;
    let whole = tokio::select! {
        whole = Limited::new(body, limit).collect() => whole,
        () = edge.clock.sleep(PATIENCE) => {
            return Err(Refusal::new(Code::InvalidRequest, "the body did not arrive within a minute"));
        }
    };
    match whole {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Err(error) => Err(Refusal::new(Code::InvalidRequest, format!("the body broke off: {error}"))),
    }
}

/// The body as JSON.
pub(super) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| refused(body, &error))
}

/// Tells a body that is no JSON object from one with a wrong field.
pub(super) fn refused(body: &[u8], error: &serde_json::Error) -> Refusal {
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    let code = if error.is_data() && is_object { Code::InvalidRequest } else { Code::InvalidJson };
    Refusal::new(code, format!("the body can't be read: {error}"))
}

pub(super) fn too_large(limit: usize) -> Refusal {
    Refusal::new(Code::TooLarge, format!("the limit is {limit} bytes (`limits.body_bytes`)"))
}
