//! What a log holds.

use crate::id::Offset;
use crate::time::Timestamp;
use bytes::Bytes;

/// What an event says. The numbers are written to disk: never give one a new meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// An attempt began. JSON: `{attempt, worker, model}`.
    Started = 1,
    /// Text of the answer. The data is the text itself, in UTF-8.
    Text = 2,
    /// Text of the model's reasoning. The data is the text itself, in UTF-8.
    Reasoning = 3,
    /// A piece of tool calls, as an OpenAI `delta.tool_calls` array. JSON.
    ToolCall = 4,
    /// Log-probabilities of the tokens before it, as OpenAI's `logprobs.content` array. JSON.
    Logprobs = 5,
    /// What came before no longer counts from an offset on. JSON: `{to}`: the offset to start over from.
    Rewind = 6,
    /// An attempt failed and another follows. JSON: `{attempt, code, message, after_ms}`.
    Retry = 7,
    /// The wait has outgrown the estimate. JSON: `{place, wait_ms}`.
    Delayed = 8,
    /// What trimmed events amounted to. JSON.
    Snapshot = 9,
    /// Bytes of a log with many writers; their meaning is the writers' own.
    Data = 10,
    /// An event whose data was blanked on a person's request. Empty.
    Erased = 11,
    /// The log's last event. JSON of [`Ending`](crate::Ending).
    End = 12,
    /// A batch's tasks, all of them committed. JSON: `{tasks}`.
    Batch = 13,
    /// A task of a batch has ended. JSON: `{task, index, state, done, failed, stopped, total}`.
    Progress = 14,
    /// The vector of one input. JSON: `{index, embedding}`, see [`embeddings::Vector`](crate::embeddings::Vector).
    Embedding = 15,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 15] = [
        Self::Started,
        Self::Text,
        Self::Reasoning,
        Self::ToolCall,
        Self::Logprobs,
        Self::Rewind,
        Self::Retry,
        Self::Delayed,
        Self::Snapshot,
        Self::Data,
        Self::Erased,
        Self::End,
        Self::Batch,
        Self::Progress,
        Self::Embedding,
    ];

    /// The kind with this number on disk.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&kind| kind as u8 == number)
    }

    /// The event's type on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Text => "text",
            Self::Reasoning => "reasoning",
            Self::ToolCall => "tool_call",
            Self::Logprobs => "logprobs",
            Self::Rewind => "rewind",
            Self::Retry => "retry",
            Self::Delayed => "delayed",
            Self::Snapshot => "snapshot",
            Self::Data => "data",
            Self::Erased => "erased",
            Self::End => "end",
            Self::Batch => "batch",
            Self::Progress => "progress",
            Self::Embedding => "embedding",
        }
    }

    /// Whether the data is text as it stands; all other kinds but `Data` hold JSON.
    pub const fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Reasoning)
    }
}

/// An event before it has a place: what a writer appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it happened, by the writer's clock.
    pub at: Timestamp,
    /// What it says.
    pub kind: Kind,
    /// Text or JSON, as [`Kind`] says.
    pub data: Bytes,
}

impl Entry {
    /// An entry.
    pub fn new(at: Timestamp, kind: Kind, data: impl Into<Bytes>) -> Self {
        Self { at, kind, data: data.into() }
    }
}

/// One entry of a log, at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place.
    pub offset: Offset,
    /// When it happened, by the writer's clock.
    pub at: Timestamp,
    /// What it says.
    pub kind: Kind,
    /// Text or JSON, as [`Kind`] says.
    pub data: Bytes,
}
