//! The JSON protocol of Centrifugo's clients, as much of it as following logs needs: connect, subscribe with recovery,
//! publications, pings, and calls that submit and stop.
//!
//! A channel is a log. A publication is a batch of its events; its offset says how many events of the log came up to its end.
//! So a client that comes back with its last offset and epoch is given exactly what it misses.
//!
//! Protocol: <https://centrifugal.dev/docs/transports/client_protocol>.

mod command;
mod reply;

use super::body::too_large;
use super::websocket;
use super::websocket::connection::{Dialect, End, Outbox};
use super::websocket::cursors::{Cursors, Ready};
use crate::Edge;
use crate::identity::Caller;
use crate::refusal::Refusal;
use axum::extract::{Request, State};
use axum::response::Response;
use command::Command;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use reply::{Done, already, done, publication, refused};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::{LogId, LogRef, TaskRef};
use tidewire_proto::{Code, close};
use tracing::Instrument;

/// How often the client is asked whether it lives: Centrifugo's own interval.
const PING: Duration = Duration::from_secs(25);

/// Why a subscription ends for good, as Centrifugo numbers it: below 2500 the client does not subscribe again.
const ENDED: u32 = 2000;

/// `GET /v1/centrifuge`.
pub(super) async fn upgrade(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Refusal> {
    websocket::open(edge, &caller, request, Centrifuge::new)
}

/// One client.
struct Centrifuge {
    edge: Arc<Edge>,
    caller: Caller,
    /// It has said `connect`.
    connected: bool,
    cursors: Cursors<LogRef>,
    asked: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Channels whose subscription is on its way.
    opening: HashSet<LogId>,
    next_ping: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Dialect for Centrifuge {
    fn hear(&mut self, text: &str, out: &mut Outbox) -> Result<(), End> {
        if text.len() > self.edge.limits.body_bytes {
            let limit = too_large(self.edge.limits.body_bytes);
            out.say(&refused(0, &limit));
            return Err(End::Because(1009, "the frame is too large"));
        }
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let command = Command::read(line)
                .ok_or(End::Because(close::PROTOCOL_VIOLATION, "a command of Centrifugo's client protocol in JSON"))?;
            self.obey(command, out)?;
        }
        Ok(())
    }

    fn asked(&self) -> usize {
        self.asked.len()
    }

    async fn speak(&mut self, events: bool, out: &mut Outbox) {
        tokio::select! {
            Some(done) = self.asked.next() => self.take(done, out),
            ready = self.cursors.next(), if events => self.tell(ready, out),
            () = &mut self.next_ping, if events => {
                // An empty reply is a ping.
                out.say(&json!({}));
                self.next_ping = self.edge.clock.sleep(PING);
            }
            else => std::future::pending().await,
        }
    }

    /// None: whoever leaves comes back for the rest.
    fn stops(self) -> Vec<TaskRef> {
        Vec::new()
    }
}

impl Centrifuge {
    fn new(edge: Arc<Edge>, caller: Caller) -> Self {
        let (cursors, asked) = (Cursors::default(), FuturesUnordered::new());
        let next_ping = edge.clock.sleep(PING);
        Self { edge, caller, connected: false, cursors, asked, opening: HashSet::new(), next_ping }
    }

    fn obey(&mut self, command: Command, out: &mut Outbox) -> Result<(), End> {
        match command {
            Command::Pong => {}
            Command::Connect { id } => {
                self.connected = true;
                let client = format!("{:016x}{:016x}", self.edge.clock.random(), self.edge.clock.random());
                let connect = json!({ "client": client, "version": concat!("tidewire ", env!("CARGO_PKG_VERSION")),
                    "ping": PING.as_secs(), "pong": true });
                out.say(&json!({ "id": id, "connect": connect }));
            }
            _ if !self.connected => {
                return Err(End::Because(close::PROTOCOL_VIOLATION, "the first command is `connect`"));
            }
            Command::Unsubscribe { id, channel } => {
                if let Ok(log) = channel.parse() {
                    // A subscription that is still on its way opens nothing any more.
                    self.opening.remove(&log);
                    self.cursors.unfollow(&self.at(log));
                }
                out.say(&json!({ "id": id, "unsubscribe": {} }));
            }
            command => match self.admit(&command) {
                Ok(()) => {
                    let (edge, caller) = (self.edge.clone(), self.edge.identity.renewed(&self.caller));
                    let span = tracing::error_span!("frame", task = tracing::field::Empty);
                    let work = async move { Box::pin(done(&edge, &caller, command)).await };
                    self.asked.push(Box::pin(work.instrument(span)));
                }
                Err(error) => out.say(&error),
            },
        }
        Ok(())
    }

    /// Whether one more log may be followed.
    fn admit(&mut self, command: &Command) -> Result<(), Value> {
        let Command::Subscribe { id, channel, .. } = command else { return Ok(()) };
        let Ok(log) = channel.parse() else { return Ok(()) };
        if self.cursors.follows(&self.at(log)) || self.opening.contains(&log) {
            return Err(already(*id));
        }
        let limit = self.edge.limits.follows_per_connection;
        if self.cursors.len() + self.opening.len() >= limit {
            let message =
                format!("a connection follows at most {limit} logs; unsubscribe from one, or open another one");
            return Err(refused(*id, &Refusal::new(Code::TooManyFollows, message)));
        }
        self.opening.insert(log);
        Ok(())
    }

    fn at(&self, log: LogId) -> LogRef {
        LogRef { tenant: self.caller.tenant, log }
    }

    /// A command is done: its reply first, and only then what comes after it.
    fn take(&mut self, done: Done, out: &mut Outbox) {
        out.say(&done.reply);
        let wanted = done.opened.is_some_and(|log| self.opening.remove(&log));
        if let Some(follower) = done.follow.filter(|_| wanted) {
            self.cursors.follow(follower.at, follower);
        }
    }

    fn tell(&mut self, ready: Ready<LogRef>, out: &mut Outbox) {
        let Ready { key: at, follower, batch } = ready;
        let channel = at.log.to_string();
        let batch = match batch {
            Ok(batch) => batch,
            Err(refusal) => return self.let_go(&at, ENDED, &refusal.0.code, out),
        };
        if !batch.events.is_empty() {
            batch.told(&self.edge);
            out.say(&json!({ "push": { "channel": channel, "pub": publication(&batch) } }));
        }
        if batch.over {
            return self.let_go(&at, ENDED, "ended", out);
        }
        self.cursors.go_on(at, follower);
    }

    fn let_go(&mut self, at: &LogRef, code: u32, reason: &str, out: &mut Outbox) {
        self.cursors.unfollow(at);
        let unsubscribe: Value = json!({ "code": code, "reason": reason });
        out.say(&json!({ "push": { "channel": at.log.to_string(), "unsubscribe": unsubscribe } }));
    }
}
