//! Takes a task: admits it, commits it, puts it in line, and only then acknowledges it.

use crate::Edge;
use crate::admission::{Chat, admit, admit_chat};
use crate::identity::Caller;
use crate::lane;
use crate::refusal::Refusal;
use bytes::Bytes;
use tidewire_core::port::{Measurement, Submitted};
use tidewire_core::queue::{Seat, Standing};
use tidewire_core::{Epoch, Task, TaskRef};
use tidewire_proto::Submission;
use tidewire_proto::http::Ack;

/// A committed task.
pub(crate) struct Accepted {
    pub(crate) task: Task,
    pub(crate) epoch: Epoch,
    pub(crate) standing: Option<Standing>,
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
            place: self.standing.map(|standing| standing.place.0),
            wait_ms: self.standing.and_then(|standing| wait_ms(&standing)),
            known: self.known,
        }
    }
}

/// How long a wait is, as the wire shows it.
pub(crate) fn wait_ms(standing: &Standing) -> Option<u64> {
    standing.wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
}

/// Takes a task that a client asks for.
pub(crate) async fn submit(edge: &Edge, caller: &Caller, submission: Submission) -> Result<Accepted, Refusal> {
    let began = edge.clock.monotonic();
    if edge.draining.is_cancelled() {
        return Err(Refusal::shutting_down());
    }
    let task = admit(edge, caller, submission).await?;
    let accepted = take(edge, task).await?;
    edge.meter.record(Measurement::Ack(edge.clock.monotonic().saturating_sub(began)));
    Ok(accepted)
}

/// Takes a task for a chat request that was read already.
pub(crate) async fn submit_chat(
    edge: &Edge,
    caller: &Caller,
    submission: Submission,
    input: Bytes,
    chat: &Chat<'_>,
) -> Result<Accepted, Refusal> {
    let began = edge.clock.monotonic();
    if edge.draining.is_cancelled() {
        return Err(Refusal::shutting_down());
    }
    let task = admit_chat(edge, caller, submission, input, chat).await?;
    let accepted = take(edge, task).await?;
    edge.meter.record(Measurement::Ack(edge.clock.monotonic().saturating_sub(began)));
    Ok(accepted)
}

/// Takes an admitted task: holds room for it, commits it, and puts it in line.
pub(crate) async fn take(edge: &Edge, task: Task) -> Result<Accepted, Refusal> {
    let seat = hold(edge, &task)?;
    take_held(edge, seat, task).await
}

/// Holds room for an admitted task.
pub(crate) fn hold(edge: &Edge, task: &Task) -> Result<Seat, Refusal> {
    Ok(edge.queue.reserve(task).inspect_err(|_| edge.meter.record(Measurement::QueueFull))?)
}

/// Takes a task that room is held for.
pub(crate) async fn take_held(edge: &Edge, seat: Seat, mut task: Task) -> Result<Accepted, Refusal> {
    let ahead = lane::ahead(edge, &mut task);
    let (submitted, epoch) = commit(edge, task).await?;
    let task = submitted.task;
    if submitted.fresh {
        edge.queue.enter(seat, &task).await?;
        lane::make_way(edge, &task, ahead).await;
    }
    let standing = edge.queue.standing(task.at());
    Ok(Accepted { task, epoch, standing, known: !submitted.fresh })
}

/// Commits the task, and makes sure of its log. An engine that keeps both made the log in the task's own commit,
/// and answers at once; where they are apart, a task without a log gets one from its worker.
async fn commit(edge: &Edge, task: Task) -> Result<(Submitted, Epoch), Refusal> {
    let submitted = edge.tasks.submit(task).await?;
    let epoch = edge.log.create(submitted.task.at().log()).await?;
    Ok((submitted, epoch))
}
