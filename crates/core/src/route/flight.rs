//! One request at one deployment, from the choice to its end.

use super::breaker::blames_upstream;
use super::unit::{Unit, averaged};
use super::{Deployment, Fleet, Route};
use crate::ending::Usage;
use crate::port::{BackendError, UpstreamLimit};
use std::sync::Arc;
use std::time::Duration;

/// A request that is out at a deployment. Dropped without an end, it says nothing about the deployment.
#[derive(Debug)]
pub struct Flight {
    fleet: Arc<Fleet>,
    /// Where.
    pub deployment: Arc<Deployment>,
    /// By which route: a fallback's, where it was one.
    pub route: Arc<Route>,
    /// As estimated, and in which second that counts.
    tokens: (u64, u64),
    probe: bool,
    over: bool,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// The answer is whole.
    Whole,
    /// It failed.
    Failed(&'a BackendError),
    /// Somebody stopped it, or its time was up: that says nothing about the deployment.
    Cut,
}

impl Verdict<'_> {
    /// As metrics name it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Whole => "ok",
            Self::Failed(error) => error.fault.code(),
            Self::Cut => "cut",
        }
    }
}

impl Flight {
    pub(super) fn new(
        fleet: &Arc<Fleet>,
        deployment: &Arc<Deployment>,
        route: &Arc<Route>,
        tokens: (u64, u64),
        probe: bool,
    ) -> Self {
        let (fleet, deployment, route) = (fleet.clone(), deployment.clone(), route.clone());
        Self { fleet, deployment, route, tokens, probe, over: false }
    }

    /// About how many tokens it was thought to take.
    pub fn estimate(&self) -> u64 {
        self.tokens.0
    }

    fn with(&self, change: impl FnOnce(&mut Unit)) {
        self.fleet.with(&self.deployment.name, change);
    }

    /// The upstream has told of its limits.
    pub fn told(&self, limits: &[UpstreamLimit], now: Duration) {
        if !limits.is_empty() {
            self.with(|unit| unit.told(limits, now));
        }
    }

    /// The first token has come, so long after the request.
    pub fn first_token(&self, took: Duration) {
        self.with(|unit| {
            unit.ttft = Some(averaged(unit.ttft, took));
            if self.probe {
                // A long answer should not keep the next probe waiting.
                unit.breaker.probe_free();
            }
        });
    }

    /// It has ended, with so long from token to token where there were two.
    pub fn end(mut self, verdict: Verdict<'_>, usage: &Usage, per_token: Option<Duration>, now: Duration) {
        self.over = true;
        let (tokens, second) = self.tokens;
        let mut turned = false;
        self.with(|unit| {
            let before = unit.state(now);
            unit.over(tokens);
            unit.asked_tokens.correct(second, tokens, usage.input_tokens + usage.output_tokens, now);
            if let Some(per_token) = per_token {
                unit.tpot = Some(averaged(unit.tpot, per_token));
            }
            match verdict {
                Verdict::Whole => unit.breaker.succeeded(self.probe, now),
                Verdict::Failed(error) => {
                    unit.told(&error.limits, now);
                    if blames_upstream(error) {
                        unit.cool(error, now);
                        unit.breaker.failed(self.probe, now);
                    } else {
                        // It answered, if only that the client was wrong.
                        unit.breaker.succeeded(self.probe, now);
                    }
                }
                Verdict::Cut => self.give_up_probe(unit),
            }
            let state = unit.state(now);
            turned = state != before;
            match verdict {
                Verdict::Whole => unit.strip.note(false, state, now),
                Verdict::Failed(error) => unit.strip.note(blames_upstream(error), state, now),
                Verdict::Cut => {}
            }
            let outcome = (self.route.name.clone(), verdict.name());
            *unit.outcomes.entry(outcome).or_default() += 1;
        });
        if turned { self.fleet.wake() } else { self.fleet.wake_one() }
    }

    fn give_up_probe(&self, unit: &mut Unit) {
        if self.probe {
            unit.breaker.probe_free();
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.over {
            let tokens = self.tokens.0;
            self.with(|unit| {
                unit.over(tokens);
                self.give_up_probe(unit);
            });
            self.fleet.wake_one();
        }
    }
}
