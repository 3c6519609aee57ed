//! What operators see of a deployment.

use super::unit::Unit;
use super::{BreakerState, Deployment, Route};
use std::time::Duration;

/// A deployment as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct DeploymentView {
    /// Its name.
    pub name: String,
    /// Its share in the route.
    pub weight: u32,
    /// Where its breaker stands.
    pub breaker: BreakerState,
    /// How long it asked to be left alone for, from now.
    pub cooling: Option<Duration>,
    /// A health check has found it down.
    pub down: bool,
    /// Whether it could be asked for a small request now.
    pub available: bool,
    /// Requests outstanding, over all routes.
    pub requests: u64,
    /// Tokens outstanding, over all routes, as estimated.
    pub tokens: u64,
    /// What is left of its minute, from 0 to 1.
    pub headroom: f64,
    /// Moving time to first token.
    pub ttft: Option<Duration>,
    /// Moving time per output token.
    pub tpot: Option<Duration>,
    /// How its requests by this route ended, and how many of them so.
    pub outcomes: Vec<(&'static str, u64)>,
}

impl DeploymentView {
    pub(super) fn of(deployment: &Deployment, weight: u32, route: &Route, unit: &Unit, now: Duration) -> Self {
        let by_this_route = unit.outcomes.iter().filter(|((name, _), _)| *name == route.name);
        Self {
            name: deployment.name.to_string(),
            weight,
            breaker: unit.state(now),
            cooling: unit.cooling(now).map(|until| until.saturating_sub(now)),
            down: unit.down,
            available: unit.shut(deployment, 1, now).is_none(),
            requests: unit.requests,
            tokens: unit.tokens,
            headroom: unit.headroom(deployment, now),
            ttft: unit.ttft,
            tpot: unit.tpot,
            outcomes: by_this_route.map(|((_, outcome), count)| (*outcome, *count)).collect(),
        }
    }
}
