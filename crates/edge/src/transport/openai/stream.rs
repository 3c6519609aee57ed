//! One answer as SSE, in whatever words: its head waits for the first word, and its task stops when its reader leaves.

use super::choices::failed;
use super::fault::Fault;
use super::head::Head;
use super::leave::StopOnLeave;
use crate::Edge;
use crate::allowance;
use crate::follow::{Batch, Follower, Resume};
use crate::identity::Caller;
use crate::submit::Accepted;
use crate::transport::events::{HEARTBEAT, Waits, Written, sse};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, header};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tidewire_proto::WireError;

/// A new answer, as `write` says it after `opening`. With `waits` the head waits for the first word, so that what fails
/// before is an error with a status; but never longer than a heartbeat.
pub(in crate::transport) async fn streamed<W>(
    edge: Arc<Edge>,
    caller: &Caller,
    accepted: &Accepted,
    mut leave: StopOnLeave,
    waits: bool,
    opening: Vec<u8>,
    mut write: W,
) -> Result<Response, Fault>
where
    W: FnMut(Result<&Batch, &WireError>) -> Written + Send + 'static,
{
    let mut follower = Follower::open(&edge, accepted.at().log(), Resume::default(), Duration::ZERO).await?;
    let mut head = Head::new(&accepted.task, allowance::headers(&accepted.left));
    let (mut opening, task) = (opening, accepted.at());
    let (mut over, mut more) = (false, true);
    let mut patience = edge.clock.sleep(HEARTBEAT);
    while waits && !over && more && !head.has_said() {
        let batch = tokio::select! {
            batch = follower.batch() => batch?,
            () = &mut patience => break,
        };
        batch.events.iter().for_each(|event| head.hear(event));
        over = batch.over;
        if over {
            leave.stay(task);
        }
        if let Some(error) = failed(&batch).filter(|_| !head.has_said()) {
            return Err(Fault::with(error, head.into_headers()));
        }
        batch.told(&edge);
        let written = write(Ok(&batch));
        opening.extend_from_slice(&written.bytes);
        more = written.more;
    }
    let rest = (!over && more).then(|| {
        sse(edge, caller, follower, Waits::untold(), move |batch| {
            if batch.is_ok_and(|batch| batch.over) {
                leave.stay(task);
            }
            write(batch)
        })
    });
    Ok(answer(head.into_headers(), opening.into(), rest))
}

/// A stream's response.
pub(in crate::transport) fn answer(
    mut headers: HeaderMap,
    opening: Bytes,
    rest: Option<impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static>,
) -> Response {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx holds back a response that it may buffer.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    let opening = stream::iter((!opening.is_empty()).then_some(Ok(opening)));
    let rest = rest.map_or_else(|| stream::empty().boxed(), StreamExt::boxed);
    (headers, Body::from_stream(opening.chain(rest))).into_response()
}
