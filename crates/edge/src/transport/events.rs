//! `GET /v1/tasks/{id}/events`: a log as server-sent events, as a page of JSON, or as a long poll.

use super::tasks::{parse_id, query, task_header, unknown_as_task};
use super::websocket::standings::LOOK;
use crate::Edge;
use crate::follow::{Batch, DEFAULT_WINDOW, Follower, MAX_WINDOW_MS, Resume, merged};
use crate::identity::Caller;
use crate::refusal::Refusal;
use crate::submit::wait_ms;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::queue::Standing;
use tidewire_core::{LogRef, TaskRef};
use tidewire_proto::http::EventPage;
use tidewire_proto::{Code, WireError};

/// How often a silent response says that it lives: proxies close what is silent for a minute.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);

/// The longest long poll: under the usual time-out of proxies.
const MAX_POLL_MS: u64 = 30_000;

/// A page of JSON.
const PAGE_BYTES: usize = 1024 * 1024;

const EPOCH_HEADER: HeaderName = HeaderName::from_static("tidewire-epoch");

#[derive(Deserialize)]
struct EventsQuery {
    after: Option<u64>,
    epoch: Option<u32>,
    window_ms: Option<u64>,
    wait_ms: Option<u64>,
    format: Option<String>,
}

/// A window as a client asks for it.
pub(super) fn window(millis: Option<u64>) -> Result<Duration, Refusal> {
    match millis {
        None => Ok(DEFAULT_WINDOW),
        Some(millis) if millis <= MAX_WINDOW_MS => Ok(Duration::from_millis(millis)),
        Some(_) => Err(Refusal::new(Code::InvalidRequest, format!("`window_ms` is 0 to {MAX_WINDOW_MS}"))),
    }
}

pub(super) async fn events(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    raw: RawQuery,
) -> Result<Response, Refusal> {
    let at = parse_id(&caller, &id)?;
    of_log(edge, &caller, at.log(), &headers, raw).await.map_err(|refusal| unknown_as_task(refusal, &id))
}

/// Any log's events.
pub(super) async fn of_log(
    edge: Arc<Edge>,
    caller: &Caller,
    at: LogRef,
    headers: &HeaderMap,
    raw: RawQuery,
) -> Result<Response, Refusal> {
    let asked: EventsQuery = query(raw)?;
    let accepts_sse = headers
        .get(header::ACCEPT)
        .is_some_and(|accept| accept.to_str().is_ok_and(|accept| accept.contains("text/event-stream")));
    let sse = match asked.format.as_deref() {
        None => accepts_sse,
        Some("sse") => true,
        Some("json") => false,
        Some(other) => {
            return Err(Refusal::new(Code::InvalidRequest, format!("`format` is `sse` or `json`, not `{other}`")));
        }
    };
    let after = last_event_id(headers)?.or(asked.after);
    let resume = Resume { after, epoch: asked.epoch };
    let follower = Follower::open(&edge, at, resume, window(asked.window_ms)?).await?;
    if sse {
        serve_sse(edge, caller, at, follower).await
    } else {
        serve_json(&edge, caller, at, follower, asked.wait_ms).await
    }
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let parsed = value.to_str().ok().filter(|text| !text.is_empty()).map(str::parse).transpose();
    parsed.map_err(|_| Refusal::new(Code::InvalidRequest, "`Last-Event-ID` is an offset: a whole number"))
}

async fn serve_json(
    edge: &Edge,
    caller: &Caller,
    at: LogRef,
    mut follower: Follower,
    wait_ms: Option<u64>,
) -> Result<Response, Refusal> {
    let epoch = follower.cursor.epoch.0;
    let from = follower.cursor.next.0;
    let mut batch = follower.page(PAGE_BYTES).await?;
    let wait = Duration::from_millis(wait_ms.unwrap_or(0).min(MAX_POLL_MS));
    if batch.events.is_empty() && !batch.over && !wait.is_zero() {
        let mut end = caller.end(&*edge.clock);
        tokio::select! {
            () = follower.news() => batch = follower.page(PAGE_BYTES).await?,
            over = end.wait() => return Err(over.into()),
            () = edge.clock.sleep(wait) => {}
        }
    }
    let page = EventPage {
        epoch,
        from,
        to: follower.cursor.next.0,
        tail: follower.tail.0,
        ended: batch.over,
        events: merged(&batch.events),
    };
    Ok((named(at), [(EPOCH_HEADER, HeaderValue::from(epoch))], axum::Json(page)).into_response())
}

/// The header that names the task, where the log is one's.
fn named(at: LogRef) -> HeaderMap {
    at.log.task().map(task_header).into_iter().collect()
}

async fn serve_sse(edge: Arc<Edge>, caller: &Caller, at: LogRef, follower: Follower) -> Result<Response, Refusal> {
    let epoch = HeaderValue::from(follower.cursor.epoch.0);
    let state = edge.log.state(at).await?;
    if state.ended && follower.cursor.next >= state.tail {
        // An EventSource that comes back after the end is told to stay away: 204 stops its reconnecting.
        return Ok((StatusCode::NO_CONTENT, named(at), [(EPOCH_HEADER, epoch)]).into_response());
    }
    let headers = [
        (EPOCH_HEADER, epoch),
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx holds back a response that it may buffer.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    let body = sse(edge, caller, follower, Waits::of(at), |batch| match batch {
        Ok(batch) => Written { bytes: frames(batch), more: true },
        Err(error) => Written { bytes: refused(error), more: false },
    });
    Ok((named(at), headers, Body::from_stream(body)).into_response())
}

/// What a face makes of a batch, and whether it has more to say.
pub(super) struct Written {
    pub(super) bytes: Bytes,
    pub(super) more: bool,
}

/// Tells a follower where its task stands, while it waits.
pub(super) struct Waits {
    task: Option<TaskRef>,
    told: Option<Standing>,
}

impl Waits {
    /// Of this log's task, if it is a task's.
    fn of(log: LogRef) -> Self {
        Self { task: log.log.task().map(|task| TaskRef { tenant: log.tenant, task }), told: None }
    }

    /// Of none: the face has no word for it.
    pub(super) fn untold() -> Self {
        Self { task: None, told: None }
    }

    /// Where the task stands, if that has changed. A task that waits no more is not looked at again.
    fn news(&mut self, edge: &Edge) -> Option<Bytes> {
        let Some(standing) = self.task.and_then(|task| edge.queue.standing(task)) else {
            self.task = None;
            return None;
        };
        // One that is about to run has nothing to wait for.
        if standing.wait == Some(Duration::ZERO) || self.told.is_some_and(|told| told.place == standing.place) {
            return None;
        }
        self.told = Some(standing);
        let note = serde_json::json!({ "place": standing.place.0, "wait_ms": wait_ms(&standing) });
        // Without an id: it is no event of the log.
        Some(format!("event: waiting\ndata: {note}\n\n").into())
    }
}

/// A log as an SSE body: what `write` makes of each batch (or of why there is none), where the task stands while it
/// waits, and a comment in every silence. It ends after the log's last event, where the face has no more to say, or with
/// its caller's right.
pub(super) fn sse<W: FnMut(Result<&Batch, &WireError>) -> Written + Send + 'static>(
    edge: Arc<Edge>,
    caller: &Caller,
    follower: Follower,
    waits: Waits,
    write: W,
) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> + Send + use<W> {
    let end = caller.end(&*edge.clock);
    stream::unfold(Some((edge, follower, waits, end, write)), async |state| {
        let (edge, mut follower, mut waits, mut end, mut write) = state?;
        let mut silence = edge.clock.sleep(HEARTBEAT);
        loop {
            if let Some(news) = waits.news(&edge) {
                return Some((Ok(news), Some((edge, follower, waits, end, write))));
            }
            tokio::select! {
                batch = follower.batch() => return match batch {
                    Ok(batch) => {
                        batch.told(&edge);
                        let written = write(Ok(&batch));
                        let goes_on = written.more && !batch.over;
                        Some((Ok(written.bytes), goes_on.then_some((edge, follower, waits, end, write))))
                    }
                    Err(refusal) => Some((Ok(write(Err(&refusal.0)).bytes), None)),
                },
                () = &mut silence => {
                    return Some((Ok(Bytes::from_static(b":\n\n")), Some((edge, follower, waits, end, write))));
                }
                () = edge.clock.sleep(LOOK), if waits.task.is_some() => {}
                // The client comes back with its last offset, here or to another server.
                () = edge.closing.cancelled() => return None,
                over = end.wait() => return Some((Ok(write(Err(&Refusal::from(over).0)).bytes), None)),
            }
        }
    })
}

/// Why there are no more events, as a native SSE frame. Without an id: it is no event of the log.
pub(super) fn refused(error: &WireError) -> Bytes {
    let error = serde_json::to_string(error).unwrap_or_default();
    format!("event: error\ndata: {error}\n\n").into()
}

/// A batch as native SSE frames.
fn frames(batch: &Batch) -> Bytes {
    let mut out = Vec::with_capacity(256);
    for event in merged(&batch.events) {
        // Writing to a vector can't fail.
        let _ = write!(out, "id: {}\nevent: {}\ndata: ", event.next() - 1, event.kind);
        let _ = serde_json::to_writer(&mut out, &event);
        out.extend_from_slice(b"\n\n");
    }
    out.into()
}
