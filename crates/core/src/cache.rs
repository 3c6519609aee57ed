//! Answers that are kept and shared: which requests are the same, how long an answer serves, and which ones are on their
//! way.
//!
//! ```text
//!  request ──▶ canonical ──▶ key ──▶ kept? ─── fresh ──▶ replayed
//!                                     │  └──── stale ──▶ replayed, and made anew once for all readers
//!                                     └─ no ──▶ on its way? ──▶ joined
//!                                                 └─ no ──▶ asked in other words? ──▶ replayed, else asked for
//! ```

mod announced;
mod canonical;
mod entry;
mod policy;
mod question;
mod semantic;

pub use announced::Announced;
pub use canonical::{Canonical, canonical};
pub use entry::{Answer, Piece};
pub use policy::{Freshness, Policy, Replay, Scope};
pub use question::{MAX_QUESTION_BYTES, Question, question};
pub use semantic::{Likeness, Semantic, Similarity};

use crate::ending::Usage;
use crate::id::{TaskId, TenantId};
use crate::port::{Account, Cache, CacheKey, Limits};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The capability of tasks that wait for no model: their answer is kept, or on its way for somebody else. They take no
/// slot of their route, so that a thousand of them stream at once beside the one that is asked for.
pub const REPLAY: &str = "tidewire:replay";

/// What edge and worker share of answers: those that are kept, and who has asked for those that are not.
pub struct Answers {
    /// Where they are kept.
    pub kept: Arc<dyn Cache>,
    /// Which are on their way.
    pub announced: Announced,
}

impl Answers {
    /// Kept there.
    pub fn new(kept: Arc<dyn Cache>) -> Self {
        Self { kept, announced: Announced::default() }
    }
}

/// What a task makes of the cache: decided at its admission.
// Each is a thing that a client or a route may switch by itself.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Names the answer.
    pub key: CacheKey,
    /// An answer that is kept will do.
    #[serde(default)]
    pub read: bool,
    /// The answer may be kept.
    #[serde(default)]
    pub keep: bool,
    /// It may ride on the answer of another task, and others on its.
    #[serde(default)]
    pub join: bool,
    /// Only an answer that is kept will do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only: bool,
    /// It waits for no slot of its route: when it was taken, its answer was kept or on its way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rides: bool,
    /// Names the questions that may mean the same as its own, always of its own tenant alone; none where none are looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<CacheKey>,
    /// Whose limits a refresh of the answer counts against; empty where nobody's do, or the route refreshes nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<(Account, Limits)>,
}

/// Where an answer came from, where it was not made for its task: part of the data of a `started` event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// How.
    pub state: Source,
    /// How old the answer is, or for how long it has been on its way.
    pub age_ms: u64,
    /// The task that it was made for, where that is the same tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// Why an old answer was given: the code of the failure that a new one ended with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What making the answer used, where nobody is charged for it here. Only the `end` event has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Usage>,
    /// Why it was given, where it answers another question that means the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semantic: Option<Likeness>,
}

/// How an answer came to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// It was kept, and fresh.
    Hit,
    /// It was kept, and older than the route's `ttl_s`.
    Stale,
    /// It was on its way for another task.
    Joined,
    /// It was made for this one.
    Miss,
}

impl Source {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Joined => "joined",
            Self::Miss => "miss",
        }
    }
}

/// The task that an answer was made for, as another tenant's task may be told of it.
pub fn told_task(maker: TaskId, of: TenantId, to: TenantId) -> Option<TaskId> {
    (of == to).then_some(maker)
}
