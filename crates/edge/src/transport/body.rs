//! Reads a request's body, bounded.

use crate::refusal::Refusal;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tidewire_proto::Code;

/// The whole body, where it is within the limit.
pub(super) async fn read(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    match Limited::new(body, limit).collect().await {
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
