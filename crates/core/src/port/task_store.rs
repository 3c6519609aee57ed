//! The port `TaskStore`: a task's record, its lease and its idempotency.

use super::Unavailable;
use crate::ending::Ending;
use crate::id::{KeyId, LogId, TaskId, TaskRef, TenantId, WorkerId};
use crate::task::{Lease, Overspent, State, Task};
use crate::time::Timestamp;
use async_trait::async_trait;
use std::time::Duration;

/// Tasks.
///
/// Promises, checked by `testkit::task_store`:
/// - A submit returns once the task is committed: from then on it survives what its durability says.
/// - One idempotency key of a tenant, one task, also under concurrent submits.
/// - A child is taken only while its parent and its root are live, not asked to stop, and within the budget; it
///   is counted against both in the commit that takes it, and what it used against the root in the one that
///   finishes it.
/// - One dead letter, one retry, however often it is asked for; the dead letter names it from that commit on.
/// - A lease's fence is higher than that of any lease of the task before it, also over a restart. Of two
///   leases taken at once one wins. A lease need not survive a crash, as long as its fence is not given again
///   after an append that carried it.
/// - Finishing is idempotent, and final.
///
/// The rules of each change are the methods of [`Task`] in `core::task::change`, so an engine only stores.
#[async_trait]
pub trait TaskStore: Send + Sync {
    /// Keeps a new task. With an idempotency key that is already known: gives back the task that has it. A retry
    /// of a task that was retried: gives back the first one.
    async fn submit(&self, task: Task) -> Result<Submitted, SubmitError>;

    /// The record, or `None` where there is none for this tenant.
    async fn get(&self, task: TaskRef) -> Result<Option<Task>, Unavailable>;

    /// Records that match, newest first.
    async fn list(&self, filter: &Filter) -> Result<TaskPage, Unavailable>;

    /// Asks for the task to stop: sets its flag. An ended task is answered as it is.
    async fn request_stop(&self, task: TaskRef) -> Result<Task, UpdateError>;

    /// Takes the lease.
    async fn lease(&self, task: TaskRef, leasing: Leasing) -> Result<(Task, Lease), LeaseError>;

    /// Renews leases of a worker, and says of each in turn how it stands.
    async fn renew(&self, leases: &[Lease], until: Timestamp) -> Result<Vec<Renewal>, Unavailable>;

    /// Gives the lease back: the task is queued again.
    async fn release(&self, lease: &Lease, release: Release) -> Result<(), UpdateError>;

    /// Records that the task's log has ended. Idempotent; called from the `end` event, by the reaper too.
    async fn finish(&self, task: TaskRef, at: Timestamp, ending: Ending) -> Result<(), UpdateError>;
}

/// A submit's answer.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// The task: the new one, or the one that already had the key.
    pub task: Task,
    /// It is the new one.
    pub fresh: bool,
}

/// Why a task was not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The key belongs to a task with another body. Use another key.
    #[error("the idempotency key belongs to {task}, which has another body")]
    KeyConflict {
        /// The task that has the key.
        task: TaskId,
    },
    /// What it comes from does not allow it.
    #[error(transparent)]
    Family(#[from] FamilyError),
    /// Try again later, with the same key.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a task's origin does not allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FamilyError {
    /// There is no such parent, root or dead letter.
    #[error("there is no such task")]
    Unknown,
    /// The parent or the root has ended, or was asked to stop.
    #[error("the parent has ended or is being stopped")]
    Ended,
    /// The run's budget is spent.
    #[error(transparent)]
    Overspent(#[from] Overspent),
    /// Only a failed task can be tried again.
    #[error("the task is no dead letter: it has not failed")]
    NotDead,
}

/// Who wants a lease, and how.
#[derive(Clone, Debug)]
pub struct Leasing {
    /// Who.
    pub worker: WorkerId,
    /// The moment of now.
    pub now: Timestamp,
    /// When the lease lapses unless it is renewed.
    pub until: Timestamp,
    /// Take it from whoever holds it: to end a task whose worker does not stop.
    pub seize: bool,
}

/// Why there is no lease.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// There is no such task.
    #[error("there is no such task")]
    Unknown,
    /// It has ended: there is nothing to do.
    #[error("the task has ended")]
    Ended,
    /// Another worker holds it.
    #[error("another worker holds the lease")]
    Held,
    /// Its backoff is not over.
    #[error("the task waits before its next attempt")]
    TooEarly {
        /// When it may be leased.
        not_before: Timestamp,
    },
    /// Try again later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// How a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It was renewed.
    Held {
        /// Somebody asked for the task to stop.
        stop_requested: bool,
    },
    /// Another lease has been taken, or the task has ended: stop working on it.
    Lost,
}

/// How a worker gives a lease back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The attempt failed; another may begin at this moment.
    Retry {
        /// The end of the backoff.
        not_before: Timestamp,
    },
    /// The worker shuts down: the attempt does not count.
    HandBack,
}

/// Why a record was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// There is no such task.
    #[error("there is no such task")]
    Unknown,
    /// The lease is no longer held.
    #[error("the lease is no longer held")]
    LeaseLost,
    /// Try again later.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Which tasks to list. An empty filter matches all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this tenant's.
    pub tenant: Option<TenantId>,
    /// Only in these states; empty for any.
    pub states: Vec<State>,
    /// Only those that asked for this model.
    pub model: Option<String>,
    /// Only children of this task.
    pub parent: Option<TaskId>,
    /// Only tasks of this batch.
    pub batch: Option<LogId>,
    /// Only tasks of this lane.
    pub lane: Option<String>,
    /// Only shadows of this task.
    pub shadow_of: Option<TaskId>,
    /// Only tasks that are shadows of none, or only such as are.
    pub shadows: Option<bool>,
    /// Only dead letters: tasks that failed and were not tried again.
    pub dead: bool,
    /// Only those that ended with an error of this code.
    pub code: Option<String>,
    /// Only tasks of lanes that begin so; an empty text: of any lane.
    pub lane_prefix: Option<String>,
    /// Only those that were submitted at this moment or later.
    pub since: Option<Timestamp>,
    /// Only those that were submitted before this moment.
    pub until: Option<Timestamp>,
    /// Only those of this user.
    pub user: Option<String>,
    /// Only those that were asked for with this key.
    pub payer_key: Option<KeyId>,
    /// Only those whose id, as it is written, has this in it.
    pub part_of_id: Option<String>,
    /// Only the one that has this idempotency key. An engine finds it without a look at others.
    pub key: Option<String>,
    /// Only running ones whose lease lapsed before this moment.
    pub lapsed_before: Option<Timestamp>,
    /// Only those older than this one: where the last page ended.
    pub before: Option<TaskId>,
    /// At most so many.
    pub limit: usize,
}

impl Filter {
    /// Whether a record matches, `before` and `limit` aside.
    pub fn matches(&self, task: &Task) -> bool {
        self.tenant.is_none_or(|tenant| tenant == task.tenant)
            && (self.states.is_empty() || self.states.contains(&task.state))
            && self.model.as_ref().is_none_or(|model| *model == task.spec.model)
            && self.parent.is_none_or(|parent| task.spec.origin.parent == Some(parent))
            && self.batch.is_none_or(|batch| task.spec.origin.batch == Some(batch))
            && self.lane.as_deref().is_none_or(|lane| task.spec.turn.lane.as_deref() == Some(lane))
            && self.shadow_of.is_none_or(|first| task.spec.origin.shadow_of == Some(first))
            && self.shadows.is_none_or(|shadows| task.spec.origin.shadow_of.is_some() == shadows)
            && (!self.dead || task.is_dead_letter())
            && self.code.as_deref().is_none_or(|code| task.failure().is_some_and(|failure| failure.code == code))
            && self.key.as_deref().is_none_or(|key| task.idempotency.as_ref().is_some_and(|known| known.key == key))
            && self.lapsed_before.is_none_or(|moment| task.lapsed(moment))
            && self.matches_request(task)
    }

    /// Whether a record matches what is asked of its request: by whom, when, in which lane.
    fn matches_request(&self, task: &Task) -> bool {
        let (lane, payer) = (task.spec.turn.lane.as_deref(), &task.spec.payer);
        self.lane_prefix.as_deref().is_none_or(|prefix| lane.is_some_and(|lane| lane.starts_with(prefix)))
            && self.since.is_none_or(|since| task.submitted_at >= since)
            && self.until.is_none_or(|until| task.submitted_at < until)
            && self.user.as_deref().is_none_or(|user| payer.user.as_deref() == Some(user))
            && self.payer_key.is_none_or(|key| payer.key == Some(key))
            && self.part_of_id.as_deref().is_none_or(|part| task.id.to_string().contains(part))
    }

    /// The oldest id that may match: an engine looks at none before it. Ids tell when they were made, a moment after their
    /// tasks came.
    pub fn oldest(&self) -> Option<TaskId> {
        self.since.map(|since| TaskId::oldest_of(since.minus(ID_AGE)))
    }

    /// The id before which all lie that may match, `before` included: where an engine begins to look.
    pub fn newest(&self) -> Option<TaskId> {
        let until = self.until.map(|until| TaskId::oldest_of(until.plus(ID_AGE)));
        match (self.before, until) {
            (Some(before), Some(until)) => Some(before.min(until)),
            (before, until) => before.or(until),
        }
    }
}

/// How far an id's own moment and its task's `submitted_at` may be apart: far more than admitting one takes, so that a clock that is
/// set in between hides nothing.
const ID_AGE: Duration = Duration::from_mins(1);

/// One page of a list.
#[derive(Clone, Debug, Default)]
pub struct TaskPage {
    /// Newest first.
    pub tasks: Vec<Task>,
    /// Ask for what is before this one to go on; `None` at the end.
    pub next: Option<TaskId>,
}
