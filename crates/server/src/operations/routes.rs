//! The routes and how their deployments are, as JSON and as metrics; and the reload.

use super::Operations;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::route::{self, BreakerState, Route};
use tidewire_proto::routes::{DeploymentView, RouteList, RouteView};
use tidewire_proto::{Code, ErrorBody, WireError};

/// `GET /v1/routes`.
pub(super) async fn list(State(operations): State<Arc<Operations>>) -> Json<RouteList> {
    Json(RouteList { routes: listed(&operations) })
}

/// Every route, as operators see it.
pub(super) fn listed(operations: &Operations) -> Vec<RouteView> {
    views(operations).into_iter().map(|(route, deployments)| view(&route, deployments)).collect()
}

/// `POST /v1/admin/reload`.
pub(super) async fn reload(State(operations): State<Arc<Operations>>) -> Response {
    match operations.reloader.reload().await {
        Ok(reloaded) => Json(reloaded).into_response(),
        Err(reason) => {
            let error = WireError::new(Code::InvalidRequest, format!("nothing has changed: {reason}"));
            (StatusCode::BAD_REQUEST, Json(ErrorBody { error })).into_response()
        }
    }
}

fn views(operations: &Operations) -> Vec<(Arc<Route>, Vec<route::DeploymentView>)> {
    let deployments = &operations.reloader.deployments;
    let (plan, now) = (deployments.catalog.plan(), operations.clock.monotonic());
    plan.routes().iter().map(|route| (route.clone(), deployments.fleet.view(&plan, route, now))).collect()
}

fn view(route: &Route, deployments: Vec<route::DeploymentView>) -> RouteView {
    RouteView {
        name: route.name.to_string(),
        takes_any: route.takes_any,
        strategy: route.strategy.name().to_owned(),
        prefer: route.prefer.clone(),
        fallbacks: route.fallbacks.iter().map(ToString::to_string).collect(),
        tries: route.tries,
        wait_ms: millis(route.wait),
        deployments: deployments.into_iter().map(deployment_view).collect(),
    }
}

fn deployment_view(view: route::DeploymentView) -> DeploymentView {
    let float = |time: Duration| time.as_secs_f64() * 1000.0;
    DeploymentView {
        name: view.name,
        weight: view.weight,
        breaker: view.breaker.name().to_owned(),
        available: view.available,
        down: view.down,
        retry_after_ms: view.cooling.map(millis),
        requests: view.requests,
        tokens: view.tokens,
        headroom: view.headroom,
        ttft_ms: view.ttft.map(float),
        tpot_ms: view.tpot.map(float),
        outcomes: view.outcomes.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One line of a metric: its name, its labels beside the route's and the deployment's, and its value.
type Level = (&'static str, &'static str, fn(&route::DeploymentView) -> String);

/// Levels of each deployment of each route.
const LEVELS: [Level; 5] = [
    ("tidewire_deployment_breaker", "0 closed, 1 half open, 2 open", |view| {
        match view.breaker {
            BreakerState::Closed => "0",
            BreakerState::HalfOpen => "1",
            BreakerState::Open => "2",
        }
        .to_owned()
    }),
    ("tidewire_deployment_available", "1 while it can be asked", |view| u8::from(view.available).to_string()),
    ("tidewire_deployment_outstanding_requests", "Requests outstanding", |view| view.requests.to_string()),
    ("tidewire_deployment_outstanding_tokens", "Tokens outstanding, an estimate", |view| view.tokens.to_string()),
    ("tidewire_deployment_headroom", "What is left of its minute, from 0 to 1", |view| view.headroom.to_string()),
];

/// The metrics of routes, in the text format of `OpenMetrics`. As many lines as the configuration has deployments in routes: no
/// label comes from a request.
pub(super) fn metrics(operations: &Operations) -> String {
    let views = views(operations);
    let mut out = String::new();
    // Writing to a string can't fail; so below.
    for (name, help, value) in LEVELS {
        let _ = writeln!(out, "# HELP {name} {help}.\n# TYPE {name} gauge");
        each(&views, |labels, view| {
            let _ = writeln!(out, "{name}{{{labels}}} {}", value(view));
        });
    }
    let name = "tidewire_deployment_requests";
    let _ = writeln!(out, "# HELP {name} Requests by how they ended.\n# TYPE {name} counter");
    each(&views, |labels, view| {
        for (outcome, count) in &view.outcomes {
            let _ = writeln!(out, "{name}_total{{{labels},outcome=\"{outcome}\"}} {count}");
        }
    });
    let hedged = views.iter().filter(|(route, _)| route.hedge.is_some());
    let hedges = operations.reloader.deployments.fleet.hedges();
    let name = "tidewire_hedges";
    let _ = writeln!(out, "# HELP {name} Requests whose first token was late.\n# TYPE {name} counter");
    for (route, _) in hedged {
        let (route, counts) = (escaped(&route.name), hedges.counts(&route.name));
        for (outcome, count) in [("won", counts.won), ("lost", counts.lost), ("denied", counts.denied)] {
            let _ = writeln!(out, "{name}_total{{route=\"{route}\",outcome=\"{outcome}\"}} {count}");
        }
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn each(views: &[(Arc<Route>, Vec<route::DeploymentView>)], mut line: impl FnMut(&str, &route::DeploymentView)) {
    for (route, deployments) in views {
        for view in deployments {
            line(&format!("route=\"{}\",deployment=\"{}\"", escaped(&route.name), escaped(&view.name)), view);
        }
    }
}
