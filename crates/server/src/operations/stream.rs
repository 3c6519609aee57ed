//! `GET /v1/operations`: what operators see at a glance, once or for as long as they look. A stream tells the whole first, then
//! once a second the sections in which something has changed, and every ten seconds a point of the history. While nobody
//! looks, nothing is made but the points.

use super::Operations;
use super::snapshot::snapshot;
use crate::telemetry::live::{SLOT, Turned};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tidewire_edge::identity::{Caller, End};
use tidewire_proto::{Code, ErrorBody, WireError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How often it is looked whether something has changed.
const LOOK: Duration = Duration::from_secs(1);

/// A look is shared by all who come within this time, so that many streams cost little more than one.
const FRESH: Duration = Duration::from_millis(500);

/// Proxies close what is silent for a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Streams at once: more operators than look at the same time, and each is looked at once a second.
const STREAMS: usize = 64;

/// What the disk has free changes all the time where others write to it too; less than a hundredth is no news.
const FREE_BYTES_NOISE: f64 = 0.01;

/// The section that streams get as points.
const HISTORY: &str = "history";

type Sections = Map<String, Value>;

/// Those who look, and what they saw last.
pub(super) struct Looking {
    streams: Arc<Semaphore>,
    seen: tokio::sync::Mutex<Option<(Duration, Arc<Sections>)>>,
}

impl Default for Looking {
    fn default() -> Self {
        Self { streams: Arc::new(Semaphore::new(STREAMS)), seen: tokio::sync::Mutex::default() }
    }
}

impl Operations {
    /// All sections. Those of another one's look will do where they are no older than `fresh`.
    async fn look(&self, fresh: Duration) -> Arc<Sections> {
        let mut seen = self.looking.seen.lock().await;
        let now = self.clock.monotonic();
        if let Some((at, sections)) = &*seen
            && now.saturating_sub(*at) < fresh
        {
            return sections.clone();
        }
        // Numbers, texts and lists of them: it can't fail.
        let sections = match serde_json::to_value(snapshot(self).await) {
            Ok(Value::Object(sections)) => Arc::new(sections),
            _ => Arc::default(),
        };
        *seen = Some((now, sections.clone()));
        sections
    }
}

/// Makes the points of the history, until the server closes.
pub(super) async fn keep_history(operations: Arc<Operations>) {
    let live = &operations.metrics.live;
    let cost = || operations.engines.ledger().balance().settled.cost;
    live.begin(cost());
    let mut next = operations.clock.monotonic();
    loop {
        next += SLOT;
        tokio::select! {
            () = operations.closing.cancelled() => return,
            () = operations.clock.sleep(next.saturating_sub(operations.clock.monotonic())) => {}
        }
        let (waiting, running) = (operations.queue.waiting(), operations.running.count());
        live.turn(&Turned { at: operations.clock.now(), waiting, running, cost: cost() });
    }
}

/// `GET /v1/operations`.
pub(super) async fn operations(
    State(operations): State<Arc<Operations>>,
    caller: Caller,
    headers: HeaderMap,
) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if !accept.is_some_and(|accept| accept.contains("text/event-stream")) {
        let sections = operations.look(Duration::ZERO).await;
        return ([(header::CACHE_CONTROL, "no-store")], Json(&*sections)).into_response();
    }
    let Ok(place) = operations.looking.streams.clone().try_acquire_owned() else {
        let error = WireError::new(Code::TooManyFollows, format!("{STREAMS} look at the operations already"));
        return (StatusCode::TOO_MANY_REQUESTS, Json(ErrorBody { error })).into_response();
    };
    let end = caller.end(&*operations.clock);
    let stream = Stream { operations, end, told: None, points_to: 0, _place: place };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx holds back a response that it may buffer.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(stream::unfold(Some(stream), async |stream| stream?.next().await))).into_response()
}

/// One who looks for as long as it likes.
struct Stream {
    operations: Arc<Operations>,
    end: End,
    told: Option<Arc<Sections>>,
    /// The moment of the newest point that was told.
    points_to: u64,
    _place: OwnedSemaphorePermit,
}

type Told = Option<(Result<Bytes, Infallible>, Option<Stream>)>;

impl Stream {
    /// The next thing to say; none where the server goes.
    async fn next(mut self) -> Told {
        let operations = self.operations.clone();
        let silent_since = operations.clock.monotonic();
        let mut first = self.told.is_none();
        loop {
            if !std::mem::take(&mut first) {
                tokio::select! {
                    () = operations.clock.sleep(LOOK) => {}
                    // Whoever comes back is told the whole again, here or by another server.
                    () = operations.draining.cancelled() => return None,
                    over = self.end.wait() => {
                        return Some((Ok(event("error", &serde_json::to_value(over.error()).unwrap_or_default())), None));
                    }
                }
            }
            let said = self.news(&operations.look(FRESH).await);
            if !said.is_empty() {
                return Some((Ok(said), Some(self)));
            }
            if operations.clock.monotonic().saturating_sub(silent_since) >= HEARTBEAT {
                return Some((Ok(Bytes::from_static(b":\n\n")), Some(self)));
            }
        }
    }

    /// What is to be said of what is seen now.
    fn news(&mut self, now: &Arc<Sections>) -> Bytes {
        let Some(told) = self.told.replace(now.clone()) else {
            self.points_to = now.get(HISTORY).and_then(|history| history["end"].as_u64()).unwrap_or(0);
            return event("snapshot", &Value::Object((**now).clone()));
        };
        let (changed, kept) = changes(&told, now);
        if let Some(kept) = kept {
            self.told = Some(Arc::new(kept));
        }
        let mut said = Vec::new();
        if !changed.is_empty() {
            said.extend_from_slice(&event("update", &Value::Object(changed)));
        }
        for point in self.operations.metrics.live.points_after(self.points_to) {
            self.points_to = point.at;
            said.extend_from_slice(&event("point", &serde_json::to_value(point).unwrap_or_default()));
        }
        said.into()
    }
}

/// The sections that are news to one who was told these. And what it has been told from now on, where that is not all that there
/// is now: a figure that moves too little to be told is compared with the one that was.
fn changes(told: &Sections, now: &Sections) -> (Sections, Option<Sections>) {
    let mut changed = Sections::new();
    let mut kept = None;
    for (name, value) in now.iter().filter(|(name, _)| *name != HISTORY) {
        match told.get(name) {
            Some(before) if before == value => {}
            Some(before) if name == "server" && is_noise(before, value) => {
                kept.get_or_insert_with(|| now.clone()).insert(name.clone(), before.clone());
            }
            _ => {
                changed.insert(name.clone(), value.clone());
            }
        }
    }
    (changed, kept)
}

/// Whether the server is as it was, but for the time and a little of the disk.
fn is_noise(before: &Value, now: &Value) -> bool {
    let free = |value: &Value| value["data_free_bytes"].as_f64().unwrap_or(0.0);
    let near = (free(before) - free(now)).abs() <= free(before) * FREE_BYTES_NOISE;
    let rest = |value: &Value| {
        let mut rest = value.clone();
        if let Some(fields) = rest.as_object_mut() {
            fields.retain(|name, _| name != "at" && name != "data_free_bytes");
        }
        rest
    };
    near && rest(before) == rest(now)
}

fn event(name: &str, data: &Value) -> Bytes {
    let mut said = String::new();
    // Writing to a string can't fail.
    let _ = write!(said, "event: {name}\ndata: {data}\n\n");
    said.into()
}
