//! What operators and their machines ask: is it alive, can it take work, what does it measure.

mod backup;
mod cache;
mod routes;
mod snapshot;
mod spending;
mod standing;
mod stream;

use crate::reload::Reloader;
use crate::telemetry::{Levels, Metrics};
use crate::wiring::Engines;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http::{Method, StatusCode, header};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::Timestamp;
use tidewire_core::port::Clock;
use tidewire_core::queue::Queue;
use tidewire_edge::identity::{Identity, Scope};
use tidewire_edge::{Edge, Endpoint, Needs};
use tidewire_proto::http::Ready;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the answers are made from.
pub(crate) struct Operations {
    pub(crate) engines: Engines,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) running: tidewire_worker::Running,
    pub(crate) draining: CancellationToken,
    pub(crate) closing: CancellationToken,
    pub(crate) tracker: TaskTracker,
    pub(crate) clock: Arc<dyn Clock>,
    identity: Arc<Identity>,
    /// By the wall and by the monotonic clock, so that a moment of the one can be told as one of the other.
    started: (Timestamp, Duration),
    spending: spending::Spending,
    standing: standing::Standing,
    looking: stream::Looking,
}

impl Operations {
    pub(crate) fn new(
        engines: &Engines,
        metrics: &Arc<Metrics>,
        reloader: Arc<Reloader>,
        running: tidewire_worker::Running,
        edge: &Edge,
    ) -> Self {
        Self {
            engines: engines.clone(),
            metrics: metrics.clone(),
            queue: edge.queue.clone(),
            reloader,
            running,
            draining: edge.draining.clone(),
            closing: edge.closing.clone(),
            tracker: edge.tracker.clone(),
            clock: edge.clock.clone(),
            identity: edge.identity.clone(),
            started: (edge.clock.now(), edge.clock.monotonic()),
            spending: spending::Spending::default(),
            standing: standing::Standing::default(),
            looking: stream::Looking::default(),
        }
    }
}

/// Begins to keep what operators look back on. What they may ask.
pub(crate) fn start(operations: Operations) -> Vec<Endpoint> {
    let operations = Arc::new(operations);
    operations.tracker.spawn(stream::keep_history(operations.clone()));
    endpoints(&operations)
}

/// What operators may ask, and what each needs for it. A balancer that asks whether the server lives has no key.
fn endpoints(operations: &Arc<Operations>) -> Vec<Endpoint> {
    const READ: Needs = Needs::Scope(Scope::AdminRead);
    const OPERATE: Needs = Needs::Scope(Scope::AdminOperate);
    let endpoint = |method, path, needs, handler: MethodRouter<Arc<Operations>>| {
        Endpoint::new(method, path, needs, handler.with_state(operations.clone()))
    };
    vec![
        endpoint(Method::GET, "/healthz", Needs::Nothing, get(async || "ok\n")),
        endpoint(Method::GET, "/readyz", Needs::Nothing, get(ready)),
        endpoint(Method::GET, "/metrics", READ, get(metrics)),
        endpoint(Method::POST, "/v1/backup", OPERATE, post(backup::backup)),
        endpoint(Method::GET, "/v1/operations", READ, get(stream::operations)),
        endpoint(Method::GET, "/v1/routes", READ, get(routes::list)),
        endpoint(Method::POST, "/v1/admin/reload", OPERATE, post(routes::reload)),
    ]
}

async fn ready(State(operations): State<Arc<Operations>>) -> Response {
    let reason = if operations.draining.is_cancelled() {
        Some("the server is shutting down".to_owned())
    } else {
        operations.engines.health().err().map(|error| error.reason)
    };
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = Ready {
        ready: reason.is_none(),
        durability: operations.engines.durability().to_owned(),
        engine: operations.engines.name().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        reason,
    };
    (status, Json(body)).into_response()
}

async fn metrics(State(operations): State<Arc<Operations>>) -> Response {
    let (transient_bytes, transient_bound_bytes) = operations.engines.transient_bytes();
    let levels = Levels {
        waiting: operations.queue.waiting(),
        running: operations.running.count(),
        transient_bytes,
        transient_bound_bytes,
        takes_changes: operations.engines.health().is_ok(),
        data_free_bytes: operations.engines.data_free_bytes().unwrap_or_default(),
        disk_failures_and_recoveries: operations.engines.disk_failures_and_recoveries(),
        balance: operations.engines.ledger().balance(),
    };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = operations.metrics.text(&levels);
    // The end of the text is the end of all of it.
    let text =
        [text.trim_end_matches("# EOF\n"), &routes::metrics(&operations), &cache::metrics(&operations), "# EOF\n"]
            .concat();
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
