//! Routes and their deployments, as operators see them.

use serde::{Deserialize, Serialize};

/// The answer of `GET /v1/routes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteList {
    /// Every route.
    pub routes: Vec<RouteView>,
}

/// A route, and how its deployments are now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteView {
    /// Its public name.
    pub name: String,
    /// It takes any model name and passes it on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_any: bool,
    /// `weighted`, `least_busy`, `fastest`, `headroom`, `cheapest` or `sticky`.
    pub strategy: String,
    /// Deployments that have all of these go first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefer: Vec<String>,
    /// Routes that are tried when no deployment of this one is left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
    /// Deployments that one attempt tries at most.
    pub tries: u32,
    /// How long a task waits for a deployment to be available.
    pub wait_ms: u64,
    /// Its deployments.
    pub deployments: Vec<DeploymentView>,
}

/// A deployment of a route, as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeploymentView {
    /// Its name.
    pub name: String,
    /// Its share, under `weighted`.
    pub weight: u32,
    /// `closed`, `open` or `half_open`.
    pub breaker: String,
    /// Whether it could be asked now.
    pub available: bool,
    /// A health check has found it down.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub down: bool,
    /// How long it asked to be left alone for, from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Requests outstanding.
    pub requests: u64,
    /// Tokens outstanding, an estimate.
    pub tokens: u64,
    /// What is left of its minute, from 0 to 1.
    pub headroom: f64,
    /// Moving time to first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<f64>,
    /// Moving time per output token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpot_ms: Option<f64>,
    /// How its requests ended by this route since the start: `ok`, `cut` (stopped, or out of time), or an error's code.
    pub outcomes: std::collections::BTreeMap<String, u64>,
}

/// The answer of `POST /v1/admin/reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Settings that changed, and are as the file says from now on.
    pub changed: Vec<String>,
    /// Settings that the file says otherwise than the server runs with, and that only a restart changes.
    pub needs_restart: Vec<String>,
}
