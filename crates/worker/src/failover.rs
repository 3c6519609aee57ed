//! One attempt: chooses a deployment, runs the request there, and where that fails goes on at once to one that was not
//! tried yet.

use crate::Worker;
use crate::cached;
use crate::choice::{Choice, taken_away, wants_json};
use crate::draft::{Barred, Draft, RetryNote, StartNote, json};
use crate::ends::no_route;
use crate::guarded::guarded;
use crate::hedged::{Race, Raced, Terms};
use crate::keeper::{Leash, Order};
use crate::pump::{Call, Finish, Pumped, Speaker, pump};
use crate::purse::Purse;
use crate::subject;
use bytes::Bytes;
use std::sync::Arc;
use tidewire_core::cache::Told;
use tidewire_core::port::{Measurement, Operation};
use tidewire_core::route::{Flight, Verdict};
use tidewire_core::task::Lease;
use tidewire_core::trace::{Part, SpanId};
use tidewire_core::{Entry, Kind, Task};

/// What an attempt came to.
pub(crate) struct Delivered {
    pub(crate) pumped: Pumped,
    /// The last deployment that had it, if any did.
    pub(crate) deployment: Option<Arc<str>>,
    /// Where the answer came from, where it was not made for this task.
    pub(crate) told: Option<Told>,
}

impl Delivered {
    /// What ended before any deployment was asked.
    pub(crate) fn unasked(finish: Finish) -> Self {
        Self { pumped: Pumped::unasked(finish), deployment: None, told: None }
    }
}

/// What an attempt knows of itself.
pub(crate) struct Trip<'a> {
    pub(crate) worker: &'a Arc<Worker>,
    pub(crate) task: &'a Task,
    lease: &'a Lease,
}

/// Gives the task an answer: one that is kept or on its way, where its route shares them; else one of its own.
pub(crate) async fn deliver(
    worker: &Arc<Worker>,
    task: &Task,
    lease: &Lease,
    draft: &mut Draft,
    leash: &mut Leash,
    (input, mut purse): (Bytes, Purse<'_>),
) -> Result<Delivered, Barred> {
    let plan = worker.catalog.plan();
    let Some(route) = plan.route(&task.spec.capability).cloned() else {
        return Ok(Delivered::unasked(Finish::Refused(no_route())));
    };
    let trip = Trip { worker, task, lease };
    let shared = task.spec.cache.as_deref().zip(route.cache.clone());
    let choice = Choice::new(worker, task, plan, route);
    match shared {
        Some(shared) => cached::deliver(&trip, shared, draft, leash, (&input, &mut purse), choice).await,
        None => trip.alone(draft, leash, (&input, &mut purse), choice).await,
    }
}

impl Trip<'_> {
    /// Runs the request on one deployment after another, until one gives a whole answer or none is left to try.
    pub(crate) async fn alone(
        &self,
        draft: &mut Draft,
        leash: &mut Leash,
        (input, purse): (&Bytes, &mut Purse<'_>),
        mut choice: Choice,
    ) -> Result<Delivered, Barred> {
        let first = tokio::select! {
            biased;
            order = leash.called() => Err(Finish::Called(order)),
            first = choice.first(Some(self.task.spec.deadline)) => first,
        };
        let mut flight = match first {
            Ok(flight) => flight,
            Err(finish) => return Ok(Delivered::unasked(finish)),
        };
        loop {
            let deployment = flight.deployment.name.clone();
            choice.asks(&deployment);
            leash.asks(&deployment);
            let mut pumped = self.run(draft, leash, (input, purse), &mut choice, flight).await?;
            let deployment = pumped.by.clone().unwrap_or(deployment);
            let next = match &mut pumped.finish {
                Finish::Failed(error) => choice.next(error),
                _ => None,
            };
            let Some(next) = next else {
                return Ok(Delivered { pumped, deployment: Some(deployment), told: None });
            };
            self.note(draft, &deployment, pumped).await?;
            flight = next;
        }
    }

    /// Runs the request at one deployment, and tells the fleet how that went.
    async fn run(
        &self,
        draft: &mut Draft,
        leash: &mut Leash,
        (input, purse): (&Bytes, &mut Purse<'_>),
        choice: &mut Choice,
        flight: Flight,
    ) -> Result<Pumped, Barred> {
        let (worker, task) = (self.worker, self.task);
        let deployment = flight.deployment.clone();
        let Some(backend) = worker.backends.get(&deployment.name) else {
            return Ok(Pumped::unasked(Finish::Failed(taken_away())));
        };
        if let Err(refused) = purse.cover(draft.used_before).await {
            return Ok(Pumped::unasked(Finish::Refused(refused)));
        }
        let backend = guarded(worker, task, &choice.plan, backend);
        // Only plain text goes on in the middle; a tool call, a train of thought or JSON starts over.
        let continues = !draft.text.is_empty() && !draft.has_more_than_text && !wants_json(input);
        let committed = if continues { draft.text.clone() } else { String::new() };
        // One that continues what a reader has stays where it is.
        let is_chat = subject::of(task).operation == Operation::Chat;
        let hedge = choice.route.hedge.filter(|_| committed.is_empty() && is_chat);
        // The span of this attempt, whose `started` event goes to the tail.
        let span = SpanId::of(task.id, Part::Attempt, draft.tail);
        let trace = task.spec.trace.as_ref().map(|trace| trace.header(span));
        let request = choice.request(&flight, input, committed, trace.clone());
        let opening = self.opening((&deployment.name, &request.model), None);
        let (asked, attempt) = (&*choice, self.lease.attempt);
        let choose = || asked.second(task, input, trace.clone());
        let (input_tokens, reading) = (purse.input_tokens(), purse.reading());
        let route = &asked.route;
        let terms = Terms { worker, task, route, attempt, input, input_tokens, reading, hedge, choose: &choose };
        let race = Race::new(terms, flight, backend);
        let call = Call { said: Box::pin(race.speak(request)), by: Speaker::Deployment(&race), purse };
        let mut pumped = pump(worker, task, draft, leash, opening, call).await?;
        let verdict = verdict(&pumped.finish);
        let Raced { deployment, extra, second } = race.over(verdict, &pumped.usage, pumped.per_token);
        asked.learn(input, &pumped.finish, &pumped.usage);
        pumped.usage.cost = deployment.cost(&pumped.usage);
        pumped.usage = pumped.usage.plus(extra);
        pumped.by = Some(deployment.name.clone());
        if let Some(second) = second {
            choice.asks(&second);
        }
        Ok(pumped)
    }

    /// The event with which a run begins.
    pub(crate) fn opening(&self, (deployment, model): (&str, &str), cache: Option<&Told>) -> Vec<Entry> {
        let attempt = self.lease.attempt;
        let note = StartNote { attempt, worker: &self.worker.name.0, deployment, model, hedge: None, cache };
        vec![Entry::new(self.worker.clock.now(), Kind::Started, json(&note))]
    }

    /// Writes that a deployment failed and the next one follows at once, and reads back what stands.
    pub(crate) async fn note(&self, draft: &mut Draft, deployment: &Arc<str>, pumped: Pumped) -> Result<(), Barred> {
        let Finish::Failed(error) = pumped.finish else { return Ok(()) };
        let code = error.fault.code().to_owned();
        tracing::info!(task = %self.task.id, %deployment, code, "the deployment failed; the next one follows");
        let note = RetryNote {
            attempt: self.lease.attempt,
            deployment: Some(deployment.to_string()),
            code,
            message: error.message,
            after_ms: 0,
            usage: pumped.usage,
        };
        let mut rest = pumped.rest;
        rest.push(Entry::new(self.worker.clock.now(), Kind::Retry, json(&note)));
        let appended = self.worker.log.append(draft.append(rest)).await?;
        draft.advance(appended);
        self.worker.meter.record(Measurement::Retry);
        draft.replay(self.worker).await
    }
}

/// What the end of a run says of its deployment.
pub(crate) fn verdict(finish: &Finish) -> Verdict<'_> {
    match finish {
        Finish::Whole(_) => Verdict::Whole,
        // A guardrail of ours says nothing about the deployment.
        Finish::Failed(error) if error.fault.is_ours() => Verdict::Cut,
        Finish::Failed(error) => Verdict::Failed(error),
        Finish::Called(Order::Go | Order::HandBack | Order::Stop | Order::Lost)
        | Finish::TooLate
        | Finish::Refused(_) => Verdict::Cut,
    }
}
