//! One connection: reads frames, writes answers and events, one after another, and queues nothing.

use super::answers::{Answer, answer};
use super::cursors::{Cursors, Ready};
use super::standings::{self, Standings};
use crate::Edge;
use crate::follow::merged;
use crate::identity::Caller;
use crate::refusal::Refusal;
use crate::stop::stop_after_disconnect;
use crate::transport::body::too_large;
use crate::transport::events::HEARTBEAT;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::{LogRef, TaskRef};
use tidewire_proto::{ClientFrame, Code, ServerFrame, close};
use tokio_websockets::{CloseCode, Error, Message, WebSocketStream};
use tracing::Instrument;

/// Frames that wait for their answer; past that the connection is not read.
const MAX_ASKED: usize = 64;

/// Silent for so long, a connection is taken for dead: three heartbeats and a margin.
const IDLE: Duration = Duration::from_mins(1);

/// Unfinished tasks that stop with one connection.
const MAX_STOPPING: usize = 1024;

/// How long a closing frame may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

pub(super) struct Connection {
    edge: Arc<Edge>,
    caller: Caller,
    sink: SplitSink<Socket, Message>,
    source: SplitStream<Socket>,
    cursors: Cursors,
    standings: Standings,
    asked: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// Answers that wait for the socket: at most as many as frames may be asked, and a pong.
    outbox: VecDeque<Message>,
    /// The socket has not taken all yet.
    unflushed: bool,
    stop_with: HashSet<TaskRef>,
    heard: Duration,
}

/// Why a connection ends.
enum End {
    /// The client is gone: nobody hears a last word.
    Gone,
    /// The client closed: the library has its answer ready.
    Closed,
    /// We close, with a code and a reason.
    Because(u16, &'static str),
}

impl Connection {
    pub(super) fn new(edge: Arc<Edge>, caller: Caller, socket: Socket) -> Self {
        let (sink, source) = socket.split();
        let heard = edge.clock.monotonic();
        Self {
            edge,
            caller,
            sink,
            source,
            cursors: Cursors::default(),
            standings: Standings::default(),
            asked: FuturesUnordered::new(),
            outbox: VecDeque::new(),
            unflushed: false,
            stop_with: HashSet::new(),
            heard,
        }
    }

    /// Serves until either side ends it.
    pub(super) async fn serve(mut self) {
        let end = self.run().await;
        let last_words = async {
            match end {
                End::Gone => Ok(()),
                End::Closed => self.sink.close().await,
                End::Because(code, reason) => {
                    self.sink.send(Message::close(CloseCode::try_from(code).ok(), reason)).await?;
                    self.sink.close().await
                }
            }
        };
        tokio::select! {
            // The client may be gone before it heard them.
            _ = last_words => {}
            () = self.edge.clock.sleep(LAST_WORDS) => {}
        }
        for task in self.stop_with {
            // Apart from the connection's own state, which each idle session holds: this is four times as large.
            Box::pin(stop_after_disconnect(&self.edge, task)).await;
        }
    }

    async fn run(&mut self) -> End {
        let edge = self.edge.clone();
        let mut heartbeat = edge.clock.sleep(HEARTBEAT);
        let mut end = self.caller.end(&*edge.clock);
        loop {
            if let Err(end) = self.write_outbox().await {
                return end;
            }
            let idle_writer = !self.unflushed && self.outbox.is_empty();
            let may_read = self.asked.len() + self.outbox.len() < MAX_ASKED;
            tokio::select! {
                flushed = self.sink.flush(), if self.unflushed => match flushed {
                    Ok(()) => self.unflushed = false,
                    Err(_) => return End::Gone,
                },
                Some(answer) = self.asked.next() => self.take(answer),
                frame = self.source.next(), if may_read => {
                    if let Err(end) = self.hear(frame) {
                        return end;
                    }
                }
                ready = self.cursors.next(), if idle_writer => self.tell(ready),
                () = self.standings.due(), if idle_writer => {
                    for frame in self.standings.look(&edge) {
                        self.say(&frame);
                    }
                }
                () = &mut heartbeat => {
                    if edge.clock.monotonic().saturating_sub(self.heard) > IDLE {
                        return End::Because(close::IDLE, "nothing was heard for a minute");
                    }
                    self.outbox.push_back(Message::ping(""));
                    heartbeat = edge.clock.sleep(HEARTBEAT);
                }
                over = end.wait() => return End::Because(over.close_code(), over.code().as_str()),
                () = edge.closing.cancelled() => return End::Because(close::SHUTTING_DOWN, "the server is shutting down"),
            }
        }
    }

    /// Hands what waits to the socket, where the socket has taken all before.
    async fn write_outbox(&mut self) -> Result<(), End> {
        if self.unflushed {
            return Ok(());
        }
        while let Some(message) = self.outbox.pop_front() {
            // Ready at once: the sink has no threshold of its own. These are the bound: they are one batch, and as
            // many answers as frames may be asked.
            self.sink.feed(message).await.map_err(|_| End::Gone)?;
            self.unflushed = true;
        }
        Ok(())
    }

    fn say(&mut self, frame: &ServerFrame<'_>) {
        // Frames hold strings, numbers and JSON that was parsed before, so serialising one can't fail.
        let text = serde_json::to_string(frame).unwrap_or_default();
        self.outbox.push_back(Message::text(text));
    }

    fn hear(&mut self, frame: Option<Result<Message, Error>>) -> Result<(), End> {
        let message = match frame {
            Some(Ok(message)) => message,
            Some(Err(Error::PayloadTooLong { .. })) => return Err(End::Because(1009, "the frame is too large")),
            Some(Err(_)) | None => return Err(End::Gone),
        };
        self.heard = self.edge.clock.monotonic();
        if message.is_close() {
            return Err(End::Closed);
        }
        if message.is_ping() || message.is_pong() {
            return Ok(());
        }
        let Some(text) = message.as_text() else {
            return Err(End::Because(close::PROTOCOL_VIOLATION, "frames are text"));
        };
        let limit = self.edge.limits.body_bytes;
        if text.len() > limit {
            self.take(Answer::refused(None, too_large(limit)));
            return Ok(());
        }
        match ClientFrame::parse(text) {
            Ok(frame) => match self.admit(&frame) {
                Ok(()) => {
                    let (edge, caller) = (self.edge.clone(), self.edge.identity.renewed(&self.caller));
                    let span = tracing::error_span!("frame", task = tracing::field::Empty);
                    self.asked.push(Box::pin(async move { answer(&edge, &caller, frame).await }.instrument(span)));
                }
                Err((reference, refusal)) => self.take(Answer::refused(reference, refusal)),
            },
            Err(refused) => self.take(Answer::refused(refused.reference, refused.error.into())),
        }
        Ok(())
    }

    /// Whether one more log may be followed, and one more task may stop with the connection.
    fn admit(&self, frame: &ClientFrame) -> Result<(), (Option<String>, Refusal)> {
        let limit = self.edge.limits.follows_per_connection;
        let (reference, follows, stops) = match frame {
            ClientFrame::Submit { reference, task, follow, .. } => {
                (reference, follow.unwrap_or(true), task.on_disconnect.as_deref() == Some("stop"))
            }
            ClientFrame::Follow { reference, log, .. } => {
                let known =
                    log.parse().is_ok_and(|log| self.cursors.follows(LogRef { tenant: self.caller.tenant, log }));
                (reference, !known, false)
            }
            _ => return Ok(()),
        };
        if follows && self.cursors.len() + self.asked.len() >= limit {
            let message =
                format!("a connection follows at most {limit} logs; unfollow one, or open another connection");
            return Err((reference.clone(), Refusal::new(Code::TooManyFollows, message)));
        }
        if stops && self.stop_with.len() >= MAX_STOPPING {
            let message = format!("at most {MAX_STOPPING} unfinished tasks stop with one connection");
            return Err((reference.clone(), Refusal::new(Code::TooManyFollows, message)));
        }
        Ok(())
    }

    /// An answer is ready: the frame first, and only then the events that it opens.
    fn take(&mut self, answer: Answer) {
        self.say(&answer.frame);
        if let Some(follower) = answer.follow {
            self.watch_standing(&answer.frame, follower.at);
            self.cursors.follow(follower);
        }
        if let Some(log) = answer.unfollow {
            self.cursors.unfollow(log);
            self.forget_standing(log);
        }
        self.stop_with.extend(answer.stop_with);
    }

    /// Tells where a task stands for as long as it waits. An ack has told it first.
    fn watch_standing(&mut self, answer: &ServerFrame<'_>, log: LogRef) {
        let Some(task) = log.log.task().map(|task| TaskRef { tenant: log.tenant, task }) else { return };
        let edge = self.edge.clone();
        if let Some(standing) = self.standings.watch(&edge, task)
            && !matches!(answer, ServerFrame::Ack { .. })
            && standing.wait != Some(Duration::ZERO)
        {
            self.say(&standings::frame(task, &standing));
        }
    }

    /// A log has something to say.
    fn tell(&mut self, ready: Ready) {
        let Ready { follower, batch } = ready;
        let log = follower.at;
        let batch = match batch {
            Ok(batch) => batch,
            Err(refusal) => {
                let gone = refusal.0.code == Code::UnknownLog.as_str();
                let reason = if gone { "gone".to_owned() } else { refusal.0.code };
                return self.let_go(log, reason);
            }
        };
        if !batch.events.is_empty() {
            self.say(&ServerFrame::Events {
                log: log.log.to_string(),
                epoch: follower.cursor.epoch.0,
                from: batch.from(),
                to: batch.to(),
                events: merged(&batch.events),
            });
        }
        if batch.over {
            if let Some(task) = log.log.task() {
                self.stop_with.remove(&TaskRef { tenant: log.tenant, task });
            }
            return self.let_go(log, "ended".to_owned());
        }
        self.cursors.go_on(follower);
    }

    fn forget_standing(&mut self, log: LogRef) {
        if let Some(task) = log.log.task() {
            self.standings.forget(TaskRef { tenant: log.tenant, task });
        }
    }

    fn let_go(&mut self, log: LogRef, reason: String) {
        self.cursors.unfollow(log);
        self.forget_standing(log);
        self.say(&ServerFrame::Unfollowed { reference: None, log: log.log.to_string(), reason });
    }
}
