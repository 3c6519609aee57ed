//! The port `TaskStore`. Live tasks are in memory and ended ones on disk; inputs are fetched from disk where
//! they are not in memory.

use super::op::{Op, Submit, Taken};
use super::{Engine, Opened, key, seal, task_list};
use async_trait::async_trait;
use bytes::Bytes;
use tidewire_core::port::{
    Filter, LeaseError, Leasing, Release, Renewal, SubmitError, Submitted, TaskPage, TaskStore, Unavailable,
    UpdateError,
};
use tidewire_core::task::Lease;
use tidewire_core::{Ending, Task, TaskRef, Timestamp};

/// A larger input is written by its caller before the commit that makes its task: a commit waits for all that
/// it holds, and a hundred such inputs would make everybody wait.
const MAX_INPUT_IN_COMMIT_BYTES: usize = 64 * 1024;
/// What a change without data takes of the room for waiting ones.
const RECORD_BYTES: usize = 512;

#[async_trait]
impl TaskStore for Engine {
    async fn submit(&self, mut task: Task) -> Result<Submitted, SubmitError> {
        let at = task.at();
        let input = std::mem::take(&mut task.spec.input);
        let stored_input = seal::seal(&key::task(at), &[&input]);
        // Where there is no room for new work, only a task that is known can be answered for: nothing is stored.
        let input_is_stored = input.len() > MAX_INPUT_IN_COMMIT_BYTES && self.shared.room_for_work().is_ok();
        if input_is_stored {
            self.store_input(at, stored_input.clone()).await?;
        }
        let bytes = input.len() + RECORD_BYTES;
        let submit = Box::new(Submit { task, input: stored_input, input_is_stored });
        let taken = self.ask(bytes, |reply| Op::Submit(submit, reply)).await?;
        let fresh = taken.fresh;
        Ok(Submitted { task: self.with_input(taken).await?, fresh })
    }

    async fn get(&self, task: TaskRef) -> Result<Option<Task>, Unavailable> {
        if let Some(entry) = self.shared.live.get(task) {
            let taken = Taken { task: entry.task.clone(), input: entry.input.clone(), fresh: false };
            return self.with_input(taken).await.map(Some);
        }
        self.on_disk(move |shared| {
            let at = shared.store.snapshot();
            let Some(mut found) = shared.store.task(&at, task)? else { return Ok(None) };
            found.spec.input = shared.store.input(&at, task)?;
            Ok(Some(found))
        })
        .await
    }

    async fn list(&self, filter: &Filter) -> Result<TaskPage, Unavailable> {
        let filter = filter.clone();
        self.on_disk(move |shared| Ok(task_list::page(shared, &filter)?)).await
    }

    async fn request_stop(&self, task: TaskRef) -> Result<Task, UpdateError> {
        let taken = self.ask(0, |reply| Op::RequestStop(task, reply)).await?;
        Ok(self.with_input(taken).await?)
    }

    async fn lease(&self, task: TaskRef, leasing: Leasing) -> Result<(Task, Lease), LeaseError> {
        let (taken, lease) = self.ask(0, |reply| Op::Lease(task, leasing, reply)).await?;
        Ok((self.with_input(taken).await?, lease))
    }

    async fn renew(&self, leases: &[Lease], until: Timestamp) -> Result<Vec<Renewal>, Unavailable> {
        let leases = leases.to_vec();
        self.ask(0, |reply| Op::Renew(leases, until, reply)).await
    }

    async fn release(&self, lease: &Lease, release: Release) -> Result<(), UpdateError> {
        let lease = lease.clone();
        self.ask(0, |reply| Op::Release(lease, release, reply)).await
    }

    async fn finish(&self, task: TaskRef, at: Timestamp, ending: Ending) -> Result<(), UpdateError> {
        self.ask(0, |reply| Op::Finish(task, at, ending, reply)).await
    }
}

impl Engine {
    /// Puts a large input into the store. The journal is in order, so that the sync of the commit that makes
    /// its task makes it durable too.
    async fn store_input(&self, task: TaskRef, input: Bytes) -> Result<(), Unavailable> {
        self.shared.condition.health()?;
        self.on_disk(move |shared| {
            let inserted = shared.store.inputs.insert(key::task(task), input);
            inserted.map_err(|error| shared.condition.note_beside(&error, &shared.path))
        })
        .await
    }

    /// The record with its input.
    async fn with_input(&self, taken: Taken) -> Result<Task, Unavailable> {
        let Taken { mut task, input, .. } = taken;
        task.spec.input = if let Some(input) = input {
            input
        } else {
            let at = task.at();
            let read = move |shared: &Opened| shared.store.input(&shared.store.snapshot(), at);
            self.on_disk(move |shared| read(shared).map_err(Unavailable::from)).await?
        };
        Ok(task)
    }
}
