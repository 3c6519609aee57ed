//! The body of `GET /v1/operations`: all that operators see at a glance. Each field of [`Operations`] is a section, which a
//! stream sends again as a whole where something in it has changed. A figure without a sample is absent.

use crate::routes::RouteView;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The server at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Operations {
    /// The process, its disk and its speed.
    pub server: ServerSection,
    /// How long people waited in the last minute, by what for: `ack`, `ttft`, `tpot`, `ttar`, `delivery_lag`, `total`.
    pub latencies: BTreeMap<String, Latency>,
    /// Who waits.
    pub queue: QueueSection,
    /// Who works.
    pub workers: Vec<WorkerView>,
    /// What runs, oldest first.
    pub leases: Vec<LeaseView>,
    /// As `GET /v1/routes` has them.
    pub routes: Vec<RouteView>,
    /// The last hour of each deployment.
    pub deployments: Vec<StripView>,
    /// Who pays, the one that has spent most this month first.
    pub tenants: Vec<SpendingView>,
    /// Answers that were not asked for again.
    pub cache: CacheSection,
    /// What went wrong since the start.
    pub refusals: Refusals,
    /// The last hour.
    pub history: History,
}

/// The process, its disk and its speed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerSection {
    /// The server's version.
    pub version: String,
    /// Now, in milliseconds since the Unix epoch.
    pub at: u64,
    /// When it was started.
    pub started_at: u64,
    /// The engine's name.
    pub engine: String,
    /// What an ack survives.
    pub durability: String,
    /// Whether new work is taken.
    pub takes_changes: bool,
    /// Open connections.
    pub connections: u64,
    /// What the disk of the data directory has free, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_free_bytes: Option<u64>,
    /// Memory that transient tasks and logs take.
    pub transient_bytes: u64,
    /// Memory that they may take.
    pub transient_bound_bytes: u64,
    /// Commits of the engine, over the last ten seconds that are over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commits_per_second: Option<f64>,
    /// The disk's part of a commit, in the last minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fsync_p99_ms: Option<f64>,
    /// By how much the ledger does not add up; anything but 0 is a defect.
    pub ledger_imbalance_usd: f64,
    /// Output tokens of tasks that ended, over the last ten seconds that are over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
}

/// How long something took, in the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How often.
    pub count: u64,
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// 95 of 100.
    pub p95_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
}

/// Who waits, and for how long the first of them has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueSection {
    /// Tasks that wait.
    pub waiting: u64,
    /// Tasks that run.
    pub running: u64,
    /// How long the oldest has waited that does not wait for its own moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
    /// The most pressing first.
    pub by_priority: Vec<PriorityView>,
    /// Those with most waiting first.
    pub by_tenant: Vec<TenantLine>,
    /// By the route's name.
    pub by_route: Vec<RouteLine>,
}

/// What waits of one priority.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PriorityView {
    /// `interactive`, `normal` or `bulk`.
    pub priority: String,
    /// How many.
    pub waiting: u64,
    /// How long the oldest has waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
}

/// What waits and runs of one tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TenantLine {
    /// Its name.
    pub tenant: String,
    /// How many wait.
    pub waiting: u64,
    /// How many run.
    pub running: u64,
    /// How long the oldest has waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
}

/// What waits for one route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteLine {
    /// Its name.
    pub route: String,
    /// How many wait.
    pub waiting: u64,
}

/// A worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Its name.
    pub name: String,
    /// How many tasks it runs.
    pub running: u64,
    /// How many it may run at once, those of all routes together.
    pub slots: u64,
    /// It takes no new ones.
    pub draining: bool,
}

/// A task that runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeaseView {
    /// Its id.
    pub task: String,
    /// Whose it is.
    pub tenant: String,
    /// The public name that was asked for.
    pub model: String,
    /// Which deployment is asked, once one is; none where the answer is a shared one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// Counts from 1.
    pub attempt: u32,
    /// When its worker got it, in milliseconds since the Unix epoch.
    pub since: u64,
    /// Which worker.
    pub worker: String,
}

/// A deployment's last hour.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StripView {
    /// Its name.
    pub name: String,
    /// Its minutes with requests, oldest first.
    pub strip: Vec<MinuteView>,
}

/// One minute of a deployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MinuteView {
    /// When it began, in milliseconds since the Unix epoch.
    pub at: u64,
    /// Requests that were answered.
    pub ok: u64,
    /// Requests that failed by the deployment's fault.
    pub failed: u64,
    /// Where its breaker stood at worst: `closed`, `half_open`, `open`.
    pub breaker: String,
}

/// What a tenant spends. Days and months are UTC's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpendingView {
    /// Its name.
    pub name: String,
    /// Today.
    pub today_usd: f64,
    /// This month.
    pub month_usd: f64,
    /// What is held for tasks under way.
    pub reserved_usd: f64,
    /// Its budget for a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_limit_usd: Option<f64>,
    /// Its budget for a month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month_limit_usd: Option<f64>,
    /// Tasks that ended today.
    pub tasks_today: u64,
    /// Nobody of it may ask.
    pub suspended: bool,
}

/// Answers of routes that keep or share them, since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CacheSection {
    /// That were kept, and fresh.
    pub hits: u64,
    /// That were kept, and old.
    pub stale: u64,
    /// That were on their way for somebody else.
    pub joined: u64,
    /// That had to be asked for.
    pub misses: u64,
    /// Those of `hits` whose question was another one that means the same.
    pub semantic_hits: u64,
    /// Answers that are kept.
    pub entries: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// What all of today's would have cost.
    pub saved_today_usd: f64,
}

/// What went wrong, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// Submits that found no room in line.
    pub queue_full: u64,
    /// Submits over a limit by the minute.
    pub rate_limited: u64,
    /// Submits over a budget.
    pub budget_exceeded: u64,
    /// Attempts that failed and were followed by another.
    pub retries: u64,
    /// Times the engine stopped taking changes because its disk failed.
    pub disk_failures: u64,
}

/// The last hour, in points.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// From one point to the next.
    pub step_ms: u64,
    /// The moment of the newest point, in milliseconds since the Unix epoch; 0 before the first.
    pub end: u64,
    /// Oldest first, all of one length; `null` where there was nothing to measure.
    pub series: BTreeMap<String, Vec<Option<f64>>>,
}

/// A further point of the history: the data of an event `point`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Its moment, in milliseconds since the Unix epoch.
    pub at: u64,
    /// One value for each series.
    pub values: BTreeMap<String, Option<f64>>,
}
