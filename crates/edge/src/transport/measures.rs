//! `POST /v1/measures`: how long people waited, as their screens saw it.

use super::body;
use crate::Edge;
use crate::identity::Caller;
use crate::refusal::Refusal;
use axum::extract::{Request, State};
use http::StatusCode;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::Measurement;
use tidewire_proto::Code;

/// A page's measures of some seconds: many times what one person asks.
const MAX_MEASURES: usize = 200;

/// The longest wait that is believed: the longest deadline of a task that somebody looks at.
const MAX_MS: f64 = 3_600_000.0;

#[derive(Deserialize)]
struct Measures {
    measures: Vec<Measure>,
}

/// One wait. Which task it was stands beside it, and goes into no metric.
#[derive(Deserialize)]
struct Measure {
    name: String,
    ms: f64,
}

pub(super) async fn take(
    State(edge): State<Arc<Edge>>,
    _caller: Caller,
    request: Request,
) -> Result<StatusCode, Refusal> {
    let Measures { measures } = body::json(&body::read(&edge, request.into_body()).await?)?;
    if measures.len() > MAX_MEASURES {
        return Err(invalid(format!("at most {MAX_MEASURES} measures at once")));
    }
    // All of them or none: half of what was sent would count twice when it is sent again.
    for measure in &measures {
        measured(measure)?;
    }
    for measure in &measures {
        edge.meter.record(measured(measure)?);
    }
    Ok(StatusCode::NO_CONTENT)
}

fn measured(measure: &Measure) -> Result<Measurement<'static>, Refusal> {
    if !(0.0..=MAX_MS).contains(&measure.ms) {
        return Err(invalid(format!("`ms` is 0 to {MAX_MS}")));
    }
    let took = Duration::from_secs_f64(measure.ms / 1000.0);
    match measure.name.as_str() {
        "ttft" => Ok(Measurement::SeenFirstToken(took)),
        "ttar" => Ok(Measurement::SeenFirstResult(took)),
        other => Err(invalid(format!("a measure is `ttft` or `ttar`, not `{other}`"))),
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidRequest, message)
}
