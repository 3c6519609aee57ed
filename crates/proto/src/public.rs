//! Results that anybody may read: the bodies of what makes them so, and not so.

use serde::{Deserialize, Serialize};

/// Hexadecimal digits of a surrogate key: 80 bits tell any number of results apart.
pub const KEY_BYTES: usize = 20;

/// A task was published, or is no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The task's id.
    pub id: String,
    /// Whether anybody may read its answer.
    pub public: bool,
    /// Where, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What the caches in front said, where they were told to forget it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evicted: Vec<Evicted>,
}

/// What a cache said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evicted {
    /// Which cache, as it is set.
    pub cache: String,
    /// Whether it has nothing of it any more, by its own word.
    pub done: bool,
    /// Why not, where it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What caches in front are to forget: one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Purge {
    /// A task's result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// All results with this surrogate key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What they said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// Each of them.
    pub evicted: Vec<Evicted>,
}
