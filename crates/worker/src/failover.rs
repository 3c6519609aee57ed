//! One attempt: chooses a deployment, runs the request there, and where that fails goes on at once to one that was not
//! tried yet.

use crate::Worker;
use crate::draft::{Barred, Draft, RetryNote, StartNote, json};
use crate::ends::{failure, no_route};
use crate::guarded::guarded;
use crate::hedged::{Race, Raced, Second, Terms};
use crate::keeper::{Leash, Order};
use crate::pump::{Call, Finish, Pumped, pump};
use crate::purse::Purse;
use crate::subject;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{BackendError, Fault, Measurement, Operation, Request};
use tidewire_core::route::{Ask, Flight, Nothing, Outgrown, Plan, Route, Strategy, Verdict};
use tidewire_core::task::Lease;
use tidewire_core::trace::{Header, Part, SpanId};
use tidewire_core::{Entry, Failure, Kind, Task, tokens};

/// How many of a conversation's first messages say which one it is: what the system is told, and the first question.
const FIRST_MESSAGES: usize = 2;

/// What an attempt came to.
pub(crate) struct Delivered {
    pub(crate) pumped: Pumped,
    /// The last deployment that had it, if any did.
    pub(crate) deployment: Option<Arc<str>>,
}

/// What an attempt knows of itself.
struct Trip<'a> {
    worker: &'a Worker,
    task: &'a Task,
    lease: &'a Lease,
    plan: Arc<Plan>,
    route: Arc<Route>,
    affinity: u64,
    tried: Vec<Arc<str>>,
    outgrown: Option<Outgrown>,
    /// The last failure after which another attempt can help.
    passing: Option<BackendError>,
}

/// Runs the request on one deployment after another, until one gives a whole answer or none is left to try.
pub(crate) async fn deliver(
    worker: &Worker,
    task: &Task,
    lease: &Lease,
    draft: &mut Draft,
    leash: &mut Leash,
    (input, mut purse): (Bytes, Purse<'_>),
) -> Result<Delivered, Barred> {
    let plan = worker.catalog.plan();
    let Some(route) = plan.route(&task.spec.capability).cloned() else {
        return Ok(Delivered { pumped: Pumped::unasked(Finish::Refused(no_route())), deployment: None });
    };
    let affinity = affinity(&route, task);
    let (tried, outgrown, passing) = (Vec::new(), None, None);
    let mut trip = Trip { worker, task, lease, plan, route, affinity, tried, outgrown, passing };
    let mut flight = match trip.first(leash).await {
        Ok(flight) => flight,
        Err(finish) => return Ok(Delivered { pumped: Pumped::unasked(finish), deployment: None }),
    };
    loop {
        let deployment = flight.deployment.name.clone();
        trip.tried.push(deployment.clone());
        let mut pumped = trip.run(draft, leash, (&input, &mut purse), flight).await?;
        let deployment = pumped.by.clone().unwrap_or(deployment);
        let next = match &mut pumped.finish {
            Finish::Failed(error) => trip.next(error),
            _ => None,
        };
        let Some(next) = next else {
            return Ok(Delivered { pumped, deployment: Some(deployment) });
        };
        trip.note(draft, &deployment, pumped).await?;
        flight = next;
    }
}

impl Trip<'_> {
    fn ask(&self) -> Ask<'_> {
        Ask {
            route: &self.route,
            needs: &self.task.spec.turn.needs,
            tokens: self.task.spec.turn.tokens,
            affinity: self.affinity,
            tried: &self.tried,
            outgrown: self.outgrown.as_ref(),
        }
    }

    fn choose(&self) -> Result<Flight, Nothing> {
        let clock = &self.worker.clock;
        self.worker.fleet.choose(&self.plan, &self.ask(), clock.monotonic(), clock.random())
    }

    /// The first deployment: waits for one to be available, for as long as the route says.
    async fn first(&self, leash: &mut Leash) -> Result<Flight, Finish> {
        let (worker, task) = (self.worker, self.task);
        let since = worker.clock.monotonic();
        loop {
            let changed = worker.fleet.changed();
            let (again, busy) = match self.choose() {
                Ok(flight) => return Ok(flight),
                Err(Nothing::Left) => return Err(Finish::Refused(self.unmet())),
                Err(Nothing::Now { again, busy }) => (again, busy),
            };
            let now = worker.clock.monotonic();
            if !busy && again.saturating_sub(since) > self.route.wait {
                return Err(Finish::Refused(self.unavailable(again.saturating_sub(now))));
            }
            let deadline = task.spec.deadline.since(worker.clock.now());
            if deadline.is_zero() {
                return Err(Finish::TooLate);
            }
            tokio::select! {
                order = leash.called() => return Err(Finish::Called(order)),
                () = changed => {}
                () = worker.clock.sleep(again.saturating_sub(now).min(deadline)) => {}
            }
        }
    }

    /// The next deployment after a failure, if the failure and the route allow one and one is available. Else the failure
    /// is made to say how the attempt ends.
    fn next(&mut self, error: &mut BackendError) -> Option<Flight> {
        if error.fault.is_passing() {
            self.passing = Some(error.clone());
        }
        let tries = u32::try_from(self.tried.len()).unwrap_or(u32::MAX);
        if self.goes_on(error) && tries < self.route.tries {
            match self.choose() {
                Ok(flight) => return Some(flight),
                // Whoever comes back before that finds the same.
                Err(Nothing::Now { again, .. }) if error.fault.is_passing() => {
                    let wait = again.saturating_sub(self.worker.clock.monotonic());
                    error.retry_after = error.retry_after.map(|asked| asked.min(wait));
                }
                Err(_) => {}
            }
        }
        // A deployment that is set up wrongly is no reason to give up where another one only failed for now.
        if matches!(error.fault, Fault::Unauthorized | Fault::UnknownModel)
            && let Some(passing) = self.passing.take()
        {
            *error = passing;
        }
        None
    }

    /// Whether another deployment may do better.
    fn goes_on(&mut self, error: &BackendError) -> bool {
        match error.fault {
            Fault::ContextTooLong => {
                let at = self.tried.last().and_then(|name| self.plan.deployment(name));
                let context_tokens = at.and_then(|deployment| deployment.context_tokens);
                let before = self.outgrown.as_ref().and_then(|outgrown| outgrown.context_tokens);
                self.outgrown =
                    Some(Outgrown { route: self.route.name.clone(), context_tokens: context_tokens.max(before) });
                true
            }
            // The name is the configuration's, not the client's.
            Fault::UnknownModel => !self.route.takes_any,
            Fault::Unauthorized => true,
            Fault::InvalidRequest => false,
            fault => fault.is_passing(),
        }
    }

    /// Runs the request at one deployment, and tells the fleet how that went.
    async fn run(
        &mut self,
        draft: &mut Draft,
        leash: &mut Leash,
        (input, purse): (&Bytes, &mut Purse<'_>),
        flight: Flight,
    ) -> Result<Pumped, Barred> {
        let (worker, task) = (self.worker, self.task);
        let deployment = flight.deployment.clone();
        let Some(backend) = worker.backends.get(&deployment.name) else {
            // A reload is taking it away.
            let gone = BackendError::new(Fault::Unreachable, "the deployment is being taken away");
            return Ok(Pumped::unasked(Finish::Failed(gone)));
        };
        if let Err(refused) = purse.cover(draft.used_before).await {
            return Ok(Pumped::unasked(Finish::Refused(refused)));
        }
        let model = deployment.model(&task.spec.model);
        let backend = guarded(worker, task, &self.plan, backend);
        let attempt = self.lease.attempt;
        let note =
            StartNote { attempt, worker: &worker.name.0, deployment: &deployment.name, model: &model, hedge: None };
        let opening = vec![Entry::new(worker.clock.now(), Kind::Started, json(&note))];
        // Only plain text goes on in the middle; a tool call, a train of thought or JSON starts over.
        let continues = !draft.text.is_empty() && !draft.has_more_than_text && !wants_json(input);
        let committed = if continues { draft.text.clone() } else { String::new() };
        // One that continues what a reader has stays where it is.
        let hedge = self.route.hedge.filter(|_| committed.is_empty() && subject::of(task).operation == Operation::Chat);
        // The span of this attempt, whose `started` event goes to the tail.
        let span = SpanId::of(task.id, Part::Attempt, draft.tail);
        let trace = task.spec.trace.as_ref().map(|trace| trace.header(span));
        let timeouts = self.plan.timeouts(&flight.route);
        let request = Request { model, input: input.clone(), committed, timeouts, trace: trace.clone() };
        let choose = || self.second(input, trace.clone());
        let (input_tokens, reading) = (purse.input_tokens(), purse.reading());
        let terms =
            Terms { worker, task, route: &self.route, attempt, input, input_tokens, reading, hedge, choose: &choose };
        let race = Race::new(terms, flight, backend);
        let call = Call { race: &race, request, purse };
        let mut pumped = pump(worker, task, draft, leash, opening, call).await?;
        let verdict = match &pumped.finish {
            Finish::Whole(_) => Verdict::Whole,
            // A guardrail of ours says nothing about the deployment.
            Finish::Failed(error) if error.fault.is_ours() => Verdict::Cut,
            Finish::Failed(error) => Verdict::Failed(error),
            Finish::Called(Order::Go | Order::HandBack | Order::Stop | Order::Lost)
            | Finish::TooLate
            | Finish::Refused(_) => Verdict::Cut,
        };
        let Raced { deployment, extra, second } = race.over(verdict, &pumped.usage, pumped.per_token);
        self.learn(input, &pumped);
        pumped.usage.cost = deployment.cost(&pumped.usage);
        pumped.usage = pumped.usage.plus(extra);
        pumped.by = Some(deployment.name.clone());
        self.tried.extend(second);
        Ok(pumped)
    }

    /// Another deployment for the same request, from its start.
    fn second(&self, input: &Bytes, trace: Option<Header>) -> Option<Second> {
        let flight = self.choose().ok()?;
        let backend = self.worker.backends.get(&flight.deployment.name)?;
        let backend = guarded(self.worker, self.task, &self.plan, backend);
        let (model, timeouts) = (flight.deployment.model(&self.task.spec.model), self.plan.timeouts(&flight.route));
        let request = Request { model, input: input.clone(), committed: String::new(), timeouts, trace };
        Some(Second { flight, backend, request })
    }

    /// What this route uses, for whoever is quoted next.
    fn learn(&self, input: &Bytes, pumped: &Pumped) {
        let (forecast, route) = (&self.worker.counter.forecast, self.task.spec.model.as_str());
        if matches!(pumped.finish, Finish::Whole(_)) {
            forecast.answered(route, pumped.usage.output_tokens);
        }
        if !pumped.usage.estimated && pumped.usage.input_tokens > 0 {
            forecast.reported(route, tokens::estimate(input, 0), pumped.usage.input_tokens);
        }
    }

    /// Writes that a deployment failed and the next one follows at once, and reads back what stands.
    async fn note(&self, draft: &mut Draft, deployment: &Arc<str>, pumped: Pumped) -> Result<(), Barred> {
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

    fn unmet(&self) -> Failure {
        let needs = self.task.spec.turn.needs.join("`, `");
        failure(
            "needs_unmet",
            &format!("no deployment of this model has `{needs}` any more: the configuration has changed"),
        )
    }

    fn unavailable(&self, wait: Duration) -> Failure {
        let message = format!(
            "no deployment of `{}` is available for the next {} s: they fail, or their limits are reached; try again then",
            self.route.name,
            wait.as_secs().max(1)
        );
        let retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        Failure { retry_after_ms, ..failure("route_unavailable", &message) }
    }
}

/// What a route looks at of a request.
#[derive(Default, Deserialize)]
struct Wants<'a> {
    #[serde(borrow, default)]
    response_format: Option<&'a RawValue>,
    #[serde(borrow, default)]
    messages: Vec<&'a RawValue>,
}

/// Whether the answer is to be JSON, which can't be gone on with in the middle of a value.
fn wants_json(input: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Format<'a> {
        #[serde(rename = "type", borrow)]
        kind: std::borrow::Cow<'a, str>,
    }
    let wants: Wants<'_> = serde_json::from_slice(input).unwrap_or_default();
    let format = wants.response_format.and_then(|format| serde_json::from_str::<Format<'_>>(format.get()).ok());
    format.is_some_and(|format| format.kind != "text")
}

/// Names the conversation: its lane, else its first messages. Only where the route asks for it.
fn affinity(route: &Route, task: &Task) -> u64 {
    if route.strategy != Strategy::Sticky {
        return 0;
    }
    let tenant = task.tenant.0.to_le_bytes();
    if let Some(lane) = &task.spec.turn.lane {
        return Ask::affinity(&[&tenant, lane.as_bytes()].concat());
    }
    let wants: Wants<'_> = serde_json::from_slice(&task.spec.input).unwrap_or_default();
    let first = wants.messages.iter().take(FIRST_MESSAGES).map(|message| message.get().as_bytes());
    Ask::affinity(&std::iter::once(&tenant[..]).chain(first).collect::<Vec<_>>().concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_recognised_by_the_format_that_is_asked_for() {
        assert!(wants_json(br#"{"messages":[],"response_format":{"type":"json_object"}}"#));
        assert!(wants_json(br#"{"response_format":{"type":"json_schema","json_schema":{}}}"#));
        assert!(!wants_json(br#"{"messages":[],"response_format":{"type":"text"}}"#));
        assert!(!wants_json(br#"{"messages":[]}"#) && !wants_json(b"no json"));
    }
}
