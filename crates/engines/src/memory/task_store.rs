//! The engine as a `TaskStore`.

use super::log::Log;
use super::{Engine, lock};
use async_trait::async_trait;
use tidewire_core::port::{
    Filter, LeaseError, Leasing, Release, Renewal, SubmitError, Submitted, TaskPage, TaskStore, Unavailable,
    UpdateError,
};
use tidewire_core::task::Lease;
use tidewire_core::{Ending, Task, TaskRef, Timestamp};

#[async_trait]
impl TaskStore for Engine {
    async fn submit(&self, task: Task) -> Result<Submitted, SubmitError> {
        let log = task.at().log();
        let submitted = self.tasks.submit(task, &self.room, || self.make_log(log).map(|_| ()));
        if submitted.is_err()
            && let Some((charged, _)) = self.logs.remove(log, Log::is_untouched)
        {
            self.room.give_back(charged);
        }
        submitted
    }

    async fn get(&self, task: TaskRef) -> Result<Option<Task>, Unavailable> {
        Ok(self.tasks.get(task))
    }

    async fn list(&self, filter: &Filter) -> Result<TaskPage, Unavailable> {
        Ok(self.tasks.list(filter))
    }

    async fn request_stop(&self, task: TaskRef) -> Result<Task, UpdateError> {
        let stop = |record: &mut Task| {
            record.request_stop();
            record.clone()
        };
        self.tasks.change(task, stop).ok_or(UpdateError::Unknown)
    }

    async fn lease(&self, task: TaskRef, leasing: Leasing) -> Result<(Task, Lease), LeaseError> {
        let lease = |record: &mut Task| {
            let lease = record.lease(leasing)?;
            Ok((record.clone(), lease))
        };
        self.tasks.change(task, lease).ok_or(LeaseError::Unknown)?
    }

    async fn renew(&self, leases: &[Lease], until: Timestamp) -> Result<Vec<Renewal>, Unavailable> {
        let renew = |lease: &Lease| {
            let renewal = self.tasks.change(lease.task, |record| record.renew(lease, until));
            renewal.unwrap_or(Renewal::Lost)
        };
        Ok(leases.iter().map(renew).collect())
    }

    async fn release(&self, lease: &Lease, release: Release) -> Result<(), UpdateError> {
        self.tasks.change(lease.task, |record| record.release(lease, release)).ok_or(UpdateError::Unknown)?
    }

    async fn finish(&self, task: TaskRef, at: Timestamp, ending: Ending) -> Result<(), UpdateError> {
        let first = self.tasks.finish(task, at, ending).ok_or(UpdateError::Unknown)?;
        if first {
            // Its log may be in another engine, and then no end of a log makes retention look at the task.
            lock(&self.ended).line.push_back((self.clock.now(), task.log()));
        }
        Ok(())
    }
}
