//! Routes: what a public model name means. A route names deployments and how it chooses among them; the live state of each
//! deployment is the [`Fleet`]'s.

mod breaker;
mod deployment;
mod fleet;
mod flight;
mod hedges;
mod plan;
mod shadow;
mod strategy;
mod strip;
#[cfg(test)]
mod tests;
mod unit;
mod view;
mod window;

pub use breaker::State as BreakerState;
pub use deployment::{Deployment, PerMinute, Takes};
pub use fleet::{Ask, Fleet, Nothing, Outgrown};
pub use flight::{Flight, Verdict};
pub use hedges::{Hedge, HedgeCounts, Hedges};
pub use plan::{Contradiction, Plan};
pub use shadow::Shadow;
pub use strategy::Strategy;
pub use strip::Minute;
pub use view::DeploymentView;

use crate::cache::Policy;
use crate::port::Limits;
use std::sync::Arc;
use std::time::Duration;

/// Deployments that one attempt tries at most, unless a route says otherwise: one that fails and two others. More only
/// makes a request that no deployment likes fail later.
pub const DEFAULT_TRIES: u32 = 3;

/// How long a task waits for any deployment to be available, unless a route says otherwise: a minute's limits come back
/// within it, and few callers wait longer.
pub const DEFAULT_WAIT: Duration = Duration::from_mins(1);

/// A public model name, and what stands behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The public name.
    pub name: Arc<str>,
    /// It takes any model name and passes it on: an upstream that is given by its URL alone. Its own name is not public.
    pub takes_any: bool,
    /// Its deployments, in the order of the configuration.
    pub members: Vec<Member>,
    /// How it chooses among those that are available.
    pub strategy: Strategy,
    /// Members that have all of these go before those that have not: a region, for example.
    pub prefer: Vec<String>,
    /// Routes whose deployments are tried when none of its own is left, in this order.
    pub fallbacks: Vec<Arc<str>>,
    /// How many deployments one attempt tries at most.
    pub tries: u32,
    /// How long a task waits for any of them to be available.
    pub wait: Duration,
    /// From a request to its first token, where it differs from the server's.
    pub first_token: Option<Duration>,
    /// Between two tokens, where it differs from the server's.
    pub between_tokens: Option<Duration>,
    /// What all who take it may use together.
    pub limits: Limits,
    /// When a second deployment is asked as well, if ever.
    pub hedge: Option<Hedge>,
    /// Where a share of its requests is run once more, if anywhere.
    pub shadow: Option<Shadow>,
    /// What of its answers is kept and shared; nothing without.
    pub cache: Option<Arc<Policy>>,
    /// For how long HTTP caches keep its public results, where that differs from the server's.
    pub public: PublicTimes,
}

/// For how long HTTP caches keep public results; none where the server says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublicTimes {
    /// A browser.
    pub max_age: Option<Duration>,
    /// A cache that many share.
    pub shared_max_age: Option<Duration>,
    /// How long after that it may serve an old one while it asks for it anew.
    pub stale_while_revalidate: Option<Duration>,
    /// How long after that it may serve an old one where the server does not answer.
    pub stale_if_error: Option<Duration>,
}

/// A deployment as one route sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub deployment: Arc<str>,
    /// Its share, beside those of the others.
    pub weight: u32,
}

impl Route {
    /// A route by this name without members, and with all else as it is unless set.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            takes_any: false,
            members: Vec::new(),
            strategy: Strategy::default(),
            prefer: Vec::new(),
            fallbacks: Vec::new(),
            tries: DEFAULT_TRIES,
            wait: DEFAULT_WAIT,
            first_token: None,
            between_tokens: None,
            limits: Limits::default(),
            hedge: None,
            shadow: None,
            cache: None,
            public: PublicTimes::default(),
        }
    }
}
