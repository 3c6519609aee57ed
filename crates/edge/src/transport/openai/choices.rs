//! The answers of one request, streamed side by side: mostly one.

use super::chunks::{self, Chunks, Shared};
use super::fault::{Fault, not_whole};
use super::head::Head;
use super::leave::StopOnLeave;
use crate::Edge;
use crate::allowance;
use crate::follow::{Batch, Follower};
use crate::identity::Caller;
use crate::submit::Accepted;
use crate::transport::events::{HEARTBEAT, Waits, Written, sse};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, header};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use tidewire_core::{Ending, Kind, TaskRef};
use tidewire_proto::WireError;

/// The answers of one request.
pub(super) struct Choices {
    lines: Vec<Line>,
    head: Head,
    leave: Arc<Mutex<StopOnLeave>>,
}

/// One of them.
struct Line {
    follower: Follower,
    writer: Writer,
}

/// Makes chunks of its log, and lets its task be once that has ended.
struct Writer {
    task: TaskRef,
    chunks: Chunks,
    leave: Arc<Mutex<StopOnLeave>>,
}

impl Writer {
    fn write(&mut self, batch: &Batch) -> Written {
        if batch.over {
            self.leave.lock().unwrap_or_else(PoisonError::into_inner).stay(self.task);
        }
        self.chunks.write(batch)
    }
}

impl Choices {
    /// Of these tasks and the cursors on their logs.
    pub(super) fn new(
        accepted: &[Accepted],
        followers: Vec<Follower>,
        leave: StopOnLeave,
        include_usage: bool,
    ) -> Option<Self> {
        let first = accepted.first()?;
        let shared = Arc::new(Shared::new(&first.task, accepted.len(), include_usage));
        let leave = Arc::new(Mutex::new(leave));
        let line = |(index, (one, follower)): (usize, (&Accepted, Follower))| Line {
            follower,
            writer: Writer { task: one.at(), chunks: Chunks::new(shared.clone(), index), leave: leave.clone() },
        };
        let lines = accepted.iter().zip(followers).enumerate().map(line).collect();
        Some(Self { lines, head: Head::new(&first.task, allowance::headers(&first.left)), leave })
    }
}

/// The answers as SSE. The head waits for the first word of the first answer, so that it can tell who answers, and so
/// that what fails before is an error with a status; but never longer than a heartbeat.
pub(super) async fn streamed(edge: Arc<Edge>, caller: &Caller, choices: Choices) -> Result<Response, Fault> {
    let Choices { mut lines, mut head, leave } = choices;
    let mut opening = Written { bytes: Bytes::new(), more: true };
    let mut over = false;
    if let Some(first) = lines.first_mut() {
        let mut patience = edge.clock.sleep(HEARTBEAT);
        while !over && !head.has_said() {
            let batch = tokio::select! {
                batch = first.follower.batch() => batch?,
                () = &mut patience => break,
            };
            batch.events.iter().for_each(|event| head.hear(event));
            over = batch.over;
            if let Some(error) = failed(&batch).filter(|_| !head.has_said()) {
                leave.lock().unwrap_or_else(PoisonError::into_inner).stay(first.writer.task);
                return Err(Fault::with(error, head.into_headers()));
            }
            batch.told(&edge);
            let written = first.writer.write(&batch);
            // What comes before the first word has no chunk.
            if !written.bytes.is_empty() {
                opening = written;
            }
        }
    }
    let goes_on = opening.more && !over;
    let mut bodies = Vec::with_capacity(lines.len());
    for (index, line) in lines.into_iter().enumerate() {
        if index > 0 || goes_on {
            bodies.push(body(edge.clone(), caller, line).boxed());
        }
    }
    let rest = match bodies.len() {
        1 => bodies.remove(0),
        _ => stream::select_all(bodies).boxed(),
    };
    let opening = stream::iter((!opening.bytes.is_empty()).then_some(Ok(opening.bytes)));
    let mut headers = head.into_headers();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok((headers, Body::from_stream(opening.chain(rest))).into_response())
}

fn body(
    edge: Arc<Edge>,
    caller: &Caller,
    line: Line,
) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> + Send + use<> {
    let Line { follower, mut writer } = line;
    sse(edge, caller, follower, Waits::untold(), move |batch| match batch {
        Ok(batch) => writer.write(batch),
        Err(error) => chunks::refused(error),
    })
}

/// Why the task failed, where this is its end and it did.
pub(super) fn failed(batch: &Batch) -> Option<WireError> {
    let end = batch.events.last().filter(|event| event.kind == Kind::End)?;
    not_whole(&serde_json::from_slice::<Ending>(&end.data).ok()?)
}
