//! What a session has asked and not been answered, and what it follows. It takes commands and frames and
//! gives frames to send; it knows no socket and no time, so that a test can lead it through any order.

mod logs;

use super::counts::{Counters, count};
use super::cursor::{Cursor, Position, Span};
use super::follow::Inbox;
use crate::error::{Over, SessionError};
use logs::Logs;
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;
use tidewire_proto::http::Ack;
use tidewire_proto::{ClientFrame, Code, ServerFrame, Submission, WireError};
use tokio::sync::oneshot;
use tokio_websockets::Message;

/// Requests that wait for their answer: the server reads no further ones over this number.
const PENDING: usize = 64;

type Reply<T> = oneshot::Sender<Result<T, SessionError>>;

/// What a handle asks of the driver.
#[derive(Debug)]
pub(super) enum Command {
    Submit { task: Box<Submission>, inbox: Inbox, reply: Reply<Ack> },
    Follow { log: String, after: Option<Position>, inbox: Inbox, reply: Reply<()> },
    Stop { task: String, reply: Reply<String> },
    Ping { reply: Reply<()> },
    CatchUp { log: Arc<str> },
}

#[derive(Debug)]
enum Asked {
    Submit { inbox: Inbox, reply: Reply<Ack> },
    Stop { reply: Reply<String> },
    Ping { reply: Reply<()> },
}

impl Asked {
    // Whoever asked may have stopped waiting, so a reply that nobody takes is no failure.
    fn fail(self, error: SessionError) {
        match self {
            Self::Submit { reply, .. } => drop(reply.send(Err(error))),
            Self::Stop { reply } => drop(reply.send(Err(error))),
            Self::Ping { reply } => drop(reply.send(Err(error))),
        }
    }
}

#[derive(Debug)]
struct Pending {
    reference: u64,
    /// As it was sent: it goes out again after a cut. All of these may be asked twice.
    frame: String,
    asked: Asked,
}

/// Frames that go out with the next write, and the numbers that tell their answers apart.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: Vec<String>,
    last_reference: u64,
}

impl Outbox {
    fn reference(&mut self) -> u64 {
        self.last_reference += 1;
        self.last_reference
    }

    fn push(&mut self, frame: &ClientFrame) {
        self.frames.push(json(frame));
    }
}

pub(super) struct Book {
    window_ms: Option<u64>,
    counters: Arc<Counters>,
    pending: Vec<Pending>,
    logs: Logs,
    outbox: Outbox,
}

/// The part of a frame that decides where it goes. The events in it are read by their reader, in its own time.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(default)]
    epoch: u32,
    #[serde(default)]
    from: u64,
    #[serde(default)]
    to: u64,
}

impl Book {
    pub(super) fn new(window_ms: Option<u64>, counters: Arc<Counters>) -> Self {
        let logs = Logs::new(window_ms, counters.clone());
        Self { window_ms, counters, pending: Vec::new(), logs, outbox: Outbox::default() }
    }

    /// Whether another command may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.pending.len() < PENDING
    }

    /// The frames that go out now.
    pub(super) fn outbox(&mut self) -> std::vec::Drain<'_, String> {
        self.outbox.frames.drain(..)
    }

    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Submit { task, inbox, reply } => {
                let window_ms = self.window_ms;
                self.ask(Asked::Submit { inbox, reply }, |reference| ClientFrame::Submit {
                    reference,
                    task,
                    follow: None,
                    window_ms,
                });
            }
            Command::Stop { task, reply } => {
                self.ask(Asked::Stop { reply }, |reference| ClientFrame::Stop { reference, task });
            }
            Command::Ping { reply } => self.ask(Asked::Ping { reply }, |reference| ClientFrame::Ping { reference }),
            Command::Follow { log, after, inbox, reply } => {
                let log: Arc<str> = log.into();
                self.logs.open(log.clone(), Cursor::after(after), inbox, Some(reply));
                self.logs.follow(&log, &mut self.outbox);
            }
            Command::CatchUp { log } => self.logs.catch_up(&log, &mut self.outbox),
        }
    }

    fn ask(&mut self, asked: Asked, frame: impl FnOnce(Option<String>) -> ClientFrame) {
        let reference = self.outbox.reference();
        let frame = json(&frame(Some(reference.to_string())));
        self.outbox.frames.push(frame.clone());
        self.pending.push(Pending { reference, frame, asked });
    }

    /// Asks all again over a new connection. What was to go out over the old one is among it.
    pub(super) fn resume(&mut self) {
        self.outbox.frames.clear();
        for pending in &self.pending {
            count(&self.counters.resent);
            self.outbox.frames.push(pending.frame.clone());
        }
        self.logs.resume(&mut self.outbox);
    }

    /// Takes a frame from the server.
    pub(super) fn heard(&mut self, frame: Message) {
        let text = frame.as_text().unwrap_or_default();
        let Ok(head) = serde_json::from_str::<Head<'_>>(text) else {
            // Passed over like an unknown op: had it been events, the next ones show the gap.
            return count(&self.counters.unreadable);
        };
        if head.op == "events" {
            let span = Span { epoch: head.epoch, from: head.from, to: head.to };
            // Events of a log that is followed no more are on their way when its `unfollow` goes out.
            if let Some(log) = self.logs.id(&head.log) {
                self.logs.events(&log, span, frame, &mut self.outbox);
            }
            return;
        }
        match ServerFrame::parse(text) {
            Ok(Some(frame)) => self.answer(frame),
            Ok(None) => {}
            Err(_) => count(&self.counters.unreadable),
        }
    }

    fn answer(&mut self, frame: ServerFrame<'_>) {
        let number = |reference: Option<Cow<'_, str>>| reference.and_then(|text| text.parse().ok());
        match frame {
            ServerFrame::Ack { reference, ack } => {
                if let Some(Asked::Submit { inbox, reply }) = self.answered(number(reference)) {
                    // The server follows it for us already. A key that was known may be of a trimmed log.
                    let cursor = if ack.known { Cursor::after(None) } else { Cursor::start_of(ack.epoch) };
                    self.logs.open(ack.log.as_str().into(), cursor, inbox, None);
                    let _ = reply.send(Ok(ack));
                }
            }
            ServerFrame::Stopped { reference, state, .. } => {
                if let Some(Asked::Stop { reply }) = self.answered(number(reference)) {
                    let _ = reply.send(Ok(state));
                }
            }
            ServerFrame::Pong { reference } => {
                if let Some(Asked::Ping { reply }) = self.answered(number(reference)) {
                    let _ = reply.send(Ok(()));
                }
            }
            ServerFrame::Following { reference, log, epoch, .. } => {
                self.logs.following(&log, number(reference), epoch);
            }
            ServerFrame::Unfollowed { log, reason, .. } => self.logs.unfollowed(&log, reason, &mut self.outbox),
            ServerFrame::Error { reference, error } => self.refused(number(reference), error),
            // `heard` has taken the events; where a task stands can be asked for at any time.
            ServerFrame::Events { .. } | ServerFrame::Waiting { .. } => {}
        }
    }

    fn refused(&mut self, reference: Option<u64>, error: WireError) {
        if error.code == Code::ShuttingDown.as_str() {
            // The connection is about to be closed; what was asked is asked again over the next one.
            return;
        }
        if let Some(asked) = self.answered(reference) {
            asked.fail(SessionError::Refused(error));
        } else if let Some(log) = self.logs.asked(reference) {
            self.logs.refused(&log, error, &mut self.outbox);
        }
    }

    fn answered(&mut self, reference: Option<u64>) -> Option<Asked> {
        let at = self.pending.iter().position(|pending| Some(pending.reference) == reference)?;
        Some(self.pending.remove(at).asked)
    }

    /// The session is over: every call and every reader is told why.
    pub(super) fn close(self, over: &Over) {
        let error = SessionError::Over(over.clone());
        for pending in self.pending {
            pending.asked.fail(error.clone());
        }
        self.logs.close(&error);
    }
}

/// A frame as it is sent.
fn json(frame: &ClientFrame) -> String {
    // Strings, numbers and raw JSON: there is nothing in a frame that can't be written.
    serde_json::to_string(frame).unwrap_or_default()
}
