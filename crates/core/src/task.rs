//! A task: one unit of model work.

use crate::cache::{REPLAY, Use};
use crate::ending::{Ending, Failure, Outcome};
use crate::id::{Fence, TaskId, TaskRef, TenantId, WorkerId};
use crate::payer::Payer;
use crate::port::Amounts;
use crate::time::Timestamp;
use crate::trace::Trace;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

mod change;
mod turn;

pub use turn::{Budget, OnBusy, Origin, Overspent, Priority, Spent, Turn};

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for a worker: at first, and between attempts.
    Queued,
    /// A worker holds its lease.
    Running,
    /// Ended: the answer is whole.
    Done,
    /// Ended: no attempt is left.
    Failed,
    /// Ended: somebody stopped it.
    Stopped,
}

impl State {
    /// Every state there is.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Done, Self::Failed, Self::Stopped];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// The state that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == text)
    }

    /// Whether nothing will change any more.
    pub const fn is_ended(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

impl From<Outcome> for State {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Done,
            Outcome::Failed => Self::Failed,
            Outcome::Stopped => Self::Stopped,
        }
    }
}

/// What the end of the submitter's connection does to its task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDisconnect {
    /// The task goes on; only a cursor ended.
    #[default]
    Continue,
    /// The task stops.
    Stop,
}

/// What was asked for. Never changes after the ack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The public model name that was asked for.
    pub model: String,
    /// What a worker must have to run it: the name of a deployment.
    pub capability: Arc<str>,
    /// The request as the backend gets it: OpenAI chat JSON, unknown fields and all.
    #[serde(skip)]
    pub input: Bytes,
    /// What the end of the submitter's connection does.
    pub on_disconnect: OnDisconnect,
    /// After this moment no attempt begins and a running one ends as failed.
    pub deadline: Timestamp,
    /// How many attempts it may have, the first one included.
    pub max_attempts: u32,
    /// The submitter's own words about it, a JSON object; kept and given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// When it runs.
    #[serde(default)]
    pub turn: Turn,
    /// What it comes from.
    #[serde(default)]
    pub origin: Origin,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Payer::is_nobody")]
    pub payer: Payer,
    /// What the face that it came over needs to give its request back: JSON of its own, short, and nothing of what was
    /// said, which is in `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub face: Option<String>,
    /// What was reserved for it at admission.
    #[serde(default, skip_serializing_if = "Amounts::is_nothing")]
    pub reserved: Amounts,
    /// Anybody may read its answer, from the ack on. It may be changed later: the directory says how it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
    /// The trace that it was asked for in, or that begins with it and is exported; see [`Task::trace`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
    /// What it makes of answers that are kept or on their way; nothing, where its route keeps and shares none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Box<Use>>,
}

impl Spec {
    /// What it waits for: a worker of its route, or one that replays and rides.
    pub fn waits_for(&self) -> Arc<str> {
        match self.cache.as_deref() {
            Some(Use { rides: true, .. }) => REPLAY.into(),
            _ => self.capability.clone(),
        }
    }
}

/// One key, one task: a second submit with the key gets the first one's task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The submitter's key, unique within a tenant.
    pub key: String,
    /// A hash of the whole request, so that the same key with another body can be refused.
    pub body_hash: u64,
}

/// A worker's time-limited right to a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The task.
    pub task: TaskRef,
    /// Names this lease; higher than that of any lease before it.
    pub fence: Fence,
    /// Counts from 1.
    pub attempt: u32,
    /// Who holds it.
    pub worker: WorkerId,
}

/// A task's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// Who pays.
    pub tenant: TenantId,
    /// What was asked for.
    pub spec: Spec,
    /// When the server received it.
    pub submitted_at: Timestamp,
    /// Where it is.
    pub state: State,
    /// Somebody asked for it to stop, and it has not ended yet.
    #[serde(default)]
    pub stop_requested: bool,
    /// Attempts that began. One that was handed back does not count.
    #[serde(default)]
    pub attempts: u32,
    /// The fence of the newest lease; 0 before the first.
    #[serde(default)]
    pub fence: Fence,
    /// When the newest lease lapses, while the task is running.
    #[serde(default)]
    pub leased_until: Option<Timestamp>,
    /// No attempt begins before this moment: the backoff between attempts.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// The submitter's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    /// Tasks that were started for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub children: u32,
    /// What the tasks below it have used, where it is the first of them.
    #[serde(default, skip_serializing_if = "Spent::is_nothing")]
    pub spent: Spent,
    /// The task that tries it again: it is a dead letter no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_as: Option<TaskId>,
    /// How and when it ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<(Timestamp, Ending)>,
}

// serde's `skip_serializing_if` passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Task {
    /// A task that has just been asked for.
    pub fn new(id: TaskId, tenant: TenantId, spec: Spec, at: Timestamp) -> Self {
        let not_before = spec.turn.start_at;
        Self {
            id,
            tenant,
            spec,
            submitted_at: at,
            state: State::Queued,
            stop_requested: false,
            attempts: 0,
            fence: Fence(0),
            leased_until: None,
            not_before,
            idempotency: None,
            children: 0,
            spent: Spent::default(),
            retried_as: None,
            ended: None,
        }
    }

    /// Its address.
    pub fn at(&self) -> TaskRef {
        TaskRef { tenant: self.tenant, task: self.id }
    }

    /// Its parent's address.
    pub fn parent(&self) -> Option<TaskRef> {
        self.spec.origin.parent.map(|task| TaskRef { tenant: self.tenant, task })
    }

    /// The address of the task whose budget it shares.
    pub fn root(&self) -> Option<TaskRef> {
        self.spec.origin.root.map(|task| TaskRef { tenant: self.tenant, task })
    }

    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        self.ended.as_ref().and_then(|(_, ending)| ending.error.as_ref())
    }

    /// Whether it failed and nobody has tried it again.
    pub fn is_dead_letter(&self) -> bool {
        self.state == State::Failed && self.retried_as.is_none()
    }
}
