//! `/v1/tasks`: submit, look, list, read the text, stop.

use super::body;
use super::view::{seen_by, view, whole};
use super::whose::whose_one;
use crate::Edge;
use crate::allowance;
use crate::feedback;
use crate::follow::{DEFAULT_WINDOW, Follower, Resume};
use crate::identity::{Caller, Scope};
use crate::refusal::Refusal;
use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::Filter;
use tidewire_core::{Kind, Task, TaskId, TaskRef};
use tidewire_proto::feedback::{Feedback, FeedbackSum};
use tidewire_proto::http::{Accepted, Ack, TaskList};
use tidewire_proto::{Code, Submission, TaskView};

/// The header that names the task an answer is about.
pub(super) const TASK_HEADER: HeaderName = HeaderName::from_static("tidewire-task");
const STATE_HEADER: HeaderName = HeaderName::from_static("tidewire-state");

pub(super) const DEFAULT_PAGE: usize = 20;
pub(super) const MAX_PAGE: usize = 100;

/// How long `/text` may wait: longer than most answers, shorter than most proxies' patience.
const MAX_TEXT_WAIT_MS: u64 = 300_000;

/// How much of a log is read at once for its text.
const TEXT_BYTES: usize = 1024 * 1024;

pub(super) fn task_header(id: TaskId) -> (HeaderName, HeaderValue) {
    // An id is letters and digits.
    let value = HeaderValue::from_str(&id.to_string()).unwrap_or(HeaderValue::from_static(""));
    (TASK_HEADER, value)
}

/// A task's address from a path; an id that can't be one is as unknown as one that never was.
pub(super) fn parse_id(caller: &Caller, id: &str) -> Result<TaskRef, Refusal> {
    let task = id.parse().map_err(|_| Refusal::unknown_task(id))?;
    Ok(TaskRef { tenant: caller.tenant, task })
}

/// Query parameters; unknown ones are passed over.
pub(super) fn query<T: for<'a> Deserialize<'a>>(RawQuery(query): RawQuery) -> Result<T, Refusal> {
    let uri = format!("/?{}", query.unwrap_or_default());
    let parsed = uri.parse().ok().and_then(|uri| axum::extract::Query::<T>::try_from_uri(&uri).ok());
    parsed.map(|query| query.0).ok_or_else(|| Refusal::new(Code::InvalidRequest, "a query parameter can't be read"))
}

pub(super) fn idempotency_header(headers: &http::HeaderMap) -> Result<Option<String>, Refusal> {
    let key = headers.get("idempotency-key").map(|key| key.to_str().map(str::to_owned)).transpose();
    key.map_err(|_| Refusal::new(Code::InvalidRequest, "`Idempotency-Key` must be plain text"))
}

pub(super) async fn submit(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let bytes = body::read(&edge, body).await?;
    let mut submission: Submission = body::json(&bytes)?;
    if let Some(key) = idempotency_header(&parts.headers)? {
        submission.idempotency_key = Some(key);
    }
    let accepted = crate::submit::submit(&edge, &caller, submission).await?;
    Ok(acknowledged(&accepted))
}

/// The answer to a submit or a retry.
fn acknowledged(accepted: &crate::submit::Accepted) -> Response {
    let ack = accepted.ack();
    let status = if accepted.known { StatusCode::OK } else { StatusCode::ACCEPTED };
    let events_url = format!("/v1/tasks/{}/events?epoch={}", ack.task, ack.epoch);
    let Ack { task: id, log, epoch, state, place, wait_ms, .. } = ack;
    let body = Accepted { id, log, epoch, state, place, wait_ms, events_url };
    let left = allowance::headers(&accepted.left);
    let trace = axum::Extension(super::trace::Of::task(&accepted.task));
    (status, trace, left, [task_header(accepted.task.id)], Json(body)).into_response()
}

pub(super) async fn retry(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let dead = find(&edge, &caller, &id).await?;
    Ok(acknowledged(&crate::retry::retry(&edge, &caller, &dead).await?))
}

#[derive(Deserialize)]
struct GetQuery {
    input: Option<bool>,
    tenant: Option<String>,
}

pub(super) async fn get(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
    raw: RawQuery,
) -> Result<Response, Refusal> {
    let asked: GetQuery = query(raw)?;
    let task = find_of(&edge, &caller, asked.tenant.as_deref(), &id).await?;
    let own = task.tenant == caller.tenant;
    if asked.input == Some(true) && !own {
        return Err(others_text());
    }
    let seen = if asked.input == Some(true) { whole(&edge, &task) } else { seen_by(&edge, &caller, &task) };
    let feedback = sum(&feedback::list(&edge, task.at()).await?);
    Ok(([task_header(task.id)], Json(TaskView { feedback, ..seen })).into_response())
}

#[allow(clippy::cast_precision_loss, reason = "there are at most twenty")]
fn sum(feedback: &[Feedback]) -> Option<FeedbackSum> {
    let count = feedback.len() as u64;
    let score = feedback.iter().map(|feedback| feedback.score).sum::<f64>() / count as f64;
    (count > 0).then_some(FeedbackSum { count, score })
}

/// A task of the caller's own tenant.
pub(super) async fn find(edge: &Edge, caller: &Caller, id: &str) -> Result<Task, Refusal> {
    find_of(edge, caller, None, id).await
}

/// Whoever may look at another tenant's tasks still reads none of its texts.
pub(super) fn others_text() -> Refusal {
    Refusal::new(Code::Forbidden, "a tenant's texts are its own: `input` is for its own tasks")
}

/// A task of this tenant, where the caller may look at it. A shadow is an operator's matter: to others there is none.
pub(super) async fn find_of(edge: &Edge, caller: &Caller, tenant: Option<&str>, id: &str) -> Result<Task, Refusal> {
    let at = TaskRef { tenant: whose_one(edge, caller, tenant)?, ..parse_id(caller, id)? };
    let hidden = |task: &Task| task.spec.origin.shadow_of.is_some() && caller.require(Scope::AdminRead).is_err();
    edge.tasks.get(at).await?.filter(|task| !hidden(task)).ok_or_else(|| Refusal::unknown_task(id))
}

/// What a task's request came to on another route, newest first.
pub(super) async fn shadows(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<TaskList>, Refusal> {
    let first = find(&edge, &caller, &id).await?;
    let filter =
        Filter { tenant: Some(caller.tenant), shadow_of: Some(first.id), limit: MAX_PAGE, ..Filter::default() };
    let page = edge.tasks.list(&filter).await?;
    Ok(Json(TaskList { tasks: page.tasks.iter().map(|task| view(&edge, task)).collect(), next: None }))
}

fn shown(edge: &Edge, task: &Task) -> Response {
    ([task_header(task.id)], Json(view(edge, task))).into_response()
}

pub(super) async fn stop(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let at = parse_id(&caller, &id)?;
    let task = crate::stop::stop(&edge, at).await?;
    Ok(shown(&edge, &task))
}

#[derive(Deserialize)]
struct TextQuery {
    wait_ms: Option<u64>,
}

pub(super) async fn text(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
    raw: RawQuery,
) -> Result<Response, Refusal> {
    let at = parse_id(&caller, &id)?;
    let asked: TextQuery = query(raw)?;
    let mut follower = Follower::open(&edge, at.log(), Resume::default(), DEFAULT_WINDOW)
        .await
        .map_err(|refusal| unknown_as_task(refusal, &id))?;
    let wait = Duration::from_millis(asked.wait_ms.unwrap_or(0).min(MAX_TEXT_WAIT_MS));
    let mut patience = edge.clock.sleep(wait);
    let (mut text, mut end) = (String::new(), caller.end(&*edge.clock));
    loop {
        let batch = follower.page(TEXT_BYTES).await?;
        let caught_up = batch.events.is_empty() || follower.cursor.next >= follower.tail;
        for event in &batch.events {
            match event.kind {
                Kind::Text => text.push_str(&String::from_utf8_lossy(&event.data)),
                // An attempt takes back the whole answer or nothing.
                Kind::Rewind => text.clear(),
                _ => {}
            }
        }
        if batch.over {
            break;
        }
        if caught_up {
            tokio::select! {
                () = follower.news() => {}
                () = &mut patience => break,
                over = end.wait() => return Err(over.into()),
            }
        }
    }
    let task = find(&edge, &caller, &id).await?;
    let state = HeaderValue::from_static(task.state.name());
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    let headers = [task_header(task.id), (STATE_HEADER, state), (header::CONTENT_TYPE, kind)];
    Ok((headers, text).into_response())
}

/// On a task's own path a missing log is a missing task.
pub(super) fn unknown_as_task(refusal: Refusal, id: &str) -> Refusal {
    if refusal.0.code == Code::UnknownLog.as_str() { Refusal::unknown_task(id) } else { refusal }
}
