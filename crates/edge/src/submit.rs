//! Takes a task: admits it, commits it, puts it in line, and only then acknowledges it.

use crate::Edge;
use crate::admission::{Chat, admit, admit_chat, announce, entered, refused};
use crate::allowance;
use crate::identity::Caller;
use crate::lane;
use crate::public;
use crate::quote::{Admitted, Hold};
use crate::refusal::Refusal;
use crate::shadow;
use bytes::Bytes;
use tidewire_core::port::{Filter, Left, Measurement, Signal, SubmitError, Submitted};
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
    /// What is left of the limits of whoever pays for it.
    pub(crate) left: Left,
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
            limits: allowance::body(&self.left),
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
    let admitted = admit(edge, caller, submission).await?;
    let accepted = take(edge, admitted).await?;
    // What is logged of the request from now on names its task.
    tracing::Span::current().record("task", tracing::field::display(accepted.task.id));
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
    let admitted = admit_chat(edge, caller, submission, input, chat).await?;
    let accepted = take(edge, admitted).await?;
    // What is logged of the request from now on names its task.
    tracing::Span::current().record("task", tracing::field::display(accepted.task.id));
    edge.meter.record(Measurement::Ack(edge.clock.monotonic().saturating_sub(began)));
    Ok(accepted)
}

/// Takes an admitted task: holds room for it in line and in the ledger, commits it, and puts it in line.
pub(crate) async fn take(edge: &Edge, mut admitted: Admitted) -> Result<Accepted, Refusal> {
    // Before room is asked for: whoever repeats itself is told of the task that there is, however full it has become.
    if let Some(known) = known(edge, &admitted.task).await? {
        return Ok(known);
    }
    announce(edge, &mut admitted.task);
    let task = admitted.task.clone();
    // Apart: a task is large, and would lie in its caller's state once for each step that it takes.
    let taken = Box::pin(async {
        let seat = hold(edge, &admitted.task)?;
        let reserved = admitted.reserve(edge).await?;
        take_held(edge, seat, reserved, admitted.task).await
    });
    let taken = taken.await;
    match &taken {
        Ok(accepted) if !accepted.known => {
            entered(edge, &accepted.task);
            shadow::offer(edge, &accepted.task);
        }
        Ok(_) | Err(_) => refused(edge, &task),
    }
    taken
}

/// The task that has this one's idempotency key already. Of two that come at once the commit finds the second.
async fn known(edge: &Edge, task: &Task) -> Result<Option<Accepted>, Refusal> {
    let Some(idempotency) = &task.idempotency else { return Ok(None) };
    let (tenant, key) = (Some(task.tenant), Some(idempotency.key.clone()));
    // Keys of durable and of transient tasks are apart, as the tasks are.
    let page = edge.tasks.list(&Filter { tenant, key, limit: 2, ..Filter::default() }).await?;
    let found = page.tasks.into_iter().find(|known| known.id.durability() == task.id.durability());
    let Some(known) = found else { return Ok(None) };
    if known.idempotency.as_ref().is_some_and(|known| known.body_hash != idempotency.body_hash) {
        return Err(SubmitError::KeyConflict { task: known.id }.into());
    }
    again(edge, known).await.map(Some)
}

/// A task that was taken before.
pub(crate) async fn again(edge: &Edge, task: Task) -> Result<Accepted, Refusal> {
    let epoch = edge.log.create(task.at().log()).await?;
    let standing = edge.queue.standing(task.at());
    Ok(Accepted { task, epoch, standing, known: true, left: Left::default() })
}

/// Holds room for an admitted task.
pub(crate) fn hold(edge: &Edge, task: &Task) -> Result<Seat, Refusal> {
    Ok(edge.queue.reserve(task).inspect_err(|_| edge.meter.record(Measurement::QueueFull))?)
}

/// Takes a task that room is held for.
pub(crate) async fn take_held(edge: &Edge, seat: Seat, reserved: Hold, mut task: Task) -> Result<Accepted, Refusal> {
    if task.spec.public {
        // First: a task that is acknowledged is public from then on. If it never comes to be, this names nothing.
        public::publish(edge, task.at()).await?;
    }
    let ahead = lane::ahead(edge, &mut task);
    let (submitted, left) = commit(edge, reserved, task).await?;
    let task = submitted.task;
    // An engine that keeps tasks and logs made the log in the task's own commit, and answers at once; where they are
    // apart, a task without a log gets one from its worker.
    let epoch = edge.log.create(task.at().log()).await?;
    if submitted.fresh {
        edge.queue.enter(seat, &task).await?;
        lane::make_way(edge, &task, ahead).await;
        if task.spec.turn.lane.is_some() {
            edge.bus.publish(Signal::Lane(task.tenant));
        }
    }
    let standing = edge.queue.standing(task.at());
    Ok(Accepted { task, epoch, standing, known: !submitted.fresh, left })
}

/// Commits the task, and with it what is reserved for it.
async fn commit(edge: &Edge, reserved: Hold, task: Task) -> Result<(Submitted, Left), Refusal> {
    match edge.tasks.submit(task).await {
        Ok(submitted) if submitted.fresh => Ok((submitted, reserved.keep())),
        Ok(submitted) => Ok((submitted, reserved.give_back().await)),
        Err(error) => {
            // After a failed commit it can be in the store all the same; dropped, the reservation waits and looks.
            if !matches!(error, SubmitError::Unavailable(_)) {
                reserved.give_back().await;
            }
            Err(error.into())
        }
    }
}
