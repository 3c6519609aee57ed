//! Many tasks at once.

use crate::WireError;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What a client submits to have many tasks run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchSubmission {
    /// The tasks: each an object of a task's fields.
    pub tasks: Vec<serde_json::Map<String, serde_json::Value>>,
    /// Fields that each task has unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<serde_json::Map<String, serde_json::Value>>,
    /// One key, one batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Kept and given back: a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Box<RawValue>>,
}

/// A batch was committed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BatchAccepted {
    /// The batch's id.
    pub id: String,
    /// The log of its progress: the same.
    pub log: String,
    /// The log's epoch.
    pub epoch: u32,
    /// Its tasks, in the order in which they were given.
    pub tasks: Vec<String>,
    /// Where its progress is.
    pub events_url: String,
}

/// A batch as a client sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BatchView {
    /// Its id, and its log's.
    pub id: String,
    /// `running`, or what its log ended as: `done`, `failed`, `stopped`.
    pub state: String,
    /// Milliseconds since the Unix epoch.
    pub created_at: u64,
    /// When its last task ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// How many tasks it has.
    pub total: u64,
    /// How many of them wait or run.
    pub live: u64,
    /// How many of them wait.
    #[serde(default)]
    pub queued: u64,
    /// How many of them run.
    #[serde(default)]
    pub running: u64,
    /// How many are done.
    pub done: u64,
    /// How many failed.
    pub failed: u64,
    /// How many were stopped.
    pub stopped: u64,
    /// The batch whose failed tasks it tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<String>,
    /// The submitter's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Box<RawValue>>,
}

/// One page of batches.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BatchList {
    /// In the order that was asked for.
    pub batches: Vec<BatchView>,
    /// The `cursor` of the next page; none at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which of a batch's tasks are meant. Empty: all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchPart {
    /// Only these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
}

/// The data of a `batch` event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchTasks {
    /// Its tasks, in the order in which they were given.
    pub tasks: Vec<String>,
}

/// The data of a `progress` event: a task has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Which task.
    pub task: String,
    /// Its place in the batch, from 0.
    pub index: usize,
    /// `done`, `failed` or `stopped`.
    pub state: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<WireError>,
    /// How many are done, this one included.
    pub done: u64,
    /// How many have failed.
    pub failed: u64,
    /// How many were stopped.
    pub stopped: u64,
    /// How many there are.
    pub total: u64,
}
