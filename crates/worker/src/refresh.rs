//! A kept answer that has become old is made anew by a task of its own, as visible and as charged as any other.

use crate::Worker;
use std::time::Duration;
use tidewire_core::cache::Use;
use tidewire_core::port::Reservation;
use tidewire_core::task::{Origin, Priority, Turn};
use tidewire_core::{Durability, OnDisconnect, Spec, Task, TaskRef};

/// Nobody waits for it; after this, the next reader of the old answer asks again.
const DEADLINE: Duration = Duration::from_mins(10);

/// Says in its list what the task is for.
const METADATA: &str = r#"{"tidewire":"refresh"}"#;

/// The task that makes the answer anew that `reader` was given an old copy of. It reads no cache, and keeps what it gets.
pub(crate) fn task(worker: &Worker, reader: &Task, of: &Use) -> Task {
    let now = worker.clock.now();
    let Turn { tokens, needs, .. } = reader.spec.turn.clone();
    let spec = Spec {
        on_disconnect: OnDisconnect::Continue,
        deadline: now.plus(DEADLINE),
        // The next reader is its second attempt.
        max_attempts: 1,
        metadata: Some(METADATA.to_owned()),
        turn: Turn { priority: Priority::Bulk, tokens, needs, ..Turn::default() },
        origin: Origin::default(),
        cache: Some(Box::new(Use { read: false, only: false, rides: false, keep: true, join: true, ..of.clone() })),
        ..reader.spec.clone()
    };
    // Nobody reads its log.
    Task::new(worker.clock.task_id(Durability::Transient), reader.tenant, spec, now)
}

/// Takes it as the edge takes a task: room in line, a reservation with whoever pays for its reader, its commit, its place.
pub(crate) async fn submit(worker: &Worker, task: Task) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (at, spec) = (task.at(), &task.spec);
    let seat = worker.queue.reserve(&task)?;
    let reservation = Reservation {
        task: at,
        at: task.submitted_at,
        payer: spec.payer.clone(),
        route: spec.model.as_str().into(),
        amounts: spec.reserved,
        accounts: spec.cache.as_ref().map(|of| of.accounts.as_slice()).unwrap_or_default().into(),
    };
    worker.ledger.reserve(reservation).await?;
    let submitted = match worker.tasks.submit(task).await {
        Ok(submitted) => submitted.task,
        Err(error) => {
            give_back(worker, at).await;
            return Err(error.into());
        }
    };
    worker.log.create(at.log()).await?;
    worker.queue.enter(seat, &submitted).await?;
    Ok(())
}

async fn give_back(worker: &Worker, task: TaskRef) {
    if let Err(error) = worker.ledger.give_back(task).await {
        tracing::warn!(task = %task.task, %error, "a reservation could not be given back; the engine's next start does it");
    }
}
