//! The live state of all deployments, and the choice among them. It opens no connection and reads no clock: whoever runs a
//! request says when it began, what it heard and how it ended.

use super::strategy::{Candidate, Chance, hash};
use super::strip::Minute;
use super::unit::{Shut, Unit};
use super::view::DeploymentView;
use super::{Deployment, Flight, Hedges, Plan, Route};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How soon a deployment that is out for a probe is looked at again, where nobody hears of the probe's end before.
const PROBE_AGAIN: Duration = Duration::from_millis(250);

/// How soon one that has its hands full is looked at again, where nobody hears of a request's end before.
const BUSY_AGAIN: Duration = Duration::from_secs(1);

/// The live state of all deployments.
#[derive(Debug, Default)]
pub struct Fleet {
    units: Mutex<HashMap<Arc<str>, Unit>>,
    changed: Notify,
    hedges: Hedges,
}

/// What is to be run, as far as the choice depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The route.
    pub route: &'a Arc<Route>,
    /// What the deployment must have.
    pub needs: &'a [String],
    /// About how many tokens it will read and write.
    pub tokens: u64,
    /// Names the conversation: equal ones go to the same deployment, where the route is sticky.
    pub affinity: u64,
    /// Deployments that had it already.
    pub tried: &'a [Arc<str>],
    /// The context that it did not fit, if there was one.
    pub outgrown: Option<&'a Outgrown>,
}

/// A context that was too small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgrown {
    /// Whose.
    pub route: Arc<str>,
    /// How many tokens fit it, where that is known.
    pub context_tokens: Option<u32>,
}

/// Why no deployment is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {
    /// None is left that has what is needed and was not tried.
    Left,
    /// Some are, and none can be asked now.
    Now {
        /// When it is worth looking again, by the caller's monotonic time.
        again: Duration,
        /// One of them has no more than its hands full: its next free one is near.
        busy: bool,
    },
}

impl Outgrown {
    /// Whether a deployment may have a larger one. Those of one route have the same model: without numbers, only another
    /// route is worth trying.
    fn leaves(&self, deployment: &Deployment, route: &Route) -> bool {
        match (self.context_tokens, deployment.context_tokens) {
            (Some(small), Some(other)) => other > small,
            _ => route.name != self.route,
        }
    }
}

impl Fleet {
    pub(super) fn units(&self) -> MutexGuard<'_, HashMap<Arc<str>, Unit>> {
        // A panic between two lines leaves at worst a count that is off by one.
        self.units.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a route's requests are late, and how often that was answered by a second one.
    pub fn hedges(&self) -> &Hedges {
        &self.hedges
    }

    /// Changes the state of one deployment.
    pub(super) fn with<T>(&self, deployment: &Arc<str>, change: impl FnOnce(&mut Unit) -> T) -> T {
        let mut units = self.units();
        if !units.contains_key(deployment) {
            units.insert(deployment.clone(), Unit::default());
        }
        // It was put there above.
        change(units.entry(deployment.clone()).or_default())
    }

    /// Wakes whoever waits for a deployment.
    pub(super) fn wake(&self) {
        self.changed.notify_waiters();
    }

    /// One request less is out: one that waits may take its place. Whoever misses it looks again by itself.
    pub(super) fn wake_one(&self) {
        self.changed.notify_one();
    }

    /// Waits until a deployment may have become available. Ask for it before looking, so that nothing is missed between.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.changed.notified()
    }

    /// Chooses a deployment, and counts the request as out until the flight ends. The route's own deployments go before those
    /// of its fallbacks, and preferred ones before others.
    pub fn choose(self: &Arc<Self>, plan: &Plan, ask: &Ask<'_>, now: Duration, random: u64) -> Result<Flight, Nothing> {
        let chance = Chance { random, affinity: ask.affinity };
        let mut shut = Vec::new();
        let mut units = self.units();
        for route in plan.chain(ask.route) {
            for preferred in [true, false] {
                let able = plan.members(route).filter(|(deployment, _)| {
                    deployment.has_all(&route.prefer) == preferred && ask.takes(deployment, route)
                });
                let mut open = Vec::new();
                for (deployment, weight) in able {
                    let unit = units.entry(deployment.name.clone()).or_default();
                    match unit.shut(deployment, ask.tokens, now) {
                        Some(why) => shut.push(why),
                        None => open.push((deployment, candidate(deployment, weight, unit, now))),
                    }
                }
                let candidates: Vec<Candidate<'_>> = open.iter().map(|(_, candidate)| *candidate).collect();
                if let Some(picked) = route.strategy.pick(&candidates, chance) {
                    let deployment = open[picked].0;
                    let unit = units.entry(deployment.name.clone()).or_default();
                    let probe = unit.breaker.enter();
                    let second = unit.begin(ask.tokens, now);
                    drop(units);
                    return Ok(Flight::new(self, deployment, route, (ask.tokens, second), probe));
                }
            }
        }
        drop(units);
        Err(nothing(&shut, now))
    }

    /// A health check has found a deployment up or down. Whether that is news.
    pub fn checked(&self, deployment: &Arc<str>, up: bool) -> bool {
        let news = self.with(deployment, |unit| std::mem::replace(&mut unit.down, !up) == up);
        if news {
            self.wake();
        }
        news
    }

    /// Forgets deployments that no plan names any more and nothing is out at.
    pub fn forget(&self, plan: &Plan) {
        self.units().retain(|name, unit| plan.deployment(name).is_some() || unit.requests > 0);
        self.hedges.forget(plan);
        self.wake();
    }

    /// How a deployment's requests ended in the last hour, minute by minute, oldest first.
    pub fn last_hour(&self, deployment: &Arc<str>, now: Duration) -> Vec<Minute> {
        self.units().get(deployment).map(|unit| unit.strip.last_hour(now)).unwrap_or_default()
    }

    /// The state of a route's deployments.
    pub fn view(&self, plan: &Plan, route: &Route, now: Duration) -> Vec<DeploymentView> {
        let units = self.units();
        let nothing_yet = Unit::default();
        plan.members(route)
            .map(|(deployment, weight)| {
                let unit = units.get(&deployment.name).unwrap_or(&nothing_yet);
                DeploymentView::of(deployment, weight, route, unit, now)
            })
            .collect()
    }
}

impl Ask<'_> {
    fn takes(&self, deployment: &Deployment, route: &Route) -> bool {
        deployment.has_all(self.needs)
            && !self.tried.contains(&deployment.name)
            && self.outgrown.is_none_or(|outgrown| outgrown.leaves(deployment, route))
    }

    /// The affinity of these words: of a lane's name, or of a conversation's first messages.
    pub fn affinity(words: &[u8]) -> u64 {
        hash(words)
    }
}

fn candidate<'a>(deployment: &'a Deployment, weight: u32, unit: &Unit, now: Duration) -> Candidate<'a> {
    Candidate {
        deployment,
        weight,
        requests: unit.requests,
        tokens: unit.tokens,
        ttft: unit.ttft,
        tpot: unit.tpot,
        headroom: unit.headroom(deployment, now),
    }
}

fn nothing(shut: &[Shut], now: Duration) -> Nothing {
    let soonest = shut.iter().filter_map(|shut| match shut {
        Shut::Until(until) => Some(*until),
        Shut::Busy => None,
    });
    let busy = shut.contains(&Shut::Busy);
    match soonest.min() {
        Some(until) => Nothing::Now { again: until.max(now + PROBE_AGAIN), busy },
        None if busy => Nothing::Now { again: now + BUSY_AGAIN, busy },
        None => Nothing::Left,
    }
}
