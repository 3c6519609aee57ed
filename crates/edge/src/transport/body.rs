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

/// How much of a body that is too large is read all the same, and thrown away: a client that is still sending
/// when the connection is closed sees a broken pipe, and not why.
const DRAINED_BYTES: usize = 32 * 1024 * 1024;

/// How many single bodies a batch's may be as large as: 16 MiB by default hold 10,000 prompts of 1.6 KB.
pub(super) const BATCH_BODIES: usize = 16;

/// The whole body, where it is within the limit and comes in time.
pub(super) async fn read(edge: &Edge, body: Body) -> Result<Bytes, Refusal> {
    read_upto(edge, body, edge.limits.body_bytes).await
}

/// The body of a batch, which holds many tasks.
pub(super) async fn read_batch(edge: &Edge, body: Body) -> Result<Bytes, Refusal> {
    read_upto(edge, body, edge.limits.body_bytes.saturating_mul(BATCH_BODIES)).await
}

async fn read_upto(edge: &Edge, mut body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let late = edge.clock.sleep(PATIENCE);
    let reading = async {
        match Limited::new(&mut body, limit).collect().await {
            Ok(whole) => Ok(whole.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                // However this goes: the refusal is the same.
                let _ = drain(&mut body).await;
                Err(too_large(limit))
            }
            Err(error) => Err(Refusal::new(Code::InvalidRequest, format!("the body broke off: {error}"))),
        }
    };
    tokio::select! {
        read = reading => read,
        () = late => Err(Refusal::new(Code::InvalidRequest, "the body did not arrive within a minute")),
    }
}

async fn drain(body: &mut Body) -> Result<(), axum::Error> {
    let mut drained = 0;
    while let Some(frame) = body.frame().await.filter(|_| drained < DRAINED_BYTES) {
        drained += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(())
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
    Refusal::new(
        Code::TooLarge,
        format!("the limit is {limit} bytes (`limits.body_bytes`; a batch may have {BATCH_BODIES} times as much)"),
    )
}
