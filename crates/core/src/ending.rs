//! How a task ended: the data of its log's last event, and the commit point of the task.

use crate::cache::Told;
use crate::money::Money;
use serde::{Deserialize, Serialize};

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The answer is whole.
    Done,
    /// It is not, and no attempt is left.
    Failed,
    /// Somebody stopped it.
    Stopped,
}

/// Tokens that were used. Over several attempts: the sum of all of them, for all were paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens that the model read.
    pub input_tokens: u64,
    /// Those of them that it had cached.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached_tokens: u64,
    /// Those of them that it did not have cached and put into its cache, where an upstream tells and charges for that.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_tokens: u64,
    /// Tokens that it wrote.
    pub output_tokens: u64,
    /// Those of them that were reasoning.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning_tokens: u64,
    /// What all of it cost, by the prices of the deployments that did it; in nanodollars.
    #[serde(default, rename = "cost_nanousd", skip_serializing_if = "Money::is_zero")]
    pub cost: Money,
    /// What it would have cost beside, had the answer not been kept, or been on its way for another task; in nanodollars.
    #[serde(default, rename = "saved_nanousd", skip_serializing_if = "Money::is_zero")]
    pub saved: Money,
    /// The backend gave no count for a part of it, and that part is an estimate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

// serde's `skip_serializing_if` passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Usage {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens + other.input_tokens,
            cached_tokens: self.cached_tokens + other.cached_tokens,
            cache_write_tokens: self.cache_write_tokens + other.cache_write_tokens,
            output_tokens: self.output_tokens + other.output_tokens,
            reasoning_tokens: self.reasoning_tokens + other.reasoning_tokens,
            cost: self.cost.plus(other.cost),
            saved: self.saved.plus(other.saved),
            estimated: self.estimated || other.estimated,
        }
    }
}

/// Why it failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable code, from PROTOCOL.md.
    pub code: String,
    /// What happened and what to do, for people.
    pub message: String,
    /// When it is worth trying again, in milliseconds, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    /// One that says nothing about when to try again.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retry_after_ms: None }
    }
}

/// A log's last event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// How it ended.
    pub state: Outcome,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// Why the model ended its answer, in its own word: `stop`, `length`, `tool_calls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// Which of the stop sequences that were asked for ended it, where one did and the upstream tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_sequence: Option<String>,
    /// What was used, over all attempts.
    pub usage: Usage,
    /// Which deployment gave the answer, or was the last to try; none where no attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// How many attempts it took; 0 where none began.
    pub attempts: u32,
    /// Where the answer came from, where it was not made for this task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Told>,
}

impl Ending {
    /// What the answer used, whoever paid for it: what clients of other APIs expect to be told. The prompt of one that was
    /// not made for this task counts as cached; the cost is this task's own.
    pub fn used_for_answer(&self) -> Usage {
        let Some(made) = self.cache.as_ref().and_then(|told| told.made) else { return self.usage };
        let made = Usage {
            cached_tokens: made.input_tokens,
            cache_write_tokens: 0,
            cost: Money::ZERO,
            saved: Money::ZERO,
            ..made
        };
        self.usage.plus(made)
    }

    /// The ending as the `end` event's data.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings, numbers and enums only: serialising cannot fail, and an empty object would still be read
        // as a damaged ending rather than as a whole one.
        serde_json::to_vec(self).unwrap_or_else(|_| b"{}".to_vec())
    }
}
