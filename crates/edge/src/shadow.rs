//! Shadow traffic: a share of a route's requests is run once more on another route, after the first answer is whole. What comes
//! of it is kept for comparison, by operators alone; whoever asked neither sees it nor pays for it.

use crate::Edge;
use crate::quote::Admitted;
use crate::refusal::Refusal;
use crate::stop::request_stop;
use crate::submit::{hold, take_held};
use memchr::memmem;
use std::sync::{Arc, Mutex, PoisonError};
use tidewire_core::payer::Payer;
use tidewire_core::port::Measurement;
use tidewire_core::task::{Origin, Priority, Turn};
use tidewire_core::{OnDisconnect, State, Task, TaskRef};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Shadows under way at once, those that wait for their first answer included: a few of each busy route, and a few MiB of
/// requests. What comes beyond is dropped.
const MAX_SHADOWS: usize = 64;

/// Requests that are to be run once more.
pub struct Shadows {
    room: Arc<Semaphore>,
    offers: mpsc::Sender<Offer>,
    taken: Mutex<Option<mpsc::Receiver<Offer>>>,
}

struct Offer {
    first: Task,
    onto: Arc<str>,
    _place: OwnedSemaphorePermit,
}

impl Default for Shadows {
    fn default() -> Self {
        let (offers, taken) = mpsc::channel(MAX_SHADOWS);
        Self { room: Arc::new(Semaphore::new(MAX_SHADOWS)), offers, taken: Mutex::new(Some(taken)) }
    }
}

/// How one ended, for the metric.
#[derive(Clone, Copy)]
enum Outcome {
    Done,
    Failed,
    Dropped,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// A task was taken: where its route has a shadow and it is one of the share, it is run once more later. Never waits.
pub(crate) fn offer(edge: &Edge, task: &Task) {
    let plan = edge.catalog.plan();
    let Some(route) = plan.route(&task.spec.capability) else { return };
    let Some(shadow) = route.shadow.as_ref().filter(|shadow| shadow.takes(task.id)) else { return };
    // Vectors of two models are not to be compared.
    if memmem::find(&task.spec.input, b"\"messages\"").is_none() {
        return;
    }
    let onto = shadow.route.clone();
    let place = edge.shadows.room.clone().try_acquire_owned();
    let offered = place.is_ok_and(|place| {
        let offer = Offer { first: task.clone(), onto, _place: place };
        edge.shadows.offers.try_send(offer).is_ok()
    });
    if !offered {
        count(edge, &route.name, Outcome::Dropped);
    }
}

/// Runs what is offered, until the server ends.
pub async fn run(edge: Arc<Edge>) {
    let taken = edge.shadows.taken.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut taken) = taken else { return };
    loop {
        let offer = tokio::select! {
            () = edge.draining.cancelled() => return,
            offer = taken.recv() => offer,
        };
        let Some(offer) = offer else { return };
        let edge = edge.clone();
        edge.tracker.clone().spawn(async move {
            tokio::select! {
                () = edge.draining.cancelled() => {}
                () = see_to(&edge, &offer) => {}
            }
        });
    }
}

async fn see_to(edge: &Edge, offer: &Offer) {
    let outcome = match shadow(edge, offer).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) => return,
        Err(refusal) => {
            tracing::debug!(task = %offer.first.id, error = %refusal.0.message, "no shadow");
            Outcome::Dropped
        }
    };
    count(edge, &offer.first.spec.capability, outcome);
}

fn count(edge: &Edge, route: &str, outcome: Outcome) {
    edge.meter.record(Measurement::Shadow(route, outcome.name()));
}

/// Waits for the first answer, runs the request once more, and waits for that one's end. Nothing where there is no first
/// answer to compare with.
async fn shadow(edge: &Edge, Offer { first, onto, .. }: &Offer) -> Result<Option<Outcome>, Refusal> {
    if ended(edge, first.at()).await? != State::Done {
        return Ok(None);
    }
    let now = edge.clock.now();
    let spec = tidewire_core::Spec {
        model: onto.to_string(),
        capability: onto.clone(),
        on_disconnect: OnDisconnect::Continue,
        deadline: now.plus(first.spec.deadline.since(first.spec.turn.start_at.unwrap_or(first.submitted_at))),
        max_attempts: 1,
        metadata: None,
        // Whoever asked in a trace does not see it there either.
        trace: None,
        public: false,
        turn: Turn {
            priority: Priority::Bulk,
            tokens: first.spec.turn.tokens,
            steers: first.spec.turn.steers,
            ..Turn::default()
        },
        origin: Origin { shadow_of: Some(first.id), ..Origin::default() },
        // A user's own usage shows nothing of it.
        payer: Payer { user: None, ..first.spec.payer.clone() },
        ..first.spec.clone()
    };
    let task = Task::new(edge.clock.task_id(first.id.durability()), first.tenant, spec, now);
    let max_tokens = crate::admission::Chat::read(&task.spec.input).ok().and_then(|chat| chat.answer_tokens());
    // Nobody's limits but the route's own.
    let mut admitted = Admitted::new(edge, task, Arc::new([]), max_tokens, 0);
    let seat = hold(edge, &admitted.task)?;
    let reserved = admitted.reserve(edge).await?;
    let accepted = take_held(edge, seat, reserved, admitted.task).await?;
    if accepted.standing.is_some_and(|standing| standing.place.0 > 0) {
        request_stop(edge, accepted.at()).await?;
        return Ok(Some(Outcome::Dropped));
    }
    let done = ended(edge, accepted.at()).await? == State::Done;
    Ok(Some(if done { Outcome::Done } else { Outcome::Failed }))
}

/// How a task ended, once it has.
async fn ended(edge: &Edge, at: TaskRef) -> Result<State, Refusal> {
    edge.log.watch(at.log()).await?.over().await;
    let task = edge.tasks.get(at).await?.ok_or_else(|| Refusal::unknown_task(&at.task.to_string()))?;
    Ok(task.state)
}
