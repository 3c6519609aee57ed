//! Traces at the border: the context that comes with a request, the one that its answer names, and
//! `GET /v1/tasks/{id}/trace`, a task's story as spans.

use super::tasks::{TASK_HEADER, find_of, query, task_header};
use crate::Edge;
use crate::identity::Caller;
use crate::refusal::Refusal;
use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use std::sync::Arc;
use tidewire_core::trace::{Span, SpanId, Story, Value, each_event};
use tidewire_core::{Task, TaskId, Timestamp, Trace};
use tidewire_proto::trace::{SpanView, TraceView};

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// The answer's header: `traceparent` is a request's, and W3C's draft for answers gives this one the same form.
pub(super) const ANSWERED: HeaderName = HeaderName::from_static("traceresponse");

/// The context that a request names. Two `traceparent` are as good as none; several `tracestate` are one list.
pub(super) fn asked_in(headers: &HeaderMap) -> Option<Trace> {
    let mut parents = headers.get_all(PARENT).iter();
    let parent = parents.next()?.to_str().ok()?;
    if parents.next().is_some() {
        return None;
    }
    let states: Option<Vec<&str>> = headers.get_all(STATE).iter().map(|state| state.to_str().ok()).collect();
    let state = states.filter(|states| !states.is_empty()).map(|states| states.join(","));
    Trace::parse(parent, state.as_deref())
}

/// The trace that an answer's task belongs to, where that is not the one that its request named.
#[derive(Clone)]
pub(super) struct Of(HeaderValue);

impl Of {
    /// A task's own.
    pub(super) fn task(task: &Task) -> Self {
        Self(value(&task.trace(), task.id))
    }
}

fn value(trace: &Trace, task: TaskId) -> HeaderValue {
    let header = trace.header(SpanId::of_task(task));
    // Digits and dashes.
    HeaderValue::from_str(&header.parent).unwrap_or(HeaderValue::from_static(""))
}

/// Says in which trace a task runs that was just submitted, whichever face took it: the face has named the task already.
pub(super) fn told(edge: &Edge, mut response: Response, caller: &Caller, submits: bool) -> Response {
    if let Some(Of(value)) = response.extensions_mut().remove() {
        response.headers_mut().insert(ANSWERED, value);
        return response;
    }
    let task = |response: &Response| response.headers().get(TASK_HEADER)?.to_str().ok()?.parse::<TaskId>().ok();
    if submits && let Some(task) = task(&response) {
        let begun = || edge.sampling.begin(task).unwrap_or_else(|| Trace::begun(task));
        let trace = caller.trace().cloned().unwrap_or_else(begun);
        response.headers_mut().insert(ANSWERED, value(&trace, task));
    }
    response
}

#[derive(Deserialize)]
struct TraceQuery {
    tenant: Option<String>,
}

/// A task's story so far.
pub(super) async fn trace(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
    raw: RawQuery,
) -> Result<Response, Refusal> {
    let asked: TraceQuery = query(raw)?;
    let task = find_of(&edge, &caller, asked.tenant.as_deref(), &id).await?;
    let mut story = Story::new(&task);
    each_event(&*edge.log, task.at().log(), |event| story.hear(event)).await?;
    let now = edge.clock.now().as_micros();
    let trace = task.trace();
    let spans = story.tell();
    // The log may have ended since the record was read.
    let state = match spans.first().filter(|root| root.end.is_some()) {
        Some(root) => state_of(root),
        None => task.state.name(),
    };
    let view = TraceView {
        task: task.id.to_string(),
        state: state.to_owned(),
        trace_id: trace.id.to_string(),
        parent_id: trace.parent.map(|parent| parent.to_string()),
        sampled: trace.sampled,
        now_us: now,
        spans: spans.iter().map(|span| view(span, now)).collect(),
    };
    Ok(([task_header(task.id)], Json(view)).into_response())
}

fn state_of(root: &Span) -> &'static str {
    use tidewire_core::State;
    use tidewire_core::trace::Status;
    match root.status {
        Status::Error => State::Failed.name(),
        Status::Stopped => State::Stopped.name(),
        _ => State::Done.name(),
    }
}

fn view(span: &Span, now: u64) -> SpanView {
    let (start, end) = (span.start.as_micros(), span.end.map(Timestamp::as_micros));
    let json = |value: &Value| match value {
        Value::Text(text) => text.as_str().into(),
        Value::Count(count) => (*count).into(),
        Value::Number(number) => (*number).into(),
        Value::Flag(flag) => (*flag).into(),
        Value::List(list) => list.clone().into(),
    };
    SpanView {
        id: span.id.to_string(),
        parent: span.parent.map(|parent| parent.to_string()),
        part: span.part.name().to_owned(),
        name: span.name.clone(),
        offset: span.offset.0,
        start_us: start,
        end_us: end,
        duration_us: end.unwrap_or(now).saturating_sub(start),
        status: span.status.name().to_owned(),
        message: span.message.clone(),
        attributes: span.attributes.iter().map(|(name, value)| ((*name).to_owned(), json(value))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn asked(headers: &[(HeaderName, &'static str)]) -> Option<Trace> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        asked_in(&map)
    }

    #[test]
    fn two_parents_are_none_and_two_states_are_one_list() {
        let both = asked(&[(PARENT, GOOD), (STATE, "a=1"), (STATE, "b=2")]).unwrap();
        assert_eq!(both.state.as_deref(), Some("a=1,b=2"));
        assert!(asked(&[(PARENT, GOOD), (PARENT, GOOD)]).is_none());
        assert!(asked(&[(STATE, "a=1")]).is_none());
        assert!(asked(&[]).is_none());
    }
}
