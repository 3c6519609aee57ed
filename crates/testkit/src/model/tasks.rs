//! Tasks, as the port `TaskStore` describes them.

use bytes::Bytes;
use std::collections::BTreeMap;
use tidewire_core::port::{LeaseError, Leasing, Release, Renewal, SubmitError, UpdateError};
use tidewire_core::task::Lease;
use tidewire_core::{Ending, Fence, LogRef, Outcome, State, Task, TaskRef, Timestamp};

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tasks {
    tasks: BTreeMap<TaskRef, Task>,
    /// An idempotency key and the task that has it.
    keys: BTreeMap<String, TaskRef>,
}

/// Whether nothing changes any more.
fn is_over(task: &Task) -> bool {
    task.ended.is_some()
}

/// Whether this lease is the newest one, and the task runs by it.
fn counts(task: &Task, lease: &Lease) -> bool {
    task.state == State::Running && task.fence == lease.fence
}

/// Whether its worker has let its lease go by.
pub(super) fn has_lapsed(task: &Task, now: Timestamp) -> bool {
    task.state == State::Running && task.leased_until.is_none_or(|until| now >= until)
}

impl Tasks {
    /// Newest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values().rev()
    }

    pub(super) fn submit(&mut self, task: &Task) -> Result<(Task, bool), SubmitError> {
        if let Some(wanted) = &task.idempotency
            && let Some(holder) = self.keys.get(&wanted.key)
        {
            let known = self.tasks[holder].clone();
            let same_body = known.idempotency.as_ref().is_some_and(|held| held.body_hash == wanted.body_hash);
            return if same_body { Ok((known, false)) } else { Err(SubmitError::KeyConflict { task: holder.task }) };
        }
        if let Some(known) = self.tasks.get(&task.at()) {
            return Ok((known.clone(), false));
        }
        if let Some(wanted) = &task.idempotency {
            self.keys.insert(wanted.key.clone(), task.at());
        }
        self.tasks.insert(task.at(), task.clone());
        Ok((task.clone(), true))
    }

    pub(super) fn request_stop(&mut self, task: TaskRef) -> Result<Task, UpdateError> {
        let task = self.tasks.get_mut(&task).ok_or(UpdateError::Unknown)?;
        task.stop_requested |= !is_over(task);
        Ok(task.clone())
    }

    pub(super) fn lease(&mut self, at: TaskRef, leasing: &Leasing) -> Result<(Task, Lease), LeaseError> {
        let task = self.tasks.get_mut(&at).ok_or(LeaseError::Unknown)?;
        if is_over(task) {
            return Err(LeaseError::Ended);
        }
        if !leasing.seize {
            if task.state == State::Running && !has_lapsed(task, leasing.now) {
                return Err(LeaseError::Held);
            }
            if let Some(not_before) = task.not_before.filter(|not_before| leasing.now < *not_before) {
                return Err(LeaseError::TooEarly { not_before });
            }
        }
        task.attempts += u32::from(!leasing.seize);
        task.fence = Fence(task.fence.0 + 1);
        (task.state, task.leased_until, task.not_before) = (State::Running, Some(leasing.until), None);
        let lease = Lease { task: at, fence: task.fence, attempt: task.attempts, worker: leasing.worker.clone() };
        Ok((task.clone(), lease))
    }

    pub(super) fn renew(&mut self, leases: &[Lease], until: Timestamp) -> Vec<Renewal> {
        let mut renew = |lease: &Lease| match self.tasks.get_mut(&lease.task) {
            Some(task) if counts(task, lease) => {
                task.leased_until = Some(until);
                Renewal::Held { stop_requested: task.stop_requested }
            }
            _ => Renewal::Lost,
        };
        leases.iter().map(&mut renew).collect()
    }

    pub(super) fn release(&mut self, lease: &Lease, release: Release) -> Result<(), UpdateError> {
        let task = self.tasks.get_mut(&lease.task).ok_or(UpdateError::Unknown)?;
        if !counts(task, lease) {
            return Err(UpdateError::LeaseLost);
        }
        (task.state, task.leased_until) = (State::Queued, None);
        match release {
            Release::Retry { not_before } => task.not_before = Some(not_before),
            Release::HandBack => task.attempts = task.attempts.saturating_sub(1),
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, task: TaskRef, at: Timestamp, ending: Ending) -> Result<(), UpdateError> {
        let task = self.tasks.get_mut(&task).ok_or(UpdateError::Unknown)?;
        if is_over(task) {
            return Ok(());
        }
        task.state = match ending.state {
            Outcome::Done => State::Done,
            Outcome::Failed => State::Failed,
            Outcome::Stopped => State::Stopped,
        };
        (task.stop_requested, task.leased_until, task.not_before) = (false, None, None);
        task.ended = Some((at, ending));
        Ok(())
    }

    pub(super) fn get(&self, task: TaskRef) -> Option<&Task> {
        self.tasks.get(&task)
    }

    /// What was asked for is a person's too.
    pub(super) fn forget_input(&mut self, log: LogRef) {
        let of_log = |task: &&mut Task| task.at().log() == log;
        if let Some(task) = self.tasks.values_mut().find(of_log) {
            task.spec.input = Bytes::new();
        }
    }

    pub(super) fn reopen(&mut self, fences: &BTreeMap<LogRef, Fence>) {
        for task in self.tasks.values_mut().filter(|task| !is_over(task)) {
            task.leased_until = None;
            task.fence = task.fence.max(fences.get(&task.at().log()).copied().unwrap_or_default());
        }
    }
}
