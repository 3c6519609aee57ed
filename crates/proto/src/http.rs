//! Bodies of the HTTP face.

use crate::event::WireEvent;
use crate::task::TaskView;
use serde::{Deserialize, Serialize};

/// A task was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The task's id.
    pub task: String,
    /// Its log's id: the same.
    pub log: String,
    /// The log's epoch.
    pub epoch: u32,
    /// Where the task is.
    pub state: String,
    /// How many tasks are ahead, while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<u64>,
    /// How long until it runs, an estimate, where one can be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// The idempotency key was known: this is the task that has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub known: bool,
    /// What is left of the submitter's limits, where it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LeftBody>,
}

/// What is left of limits, each of the one that has least.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftBody {
    /// Tasks a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<AllowanceBody>,
    /// Tokens read a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<AllowanceBody>,
    /// Tokens written a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<AllowanceBody>,
    /// Money a day or a month, in billionths of a dollar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_nanousd: Option<AllowanceBody>,
}

/// What is left of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowanceBody {
    /// All there is in its period.
    pub limit: u64,
    /// What is left of it.
    pub remaining: u64,
    /// When all of it is back.
    pub reset_ms: u64,
}

/// The answer of `POST /v1/tasks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The task's id.
    pub id: String,
    /// Its log's id: the same.
    pub log: String,
    /// The log's epoch.
    pub epoch: u32,
    /// Where the task is.
    pub state: String,
    /// How many tasks are ahead, while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<u64>,
    /// How long until it runs, an estimate, where one can be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// Where its events are.
    pub events_url: String,
}

/// One page of `GET /v1/tasks`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskList {
    /// Newest first.
    pub tasks: Vec<TaskView>,
    /// The `cursor` of the next page; none at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One page of `GET /v1/lanes`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LaneList {
    /// Newest activity first.
    pub lanes: Vec<LaneView>,
    /// The `cursor` of the next page; none at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A lane, and what happened in it last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneView {
    /// Its name.
    pub lane: String,
    /// How many tasks it has, of those that are looked at.
    pub tasks: u64,
    /// The newest of them.
    pub last_task: String,
    /// When that one was submitted, in milliseconds since the Unix epoch.
    pub last_at: u64,
    /// That one's state.
    pub state: String,
    /// How its first prompt begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// Which dead letters to try again. Empty: all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryLetters {
    /// Only these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
    /// Only those that asked for this model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Only those that failed with this code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Only those that were submitted at this moment or later, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Only those that were submitted before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// At most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// What became of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RetriedLetters {
    /// Dead letters that are tried again, newest first.
    pub retried: Vec<Retried>,
    /// Ones that are not, and why.
    pub refused: Vec<NotRetried>,
    /// There may be more: ask again.
    pub more: bool,
}

/// A dead letter that is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// The dead letter.
    pub task: String,
    /// The task that tries it again.
    pub retried_as: String,
}

/// A task that is not tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotRetried {
    /// Which.
    pub task: String,
    /// Why.
    pub error: crate::WireError,
}

/// One page of a log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventPage<'a> {
    /// The log's epoch.
    pub epoch: u32,
    /// The first offset.
    pub from: u64,
    /// One past the last offset.
    pub to: u64,
    /// The place of the log's next event.
    pub tail: u64,
    /// Whether the log has ended.
    pub ended: bool,
    /// Dense, in order.
    #[serde(borrow)]
    pub events: Vec<WireEvent<'a>>,
}

/// A file, in OpenAI's shape and with two fields of ours: `sha256` and `text_bytes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileView {
    /// `file-` and 26 letters.
    pub id: String,
    /// `file`.
    pub object: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// When it was whole, in seconds since the Unix epoch.
    pub created_at: u64,
    /// When it goes by itself, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// As its sender called it.
    pub filename: String,
    /// What it is for.
    pub purpose: String,
    /// `uploaded`, `processed` once its text is there, or `error` where it has none.
    pub status: String,
    /// Why it has none, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_details: Option<String>,
    /// SHA-256 of the bytes, in hexadecimal.
    pub sha256: String,
    /// Bytes of its text, once that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_bytes: Option<u64>,
}

/// One page of `GET /v1/files`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileList {
    /// `list`.
    pub object: String,
    /// In the order that was asked for.
    pub data: Vec<FileView>,
    /// The first one's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_id: Option<String>,
    /// The last one's id: the `after` of the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_id: Option<String>,
    /// Whether there are more after it.
    pub has_more: bool,
}

/// The answer of `DELETE /v1/files/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRemoved {
    /// The file's id.
    pub id: String,
    /// `file`.
    pub object: String,
    /// `true`: a file that was not there is an error.
    pub deleted: bool,
}

/// The answer of `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether the server takes work.
    pub ready: bool,
    /// `fsync` or `write`: what a crash can take.
    pub durability: String,
    /// The engine's name.
    pub engine: String,
    /// The server's version.
    pub version: String,
    /// Why it takes no work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
