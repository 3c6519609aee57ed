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
    /// `interactive`, `normal` or `bulk`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// Tasks of one lane run one after another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// `queue`, `steer` or `replace`: what it does while its lane is busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_busy: Option<String>,
    /// The task that it is started for: it stops with it, and shares its budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// What all tasks below this one may use together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetBody>,
    /// It does not begin before this moment, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<u64>,
    /// It does not begin for so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// What its deployment must have, beside the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Vec<String>>,
    /// One key, one task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Kept and given back: a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Box<RawValue>>,
    /// The user within the tenant whom it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What a face keeps of a request that it translated. Never on the wire.
    #[serde(skip)]
    pub face: Option<String>,
    /// Anybody may read its answer, and any HTTP cache may keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// Where in which trace it is asked for: W3C Trace Context, as the header of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What other systems keep beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// `no-cache`, `no-store` or `only-if-cached`: what it takes of kept answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// Fields that no submission has; the edge refuses them by name.
    #[serde(flatten, skip_serializing)]
    pub unknown: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
}

/// What the tasks below one may use together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetBody {
    /// How many tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// How many tokens they read and write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Milliseconds from now: the deadline of all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
}

/// What the tasks below one have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpentBody {
    /// How many tasks were taken.
    pub steps: u64,
    /// How many tokens those used that have ended.
    pub tokens: u64,
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
    "priority",
    "lane",
    "on_busy",
    "parent",
    "budget",
    "start_at",
    "delay_ms",
    "needs",
    "idempotency_key",
    "metadata",
    "user",
    "public",
    "traceparent",
    "tracestate",
    "cache",
];

/// A task's record as a client sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskView {
    /// Its id.
    pub id: String,
    /// Whose it is, where that is not the caller's own tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
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
    /// How long until it runs, an estimate, while it waits and one can be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// `interactive`, `normal` or `bulk`.
    pub priority: String,
    /// The lane that it shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// What it does while its lane is busy, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_busy: Option<String>,
    /// The task that it was started for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The first of its line of parents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// How many tasks were started for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub children: u32,
    /// What all tasks below it may use together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetBody>,
    /// What they have used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<SpentBody>,
    /// It does not begin before this moment, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<u64>,
    /// What its deployment must have, beside the model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// The batch that it belongs to, by its log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// The dead letter that it tries again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<String>,
    /// The task whose answer it is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow_of: Option<String>,
    /// What was said of its answer, in sum; only where one task is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<crate::feedback::FeedbackSum>,
    /// The task that tries it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_as: Option<String>,
    /// What was asked for, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Box<RawValue>>,
    /// Names its answer in the cache, where its route keeps or shares answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_key: Option<String>,
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

// serde's `skip_serializing_if` passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u32) -> bool {
    *count == 0
}
