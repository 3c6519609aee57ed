//! A task's story as spans: the body of `GET /v1/tasks/{id}/trace`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A task's story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceView {
    /// The task's id.
    pub task: String,
    /// `queued`, `running`, `done`, `failed` or `stopped`.
    pub state: String,
    /// The trace that it belongs to: 32 hexadecimal digits.
    pub trace_id: String,
    /// The span that asked for it, where its request named one: 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// Whether it is exported, where traces are.
    pub sampled: bool,
    /// When this was told, in microseconds since the Unix epoch: open spans last until then.
    pub now_us: u64,
    /// The task's own first, the others in the order in which they began.
    pub spans: Vec<SpanView>,
}

/// A part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpanView {
    /// 16 hexadecimal digits; the same whenever it is asked for.
    pub id: String,
    /// The span that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// `task`, `queue`, `attempt`, `first_token`, `streaming`, `backoff` or `rewind`.
    pub part: String,
    /// For people.
    pub name: String,
    /// The event of the log that it begins with; 0 for what begins with the request.
    pub offset: u64,
    /// Microseconds since the Unix epoch.
    pub start_us: u64,
    /// The same; none while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_us: Option<u64>,
    /// From its start to its end, or to now.
    pub duration_us: u64,
    /// `open`, `ok`, `error`, `stopped` or `taken_over`.
    pub status: String,
    /// What happened, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What else is known, by OpenTelemetry's names where it has some.
    pub attributes: BTreeMap<String, serde_json::Value>,
}
