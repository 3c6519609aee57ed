//! One connection, in whatever words: reads frames, writes what its dialect has to say, and queues nothing.

use crate::Edge;
use crate::identity::Caller;
use crate::stop::stop_after_disconnect;
use crate::transport::events::HEARTBEAT;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::TaskRef;
use tidewire_proto::close;
use tokio_websockets::{CloseCode, Error, Message, WebSocketStream};

/// Frames that wait for their answer; past that the connection is not read.
const MAX_ASKED: usize = 64;

/// Silent for so long, a connection is taken for dead: three heartbeats and a margin.
const IDLE: Duration = Duration::from_mins(1);

/// How long a closing frame may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What is said over a connection, and how.
pub(in crate::transport) trait Dialect: Send {
    /// Takes a frame.
    fn hear(&mut self, text: &str, out: &mut Outbox) -> Result<(), End>;

    /// How many frames wait for their answer.
    fn asked(&self) -> usize;

    /// Waits for what is to be said next, and says it: answers at any time, events only where the socket has taken all
    /// before. Dropping the future loses nothing.
    fn speak(&mut self, events: bool, out: &mut Outbox) -> impl Future<Output = ()> + Send;

    /// The tasks that stop with the connection.
    fn stops(self) -> Vec<TaskRef>;
}

/// Frames that wait for the socket: at most as many answers as frames may be asked, a batch of events, and a pong.
#[derive(Default)]
pub(in crate::transport) struct Outbox(VecDeque<Message>);

impl Outbox {
    pub(in crate::transport) fn say(&mut self, frame: &impl Serialize) {
        // Frames hold strings, numbers and JSON that was parsed before, so serialising one can't fail.
        self.0.push_back(Message::text(serde_json::to_string(frame).unwrap_or_default()));
    }

    /// The next frame that goes out.
    pub(in crate::transport) fn next(&mut self) -> Option<Message> {
        self.0.pop_front()
    }
}

/// Why a connection ends.
pub(in crate::transport) enum End {
    /// The client is gone: nobody hears a last word.
    Gone,
    /// The client closed: the library has its answer ready.
    Closed,
    /// We close, with a code and a reason.
    Because(u16, &'static str),
}

pub(super) struct Connection<D> {
    edge: Arc<Edge>,
    caller: Caller,
    dialect: D,
    sink: SplitSink<Socket, Message>,
    source: SplitStream<Socket>,
    outbox: Outbox,
    /// The socket has not taken all yet.
    unflushed: bool,
    heard: Duration,
}

impl<D: Dialect> Connection<D> {
    pub(super) fn new(edge: Arc<Edge>, caller: Caller, socket: Socket, dialect: D) -> Self {
        let (sink, source) = socket.split();
        let heard = edge.clock.monotonic();
        Self { edge, caller, dialect, sink, source, outbox: Outbox::default(), unflushed: false, heard }
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
        for task in self.dialect.stops() {
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
            let idle_writer = !self.unflushed && self.outbox.0.is_empty();
            let may_read = self.dialect.asked() + self.outbox.0.len() < MAX_ASKED;
            tokio::select! {
                flushed = self.sink.flush(), if self.unflushed => match flushed {
                    Ok(()) => self.unflushed = false,
                    Err(_) => return End::Gone,
                },
                () = self.dialect.speak(idle_writer, &mut self.outbox) => {}
                frame = self.source.next(), if may_read => {
                    if let Err(end) = self.hear(frame) {
                        return end;
                    }
                }
                () = &mut heartbeat => {
                    if edge.clock.monotonic().saturating_sub(self.heard) > IDLE {
                        return End::Because(close::IDLE, "nothing was heard for a minute");
                    }
                    self.outbox.0.push_back(Message::ping(""));
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
        while let Some(message) = self.outbox.next() {
            // Ready at once: the sink has no threshold of its own. These are the bound: they are one batch, and as
            // many answers as frames may be asked.
            self.sink.feed(message).await.map_err(|_| End::Gone)?;
            self.unflushed = true;
        }
        Ok(())
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
        self.dialect.hear(text, &mut self.outbox)
    }
}
