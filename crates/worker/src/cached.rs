//! An answer that need not be made: one that is kept, or one that is on its way for another task. And an old one, where a
//! new one can't be had.

use crate::choice::Choice;
use crate::draft::{Barred, Draft};
use crate::ends::failure;
use crate::failover::{Delivered, Trip};
use crate::keeper::Leash;
use crate::pump::{Call, Finish, Pumped, Said, Speaker, Speech, pump};
use crate::purse::Purse;
use crate::semantic::{Asked, Near};
use crate::share::{Boarded, Errand};
use crate::subject;
use bytes::Bytes;
use futures_util::stream;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::cache::{Answer, Freshness, Policy, Replay, Source, Told, Use, told_task};
use tidewire_core::port::{Begins, Chunk, Clock, Measurement};
use tidewire_core::trace::{Part, SpanId};
use tidewire_core::{Timestamp, Usage};

/// The longest pause of a paced replay: a model that thought for a minute need not think again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Gives the task the answer that it may have.
pub(crate) async fn deliver(
    trip: &Trip<'_>,
    (of, policy): (&Use, Arc<Policy>),
    draft: &mut Draft,
    leash: &mut Leash,
    (input, purse): (&Bytes, &mut Purse<'_>),
    choice: Choice,
) -> Result<Delivered, Barred> {
    let (worker, task) = (trip.worker, trip.task);
    if of.read
        && let Some((made_at, answer)) = kept(trip, of).await
    {
        let state = match policy.freshness(made_at, worker.clock.now()) {
            Freshness::Fresh => Some(Source::Hit),
            Freshness::Stale => Some(Source::Stale),
            Freshness::LastResort | Freshness::Gone => None,
        };
        if let Some(state) = state {
            if state == Source::Stale {
                worker.shares.refresh(worker, task, of.key);
            }
            let told = told(trip, &answer, made_at, state, None);
            return replay(trip, draft, leash, purse, (answer, told, policy.replay)).await;
        }
    }
    let mut asked = Asked::of(task, of, &policy);
    // What is on its way is its own answer: better than another one's.
    if of.read
        && let Some(asked) = &mut asked
        && !worker.shares.is_on_its_way(of.key, worker)
    {
        let near = tokio::select! {
            biased;
            order = leash.called() => return Ok(Delivered::unasked(Finish::Called(order))),
            near = asked.look(worker, task, &policy) => near,
        };
        if let Some(Near { made_at, answer, why }) = near {
            let told = Told { semantic: Some(why), ..told(trip, &answer, made_at, Source::Hit, None) };
            return replay(trip, draft, leash, purse, (answer, told, policy.replay)).await;
        }
    }
    if of.only {
        let message = "no answer to this request is kept, and `only-if-cached` asks for no other";
        return Ok(Delivered::unasked(Finish::Refused(failure("not_cached", message))));
    }
    let shared = draft.is_blank() && (of.join || of.keep);
    let delivered = if shared {
        trip.ride(draft, leash, (input, purse), (of, &policy, asked), choice).await?
    } else {
        measure(trip, Source::Miss);
        trip.alone(draft, leash, (input, purse), choice).await?
    };
    rescue(trip, (of, &policy), draft, leash, purse, delivered).await
}

/// Counts where an answer came from.
pub(crate) fn measure(trip: &Trip<'_>, source: Source) {
    trip.worker.meter.record(Measurement::Answered(subject::of(trip.task), source));
}

/// What is kept of the answer, and when it was made.
async fn kept(trip: &Trip<'_>, of: &Use) -> Option<(Timestamp, Answer)> {
    let worker = trip.worker;
    match worker.answers.kept.get(of.key, worker.clock.now()).await {
        Ok(Some(kept)) => Some((kept.made_at, Answer::from_bytes(kept.answer)?)),
        Ok(None) => None,
        Err(error) => {
            tracing::warn!(%error, "the kept answers can't be read; new ones are asked for");
            None
        }
    }
}

fn told(trip: &Trip<'_>, answer: &Answer, made_at: Timestamp, state: Source, reason: Option<&str>) -> Told {
    let age = trip.worker.clock.now().since(made_at);
    Told {
        state,
        age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        task: told_task(answer.task, answer.tenant, trip.task.tenant),
        reason: reason.map(str::to_owned),
        made: None,
        semantic: None,
    }
}

/// Gives an old answer in the place of a failure that passes, where the route allows it and nothing else stands.
async fn rescue(
    trip: &Trip<'_>,
    (of, policy): (&Use, &Policy),
    draft: &mut Draft,
    leash: &mut Leash,
    purse: &mut Purse<'_>,
    delivered: Delivered,
) -> Result<Delivered, Barred> {
    let reason = match &delivered.pumped.finish {
        Finish::Failed(error) if error.fault.is_passing() => error.fault.code().to_owned(),
        Finish::Refused(failure) if failure.code == "route_unavailable" => failure.code.clone(),
        _ => return Ok(delivered),
    };
    if !of.read || policy.stale_if_error.is_zero() || delivered.pumped.spoke || !draft.is_blank() {
        return Ok(delivered);
    }
    let Some((made_at, answer)) = kept(trip, of).await else { return Ok(delivered) };
    if trip.worker.clock.now().since(made_at) >= policy.ttl + policy.stale_if_error {
        return Ok(delivered);
    }
    tracing::info!(task = %trip.task.id, reason, "no new answer can be had; the last good one is given");
    if let Some(deployment) = &delivered.deployment {
        trip.note(draft, deployment, delivered.pumped).await?;
    }
    let told = told(trip, &answer, made_at, Source::Stale, Some(&reason));
    replay(trip, draft, leash, purse, (answer, told, policy.replay)).await
}

/// Writes a kept answer into the task's log. It costs nothing; what it saves is what making it cost.
async fn replay(
    trip: &Trip<'_>,
    draft: &mut Draft,
    leash: &mut Leash,
    purse: &mut Purse<'_>,
    (answer, told, pace): (Answer, Told, Replay),
) -> Result<Delivered, Barred> {
    measure(trip, told.state);
    purse.close();
    let (deployment, made) = (answer.deployment.clone(), answer.usage);
    let opening = trip.opening((&answer.deployment, &answer.model), Some(&told));
    let clock = (pace == Replay::Paced).then(|| trip.worker.clock.clone());
    let call = Call { said: speech(answer, clock), by: Speaker::Kept, purse };
    let pumped = pump(trip.worker, trip.task, draft, leash, opening, call).await?;
    let made = matches!(pumped.finish, Finish::Whole(_)).then_some(made);
    let saved = made.map(|made| made.cost).unwrap_or_default();
    let pumped = Pumped { usage: Usage { saved, ..Usage::default() }, ..pumped };
    Ok(Delivered { pumped, deployment: Some(deployment), told: Some(Told { made, ..told }) })
}

/// An answer as it is said again; with a clock, at the pace at which it came.
fn speech(answer: Answer, clock: Option<Arc<dyn Clock>>) -> Speech<'static> {
    let begun = (Duration::ZERO, Said::Begun(Begins::Afresh, Vec::new()));
    let pieces = answer.pieces.into_iter().map(|piece| (piece.gap, Said::Chunk(piece.chunk)));
    let end = (Duration::ZERO, Said::Chunk(Chunk::Finish(answer.finish)));
    let all: Vec<_> = std::iter::once(begun).chain(pieces).chain([end]).collect();
    Box::pin(stream::unfold((all.into_iter(), clock), |(mut left, clock)| async move {
        let (gap, said) = left.next()?;
        if let Some(clock) = clock.as_ref().filter(|_| !gap.is_zero()) {
            clock.sleep(gap.min(LONGEST_PAUSE)).await;
        }
        Some((Ok(said), (left, clock)))
    }))
}

impl Trip<'_> {
    /// Rides on the answer that is on its way, or on one that begins with this task.
    pub(crate) async fn ride(
        &self,
        draft: &mut Draft,
        leash: &mut Leash,
        (input, purse): (&Bytes, &mut Purse<'_>),
        (of, policy, asked): (&Use, &Arc<Policy>, Option<Asked>),
        choice: Choice,
    ) -> Result<Delivered, Barred> {
        let (worker, task) = (self.worker, self.task);
        let errand = Errand {
            worker: worker.clone(),
            input: input.clone(),
            input_tokens: purse.input_tokens(),
            operation: subject::of(task).operation,
            task: task.clone(),
            asked,
            // The span of this attempt, whose `started` event goes to the tail.
            trace: task.spec.trace.as_ref().map(|trace| trace.header(SpanId::of(task.id, Part::Attempt, draft.tail))),
        };
        let mut seat = worker.shares.board(choice, task, (of, policy), errand);
        let told = seat.told(task);
        measure(self, told.as_ref().map_or(Source::Miss, |told| told.state));
        let mut last = None;
        loop {
            let boarded = tokio::select! {
                biased;
                order = leash.called() => Err(Finish::Called(order)),
                boarded = seat.boarded() => boarded,
                () = worker.clock.sleep(task.spec.deadline.since(worker.clock.now())) => Err(Finish::TooLate),
            };
            let Boarded { deployment, model } = match boarded {
                Ok(boarded) => boarded,
                Err(finish) => {
                    let mut pumped = Pumped::unasked(finish);
                    pumped.usage = seat.bill(&pumped, purse.input_tokens());
                    return Ok(Delivered { pumped, deployment: last, told });
                }
            };
            let mut pumped = match purse.cover(draft.used_before).await {
                Ok(()) => {
                    let opening = self.opening((&deployment, &model), told.as_ref());
                    let call = Call { said: seat.speech(), by: Speaker::Shared, purse };
                    pump(worker, task, draft, leash, opening, call).await?
                }
                Err(refused) => Pumped::unasked(Finish::Refused(refused)),
            };
            let made = pumped.usage;
            pumped.usage = seat.bill(&pumped, purse.input_tokens());
            if !matches!(pumped.finish, Finish::Failed(_)) || !seat.goes_on() {
                // Whoever pays for it has it in the usage.
                let unpaid = pumped.usage == Usage { saved: pumped.usage.saved, ..Usage::default() };
                let made = (unpaid && matches!(pumped.finish, Finish::Whole(_))).then_some(made);
                let told = told.map(|told| Told { made, ..told });
                return Ok(Delivered { pumped, deployment: Some(deployment), told });
            }
            self.note(draft, &deployment, pumped).await?;
            seat.change();
            last = Some(deployment);
        }
    }
}
