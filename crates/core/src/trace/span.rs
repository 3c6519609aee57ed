//! A span: one part of a task's story, with its beginning and its end.

use super::SpanId;
use crate::id::Offset;
use crate::time::Timestamp;

/// Which part of the story. The numbers go into the spans' ids: never give one a new meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Part {
    /// All of it, from the request's receipt to the end of the log.
    Task = 0,
    /// Waiting for a worker.
    Queue = 1,
    /// A deployment was asked, until it has answered or failed.
    Attempt = 2,
    /// Of an attempt: until the first piece of the answer.
    FirstToken = 3,
    /// Of an attempt: from the first piece to the last.
    Streaming = 4,
    /// Waiting before the next attempt, its place in line included.
    Backoff = 5,
    /// What was said no longer counts: a moment.
    Rewind = 6,
}

impl Part {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Queue => "queue",
            Self::Attempt => "attempt",
            Self::FirstToken => "first_token",
            Self::Streaming => "streaming",
            Self::Backoff => "backoff",
            Self::Rewind => "rewind",
        }
    }
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It goes on.
    Open,
    /// It went well.
    Ok,
    /// It failed; `error.type` says why.
    Error,
    /// Somebody stopped it.
    Stopped,
    /// Its worker was lost or handed it back: another attempt followed.
    TakenOver,
}

impl Status {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Stopped => "stopped",
            Self::TakenOver => "taken_over",
        }
    }
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Count(u64),
    /// Any number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
    /// Texts.
    List(Vec<String>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

/// One part of a task's story.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its name: it follows from the task, the part and the offset.
    pub id: SpanId,
    /// The span that it is a part of; of the task's own: that of whoever asked for it.
    pub parent: Option<SpanId>,
    /// Which part.
    pub part: Part,
    /// The event that it begins with; 0 for what begins with the request.
    pub offset: Offset,
    /// For people, as OpenTelemetry names such spans.
    pub name: String,
    /// When it began.
    pub start: Timestamp,
    /// When it ended; none while it goes on.
    pub end: Option<Timestamp>,
    /// How it went.
    pub status: Status,
    /// What happened, where it failed.
    pub message: Option<String>,
    /// What else is known, by OpenTelemetry's names where it has some.
    pub attributes: Vec<(&'static str, Value)>,
}

impl Span {
    /// Adds what is known.
    pub(super) fn note(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.push((name, value.into()));
    }

    /// Ends it, not before it began: clocks of two workers may differ.
    pub(super) fn close(&mut self, at: Timestamp, status: Status) {
        self.end = Some(at.max(self.start));
        self.status = status;
    }

    /// What it says under this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}
