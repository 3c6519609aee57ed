//! The way of one attempt from deployment to deployment: which is asked first, and which after a failure, if any.

use crate::Worker;
use crate::ends::failure;
use crate::guarded::guarded;
use crate::hedged::Second;
use crate::pump::Finish;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{BackendError, Fault, Request};
use tidewire_core::route::{Ask, Flight, Nothing, Outgrown, Plan, Route, Strategy};
use tidewire_core::trace::Header;
use tidewire_core::{Failure, Task, Timestamp, Usage, tokens};

/// How many of a conversation's first messages say which one it is: what the system is told, and the first question.
const FIRST_MESSAGES: usize = 2;

/// What an attempt knows of the deployments that it may ask.
pub(crate) struct Choice {
    worker: Arc<Worker>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) route: Arc<Route>,
    /// The public name that was asked for.
    name: String,
    needs: Vec<String>,
    tokens: u64,
    affinity: u64,
    tried: Vec<Arc<str>>,
    outgrown: Option<Outgrown>,
    /// The last failure after which another attempt can help.
    passing: Option<BackendError>,
}

impl Choice {
    pub(crate) fn new(worker: &Arc<Worker>, task: &Task, plan: Arc<Plan>, route: Arc<Route>) -> Self {
        Self {
            worker: worker.clone(),
            plan,
            affinity: affinity(&route, task),
            route,
            name: task.spec.model.clone(),
            needs: task.spec.turn.needs.clone(),
            tokens: task.spec.turn.tokens,
            tried: Vec::new(),
            outgrown: None,
            passing: None,
        }
    }

    fn choose(&self) -> Result<Flight, Nothing> {
        let ask = Ask {
            route: &self.route,
            needs: &self.needs,
            tokens: self.tokens,
            affinity: self.affinity,
            tried: &self.tried,
            outgrown: self.outgrown.as_ref(),
        };
        let clock = &self.worker.clock;
        self.worker.fleet.choose(&self.plan, &ask, clock.monotonic(), clock.random())
    }

    /// The first deployment: waits for one to be available, for as long as the route says, and the deadline where there is
    /// one.
    pub(crate) async fn first(&self, deadline: Option<Timestamp>) -> Result<Flight, Finish> {
        let worker = &self.worker;
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
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.since(worker.clock.now()));
            if left.is_zero() {
                return Err(Finish::TooLate);
            }
            tokio::select! {
                () = changed => {}
                () = worker.clock.sleep(again.saturating_sub(now).min(left)) => {}
            }
        }
    }

    /// A deployment is asked now.
    pub(crate) fn asks(&mut self, deployment: &Arc<str>) {
        self.tried.push(deployment.clone());
    }

    /// The next deployment after a failure, if the failure and the route allow one and one is available. Else the failure
    /// is made to say how the attempt ends.
    pub(crate) fn next(&mut self, error: &mut BackendError) -> Option<Flight> {
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

    /// The request as a deployment gets it, after what is committed.
    pub(crate) fn request(&self, flight: &Flight, input: &Bytes, committed: String, trace: Option<Header>) -> Request {
        Request {
            model: flight.deployment.model(&self.name),
            input: input.clone(),
            committed,
            timeouts: self.plan.timeouts(&flight.route),
            trace,
        }
    }

    /// Another deployment for the same request, from its start.
    pub(crate) fn second(&self, task: &Task, input: &Bytes, trace: Option<Header>) -> Option<Second> {
        let flight = self.choose().ok()?;
        let backend = self.worker.backends.get(&flight.deployment.name)?;
        let backend = guarded(&self.worker, task, &self.plan, backend);
        let request = self.request(&flight, input, String::new(), trace);
        Some(Second { flight, backend, request })
    }

    /// What this route uses, for whoever is quoted next.
    pub(crate) fn learn(&self, input: &Bytes, finish: &Finish, usage: &Usage) {
        let (forecast, route) = (&self.worker.counter.forecast, self.name.as_str());
        if matches!(finish, Finish::Whole(_)) {
            forecast.answered(route, usage.output_tokens);
        }
        if !usage.estimated && usage.input_tokens > 0 {
            forecast.reported(route, tokens::estimate(input, 0), usage.input_tokens);
        }
    }

    fn unmet(&self) -> Failure {
        let needs = self.needs.join("`, `");
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

/// The failure of a deployment that a reload is taking away.
pub(crate) fn taken_away() -> BackendError {
    BackendError::new(Fault::Unreachable, "the deployment is being taken away")
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
pub(crate) fn wants_json(input: &[u8]) -> bool {
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
        assert!(wants_json(br#"{"messages":[],"response_format":{"type":"json_schema","json_schema":{}}}"#));
        assert!(!wants_json(br#"{"messages":[],"response_format":{"type":"text"}}"#));
        assert!(!wants_json(br#"{"messages":[]}"#) && !wants_json(b"no json"));
    }
}
