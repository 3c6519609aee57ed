//! What people think of answers, on the wire.

use serde::{Deserialize, Serialize};

/// The body of `POST /v1/tasks/{id}/feedback`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewFeedback {
    /// How good it is.
    pub score: Score,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// For charts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// How good an answer is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Score {
    /// From -1 to 1.
    Number(f64),
    /// `up` or `down`.
    Word(String),
}

/// What somebody thinks of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feedback {
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    /// From -1 to 1.
    pub score: f64,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// For charts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The key that it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Who, where the key or its request speaks for a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// The answer of `GET /v1/tasks/{id}/feedback`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeedbackList {
    /// The oldest first.
    pub feedback: Vec<Feedback>,
}

/// In a task's view: what was said of it in sum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeedbackSum {
    /// How many words.
    pub count: u64,
    /// The mean of their scores.
    pub score: f64,
}
