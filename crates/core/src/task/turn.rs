//! When a task runs, and what it comes from.

use crate::id::{LogId, TaskId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How pressing a task is. Within one capability a higher one goes first; a lower one that waits still gets a
/// small share, so that none starves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Somebody looks at the screen.
    Interactive,
    /// All else.
    #[default]
    Normal,
    /// It can wait for a quiet hour.
    Bulk,
}

impl Priority {
    /// Every priority there is, the most pressing first.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Normal, Self::Bulk];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }

    /// The priority that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.name() == text)
    }
}

/// What a new task of a lane does while an earlier one has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBusy {
    /// It waits for all of them.
    #[default]
    Queue,
    /// The one whose turn it is stops; the new one goes next, and its model reads what the other one was asked
    /// and what it had said.
    Steer,
    /// All of them stop, and it goes next.
    Replace,
}

impl OnBusy {
    /// Every way there is.
    pub const ALL: [Self; 3] = [Self::Queue, Self::Steer, Self::Replace];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Steer => "steer",
            Self::Replace => "replace",
        }
    }

    /// The way that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.name() == text)
    }
}

/// When it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Turn {
    /// How pressing it is.
    pub priority: Priority,
    /// Tokens that it will read and write, an estimate: what fairness among tenants counts.
    pub tokens: u64,
    /// Tasks of a tenant that share a lane run one after another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<Arc<str>>,
    /// What it does while the lane is busy.
    pub on_busy: OnBusy,
    /// The task that it steers: what that one was asked and said goes before its own messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steers: Option<TaskId>,
    /// It does not begin before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Timestamp>,
    /// What its deployment must have, beside the model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
}

/// What it comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// The task that it was started for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<TaskId>,
    /// The first of its line of parents: the one whose budget it shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<TaskId>,
    /// How many parents stand above it.
    pub depth: u32,
    /// What all tasks below it may use together; on a task without a parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// The batch that it belongs to, by its log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<LogId>,
    /// The dead letter that it tries again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<TaskId>,
    /// The task whose answer it is compared with: whoever asked for that one knows nothing of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow_of: Option<TaskId>,
}

/// What a whole run may use. Its time is the root's deadline, which no child's passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// Tasks below the root, in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Tokens that they read and write. Checked before a task is taken and before an attempt begins, so that one
    /// attempt at a time of each running task may pass it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
}

/// What the tasks below a root have used by now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// Tasks that were taken.
    pub steps: u64,
    /// Tokens of those that have ended.
    pub tokens: u64,
}

impl Spent {
    /// Nothing.
    // serde's `skip_serializing_if` passes a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Which part of a budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overspent {
    /// No further task.
    #[error("the run has taken all of its {0} steps")]
    Steps(u64),
    /// No further token.
    #[error("the run has used all of its {0} tokens")]
    Tokens(u64),
}

impl Budget {
    /// Whether tokens are left.
    pub fn check_tokens(&self, spent: Spent) -> Result<(), Overspent> {
        match self.tokens {
            Some(tokens) if spent.tokens >= tokens => Err(Overspent::Tokens(tokens)),
            _ => Ok(()),
        }
    }

    /// Whether one more task may be taken.
    pub fn check(&self, spent: Spent) -> Result<(), Overspent> {
        match self.steps {
            Some(steps) if spent.steps >= steps => Err(Overspent::Steps(steps)),
            _ => self.check_tokens(spent),
        }
    }
}
