//! The rules by which a task's record changes, the same for every engine.

use super::{Lease, State, Task};
use crate::ending::{Ending, Usage};
use crate::port::{FamilyError, LeaseError, Leasing, Release, Renewal, UpdateError};
use crate::time::Timestamp;

impl Task {
    /// Whether a worker holds it, but its lease has lapsed at `moment`.
    pub fn lapsed(&self, moment: Timestamp) -> bool {
        self.state == State::Running && self.leased_until.is_none_or(|until| until <= moment)
    }

    /// Takes the lease: the next fence, the next attempt.
    pub fn lease(&mut self, leasing: Leasing) -> Result<Lease, LeaseError> {
        if self.state.is_ended() {
            return Err(LeaseError::Ended);
        }
        if !leasing.seize {
            if self.state == State::Running && !self.lapsed(leasing.now) {
                return Err(LeaseError::Held);
            }
            if let Some(not_before) = self.not_before.filter(|&moment| moment > leasing.now) {
                return Err(LeaseError::TooEarly { not_before });
            }
            // Whoever seizes a lease does so to end the task, not to try it.
            self.attempts += 1;
        }
        self.state = State::Running;
        self.fence = self.fence.next();
        self.leased_until = Some(leasing.until);
        self.not_before = None;
        Ok(Lease { task: self.at(), fence: self.fence, attempt: self.attempts, worker: leasing.worker })
    }

    /// Whether `lease` is the one that counts.
    pub fn is_held_by(&self, lease: &Lease) -> bool {
        self.state == State::Running && self.fence == lease.fence
    }

    /// Renews the lease, if it still counts. A lapsed one that nobody took still does.
    pub fn renew(&mut self, lease: &Lease, until: Timestamp) -> Renewal {
        if !self.is_held_by(lease) {
            return Renewal::Lost;
        }
        self.leased_until = Some(until);
        Renewal::Held { stop_requested: self.stop_requested }
    }

    /// Gives the lease back.
    pub fn release(&mut self, lease: &Lease, release: Release) -> Result<(), UpdateError> {
        if !self.is_held_by(lease) {
            return Err(UpdateError::LeaseLost);
        }
        self.state = State::Queued;
        self.leased_until = None;
        match release {
            Release::Retry { not_before } => self.not_before = Some(not_before),
            Release::HandBack => self.attempts = self.attempts.saturating_sub(1),
        }
        Ok(())
    }

    /// Asks for it to stop, unless it has ended.
    pub fn request_stop(&mut self) {
        if !self.state.is_ended() {
            self.stop_requested = true;
        }
    }

    /// Takes a child: its own, or one further below. Only as long as nobody stops it and its budget lasts, so
    /// that after a stop no child is taken that the stop does not reach.
    pub fn take_child(&mut self, child: &Self) -> Result<(), FamilyError> {
        if self.state.is_ended() || self.stop_requested {
            return Err(FamilyError::Ended);
        }
        if child.spec.origin.root == Some(self.id) {
            self.spec.origin.budget.unwrap_or_default().check(self.spent)?;
            self.spent.steps += 1;
        }
        if child.spec.origin.parent == Some(self.id) {
            self.children += 1;
        }
        Ok(())
    }

    /// A task below it has ended, having used this.
    pub fn charge(&mut self, usage: Usage) {
        self.spent.tokens = self.spent.tokens.saturating_add(usage.input_tokens).saturating_add(usage.output_tokens);
    }

    /// Records that `retry` tries it again; the first retry stays.
    pub fn retried(&mut self, retry: crate::id::TaskId) -> Result<(), FamilyError> {
        if !self.is_dead_letter() {
            return Err(FamilyError::NotDead);
        }
        self.retried_as = Some(retry);
        Ok(())
    }

    /// Records how it ended; the first ending stays. Says whether this was the first.
    pub fn finish(&mut self, at: Timestamp, ending: Ending) -> bool {
        if self.state.is_ended() {
            return false;
        }
        self.state = ending.state.into();
        self.stop_requested = false;
        self.leased_until = None;
        self.not_before = None;
        self.ended = Some((at, ending));
        true
    }
}
