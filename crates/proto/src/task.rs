//! A task as it is submitted, and as it is given back.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What a client submits. Unknown fields are refused by the edge, which names the nearest known one.
// The unknown fields' values are of no interest, their names are.
#[allow(clippy::zero_sized_map_values)]
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Submission {
    /// Short for `input` with one user message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// OpenAI chat JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Box<RawValue>>,
    /// The public model name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `durable` or `transient`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<String>,
    /// `continue` or `stop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disconnect: Option<String>,
    /// Milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// The first one included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// One key, one task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Kept and given back: a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Box<RawValue>>,
    /// Fields that no submission has; the edge refuses them by name.
    #[serde(flatten, skip_serializing)]
    pub unknown: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
}

/// The fields of [`Submission`], for the error that suggests one.
pub const FIELDS: &[&str] = &[
    "prompt",
    "input",
    "model",
    "durability",
    "on_disconnect",
    "deadline_ms",
    "max_attempts",
    "idempotency_key",
    "metadata",
];

/// A task's record as a client sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskView {
    /// Its id.
    pub id: String,
    /// `queued`, `running`, `done`, `failed` or `stopped`.
    pub state: String,
    /// The public model name that was asked for.
    pub model: String,
    /// `durable` or `transient`.
    pub durability: String,
    /// `continue` or `stop`.
    pub on_disconnect: String,
    /// Milliseconds since the Unix epoch.
    pub submitted_at: u64,
    /// How many tasks are ahead, while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<u64>,
    /// Attempts that began.
    pub attempts: u32,
    /// How many it may have.
    pub max_attempts: u32,
    /// Milliseconds since the Unix epoch.
    pub deadline: u64,
    /// Somebody asked for it to stop, and it has not ended yet.
    #[serde(default)]
    pub stop_requested: bool,
    /// The submitter's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Box<RawValue>>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// How it ended: the data of its log's `end` event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<serde_json::Value>,
}
