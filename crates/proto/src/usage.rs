//! Bodies of `GET /v1/usage`.

use serde::{Deserialize, Serialize};

/// What was used, summed up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UsageReport {
    /// The first day, `2026-11-01`, in UTC.
    pub from: String,
    /// The last day.
    pub to: String,
    /// What each row stands for, in this order.
    pub group_by: Vec<String>,
    /// Sorted by what they stand for.
    pub rows: Vec<UsageLine>,
    /// All of them together, those of other pages too.
    pub total: UsageSums,
    /// Where there are more rows: the `cursor` of the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What was used by one of each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UsageLine {
    /// The day, where rows are told apart by it; so below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// The tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The key; empty where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The user; empty where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The public name of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The deployment; empty where no attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// How much.
    #[serde(flatten)]
    pub sums: UsageSums,
}

/// Sums over tasks that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UsageSums {
    /// Tasks.
    pub tasks: u64,
    /// Tokens that were read.
    pub input_tokens: u64,
    /// Those of them that were cached.
    pub cached_tokens: u64,
    /// Those of them that were put into an upstream's cache.
    #[serde(default)]
    pub cache_write_tokens: u64,
    /// Tokens that were written.
    pub output_tokens: u64,
    /// Those of them that were reasoning.
    pub reasoning_tokens: u64,
    /// What they cost, in dollars.
    pub cost_usd: f64,
    /// What answers that were kept, or on their way for another task, would have cost, in dollars.
    #[serde(default)]
    pub saved_usd: f64,
    /// A backend gave no count for a part of it.
    pub estimated: bool,
}
