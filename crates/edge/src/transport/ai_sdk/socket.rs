//! Chats over one WebSocket, in the frames of the AI SDK's `WebSocketChatTransport`.
//!
//! ```text
//! send | resume ──▶ start, chunk (sequence 0, 1, ...) ..., end | error     resume of an idle chat ──▶ no-active
//! abort ──▶ the task stops: the transport sends it where its user pressed stop
//! ```

use super::chunks::Chunks;
use super::request::Asked;
use super::{active, submitted};
use crate::Edge;
use crate::follow::{DEFAULT_WINDOW, Follower, Resume};
use crate::identity::{Caller, Scope};
use crate::refusal::Refusal;
use crate::stop::stop_after_disconnect;
use crate::transport::body::too_large;
use crate::transport::websocket::connection::{Dialect, End, Outbox};
use crate::transport::websocket::cursors::{Cursors, Ready};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use tidewire_core::TaskRef;
use tidewire_proto::{Code, close};
use tracing::Instrument;

/// A client's frame. What stands in `headers` is the application's: who asks was settled when the socket opened.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Frame {
    Send {
        #[serde(rename = "requestId")]
        request: String,
        id: String,
        messages: Value,
        #[serde(default)]
        body: Map<String, Value>,
    },
    Resume {
        #[serde(rename = "requestId")]
        request: String,
        id: String,
    },
    Abort {
        #[serde(rename = "requestId")]
        request: String,
    },
}

/// What became of a request.
struct Opened {
    request: String,
    stream: Result<Option<(Follower, TaskRef, Chunks)>, Refusal>,
}

/// A request that is being answered.
struct Stream {
    task: TaskRef,
    chunks: Chunks,
    sequence: u64,
}

/// The chats of one connection.
pub(super) struct Chats {
    edge: Arc<Edge>,
    caller: Caller,
    cursors: Cursors<String>,
    streams: HashMap<String, Stream>,
    opening: FuturesUnordered<BoxFuture<'static, Opened>>,
    /// Those that are being opened, and whether they were aborted since.
    unopened: HashMap<String, bool>,
}

impl Dialect for Chats {
    fn hear(&mut self, text: &str, out: &mut Outbox) -> Result<(), End> {
        let limit = self.edge.limits.body_bytes;
        match serde_json::from_str(text) {
            Ok(Frame::Abort { request }) => self.abort(&request),
            Ok(frame) => {
                if text.len() > limit {
                    refuse(out, frame.request(), &too_large(limit));
                } else if let Err(refusal) = self.has_room(frame.request()) {
                    refuse(out, frame.request(), &refusal);
                } else {
                    self.open(frame);
                }
            }
            // The protocol has no frame for an error of no request.
            Err(_) => return Err(End::Because(close::PROTOCOL_VIOLATION, "a frame is send, resume or abort in JSON")),
        }
        Ok(())
    }

    fn asked(&self) -> usize {
        self.opening.len()
    }

    async fn speak(&mut self, events: bool, out: &mut Outbox) {
        tokio::select! {
            Some(opened) = self.opening.next() => self.begin(opened, out),
            ready = self.cursors.next(), if events => self.tell(ready, out),
            else => std::future::pending().await,
        }
    }

    /// None: whoever leaves comes back for the rest.
    fn stops(self) -> Vec<TaskRef> {
        Vec::new()
    }
}

impl Frame {
    fn request(&self) -> &str {
        match self {
            Self::Send { request, .. } | Self::Resume { request, .. } | Self::Abort { request } => request,
        }
    }
}

impl Chats {
    pub(super) fn new(edge: Arc<Edge>, caller: Caller) -> Self {
        let (cursors, streams) = (Cursors::default(), HashMap::new());
        Self { edge, caller, cursors, streams, opening: FuturesUnordered::new(), unopened: HashMap::new() }
    }

    fn has_room(&self, request: &str) -> Result<(), Refusal> {
        if self.streams.contains_key(request) || self.unopened.contains_key(request) {
            return Err(Refusal::new(Code::InvalidRequest, "there is a request of this `requestId` already"));
        }
        let limit = self.edge.limits.follows_per_connection;
        if self.cursors.len() + self.opening.len() >= limit {
            let message = format!("a connection has at most {limit} streams; wait for one, or open another connection");
            return Err(Refusal::new(Code::TooManyFollows, message));
        }
        Ok(())
    }

    fn open(&mut self, frame: Frame) {
        let (edge, caller) = (self.edge.clone(), self.edge.identity.renewed(&self.caller));
        let span = tracing::error_span!("frame", task = tracing::field::Empty);
        self.unopened.insert(frame.request().to_owned(), false);
        let opening = async move {
            let request = frame.request().to_owned();
            let stream = Box::pin(opened(&edge, &caller, frame)).await;
            Opened { request, stream }
        };
        self.opening.push(Box::pin(opening.instrument(span)));
    }

    fn begin(&mut self, opened: Opened, out: &mut Outbox) {
        let Opened { request, stream } = opened;
        let aborted = self.unopened.remove(&request).unwrap_or(false);
        match stream {
            Ok(Some((_, task, _))) if aborted => self.stop(task),
            Ok(Some((follower, task, chunks))) => {
                out.say(&json!({ "type": "start", "requestId": request }));
                let mut stream = Stream { task, chunks, sequence: 0 };
                let opening = stream.chunks.open();
                stream.say(&request, opening, out);
                self.cursors.follow(request.clone(), follower);
                self.streams.insert(request, stream);
            }
            Ok(None) => out.say(&json!({ "type": "no-active", "requestId": request })),
            Err(refusal) => refuse(out, &request, &refusal),
        }
    }

    fn tell(&mut self, ready: Ready<String>, out: &mut Outbox) {
        let Ready { key: request, follower, batch } = ready;
        let Some(stream) = self.streams.get_mut(&request) else { return };
        if let Ok(batch) = &batch {
            batch.told(&self.edge);
        }
        let said = stream.chunks.write(batch.as_ref().map_err(|refusal| &refusal.0));
        stream.say(&request, said.objects, out);
        if said.more {
            return self.cursors.go_on(request, follower);
        }
        out.say(&json!({ "type": "end", "requestId": request }));
        self.let_go(&request);
    }

    fn abort(&mut self, request: &str) {
        if let Some(task) = self.let_go(request) {
            self.stop(task);
        } else if let Some(aborted) = self.unopened.get_mut(request) {
            *aborted = true;
        }
    }

    /// Whoever may send may take back what was sent in the chat; one who may only read leaves.
    fn stop(&self, task: TaskRef) {
        if !self.caller.scopes.has(Scope::TasksWrite) && !self.caller.scopes.has(Scope::TasksStop) {
            return;
        }
        let edge = self.edge.clone();
        self.edge.tracker.spawn(async move { stop_after_disconnect(&edge, task).await });
    }

    fn let_go(&mut self, request: &str) -> Option<TaskRef> {
        self.cursors.unfollow(&request.to_owned());
        self.streams.remove(request).map(|stream| stream.task)
    }
}

impl Stream {
    fn say(&mut self, request: &str, chunks: Vec<Value>, out: &mut Outbox) {
        for chunk in chunks {
            let sequence = self.sequence;
            self.sequence += 1;
            out.say(&json!({ "type": "chunk", "requestId": request, "sequence": sequence, "chunk": chunk }));
        }
    }
}

async fn opened(edge: &Edge, caller: &Caller, frame: Frame) -> Result<Option<(Follower, TaskRef, Chunks)>, Refusal> {
    let task = match frame {
        Frame::Send { id, messages, body, .. } => {
            caller.require(Scope::TasksWrite)?;
            Some(submitted(edge, caller, Asked::of_frame(id, messages, body)?).await?.task)
        }
        Frame::Resume { id, .. } => {
            caller.require(Scope::TasksRead)?;
            active(edge, caller, &id).await?
        }
        Frame::Abort { .. } => None,
    };
    let Some(task) = task else { return Ok(None) };
    let follower = Follower::open(edge, task.at().log(), Resume::default(), DEFAULT_WINDOW).await?;
    Ok(Some((follower, task.at(), Chunks::new(&task))))
}

fn refuse(out: &mut Outbox, request: &str, refusal: &Refusal) {
    let error = &refusal.0;
    let text = format!("{} ({})", error.message, error.code);
    out.say(&json!({ "type": "error", "requestId": request, "errorText": text }));
}
