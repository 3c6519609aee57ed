//! Takes a task: admits it, commits it, puts it in line, and only then acknowledges it.

use crate::Edge;
use crate::admission::admit;
use crate::refusal::Refusal;
use tidewire_core::port::{Measurement, Submitted};
use tidewire_core::queue::Place;
use tidewire_core::{Epoch, Task, TaskRef, TenantId};
use tidewire_proto::Submission;
use tidewire_proto::http::Ack;

/// A committed task.
pub(crate) struct Accepted {
    pub(crate) task: Task,
    pub(crate) epoch: Epoch,
    pub(crate) place: Option<Place>,
    /// The idempotency key was known.
    pub(crate) known: bool,
}

impl Accepted {
    pub(crate) fn at(&self) -> TaskRef {
        self.task.at()
    }

    pub(crate) fn ack(&self) -> Ack {
        let id = self.task.id.to_string();
        Ack {
            log: id.clone(),
            task: id,
            epoch: self.epoch.0,
            state: self.task.state.name().to_owned(),
            place: self.place.map(|place| place.0),
            known: self.known,
        }
    }
}

/// Takes a task.
pub(crate) async fn submit(edge: &Edge, tenant: TenantId, submission: Submission) -> Result<Accepted, Refusal> {
    let began = edge.clock.monotonic();
    if edge.draining.is_cancelled() {
        return Err(Refusal::shutting_down());
    }
    let task = admit(edge, tenant, submission)?;
    let seat = edge.queue.reserve(tenant).inspect_err(|_| edge.meter.record(Measurement::QueueFull))?;
    let (submitted, epoch) = commit(edge, task).await?;
    let task = submitted.task;
    let place = if submitted.fresh {
        Some(edge.queue.enter(seat, task.at(), &task.spec.capability).await?)
    } else {
        edge.queue.place(task.at())
    };
    edge.meter.record(Measurement::Ack(edge.clock.monotonic().saturating_sub(began)));
    Ok(Accepted { task, epoch, place, known: !submitted.fresh })
}

/// Commits the task, and makes sure of its log. An engine that keeps both made the log in the task's own commit,
/// and answers at once; where they are apart, a task without a log gets one from its worker.
async fn commit(edge: &Edge, task: Task) -> Result<(Submitted, Epoch), Refusal> {
    let submitted = edge.tasks.submit(task).await?;
    let epoch = edge.log.create(submitted.task.at().log()).await?;
    Ok((submitted, epoch))
}
