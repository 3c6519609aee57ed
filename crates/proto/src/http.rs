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
    /// The idempotency key was known: this is the task that has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub known: bool,
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
