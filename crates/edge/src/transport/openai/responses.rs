//! `/v1/responses`: OpenAI's Responses, each a task whose request is said once in chat JSON. Its events are a fixed
//! projection of the task's log; its id is the task's.

mod echo;
mod items;
mod object;
mod projection;
mod reader;
mod request;

use super::chat::owned;
use super::fault::{Fault, not_whole};
use super::head::Head;
use super::leave::StopOnLeave;
use super::stream::{answer, streamed};
use crate::Edge;
use crate::admission::{Chat, cache_control};
use crate::allowance;
use crate::follow::{Follower, Resume};
use crate::identity::Caller;
use crate::refusal::Refusal;
use crate::submit::{Accepted, submit_chat};
use crate::transport::body;
use crate::transport::events::{HEARTBEAT, Waits, sse};
use crate::transport::tasks::{idempotency_header, query, task_header};
use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::HeaderMap;
use object::{About, Kept};
use reader::{Reader, fold};
use request::Asked;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::{Event, Outcome, Task, TaskRef};
use tidewire_proto::{Code, Submission};

/// The most input items of a page, and how many there are unless a client asks: OpenAI's numbers.
const MAX_PAGE: usize = 100;
const DEFAULT_PAGE: usize = 20;

pub(crate) async fn create(State(edge): State<Arc<Edge>>, caller: Caller, request: Request) -> Result<Response, Fault> {
    let (head, body) = request.into_parts();
    let bytes = body::read(&edge, body).await?;
    let asked = Asked::read(&bytes)?;
    let (input, kept) = translated(&edge, &caller, &asked).await?;
    let accepted = submitted(&edge, &caller, &head.headers, &asked, input, &kept).await?;
    let about = Arc::new(About::new(&accepted.task, &kept));
    let to_stop = if asked.background { Vec::new() } else { vec![accepted.at()] };
    let leave = StopOnLeave::new(edge.clone(), to_stop);
    match (asked.stream, asked.background) {
        (true, background) => {
            let mut reader = Reader::of_new(about);
            let opening = reader.open();
            streamed(edge, &caller, &accepted, leave, !background, opening, move |batch| reader.write(batch)).await
        }
        (false, true) => {
            let head = Head::new(&accepted.task, allowance::headers(&accepted.left));
            let now = fold(&edge, accepted.at().log(), about, |_| {}).await?;
            Ok((head.into_headers(), Json(now.object())).into_response())
        }
        (false, false) => whole(&edge, &accepted, about, leave).await,
    }
}

/// The chat JSON, after what was said in the responses before this one; and what is kept of the request beside it.
async fn translated(edge: &Edge, caller: &Caller, asked: &Asked) -> Result<(Bytes, Kept), Refusal> {
    let before = match &asked.previous {
        Some(previous) => said_before(edge, caller, previous).await?,
        None => Vec::new(),
    };
    let input = asked.chat(&before);
    if input.len() > edge.limits.body_bytes {
        return Err(body::too_large(edge.limits.body_bytes));
    }
    let (own, instructed) = (asked.own.len(), asked.instructions.is_some());
    Ok((input.into(), Kept { response: asked.given.clone(), own, instructed }))
}

/// The messages of a response and of all before it, its answer the last one. Its instructions do not hold any more.
async fn said_before(edge: &Edge, caller: &Caller, id: &str) -> Result<Vec<Value>, Refusal> {
    let (task, kept) = find(edge, caller, id).await?;
    let unfinished = |state: &str| {
        let message = format!("the response `{id}` is {state}: only a finished one can be gone on with");
        Refusal::new(Code::InvalidRequest, message)
    };
    match task.ended.as_ref().map(|(_, ending)| ending.state) {
        Some(Outcome::Done) => {}
        _ => return Err(unfinished(task.state.name())),
    }
    let mut messages = messages(&task)?;
    if kept.instructed && !messages.is_empty() {
        messages.remove(0);
    }
    let about = Arc::new(About::new(&task, &kept));
    messages.push(fold(edge, task.at().log(), about, |_| {}).await.map_err(|refusal| expired(refusal, id))?.message());
    Ok(messages)
}

fn messages(task: &Task) -> Result<Vec<Value>, Refusal> {
    let chat: Value = serde_json::from_slice(&task.spec.input)
        .map_err(|_| Refusal::new(Code::Damaged, "the response's input can't be read"))?;
    Ok(chat["messages"].as_array().cloned().unwrap_or_default())
}

async fn submitted(
    edge: &Edge,
    caller: &Caller,
    headers: &HeaderMap,
    asked: &Asked,
    input: Bytes,
    kept: &Kept,
) -> Result<Accepted, Refusal> {
    let chat = Chat::read(&input).map_err(|error| body::refused(&input, &error))?;
    let key = idempotency_header(headers)?;
    // One key, one request: the key's hash is made of what stands in the submission.
    let keyed = key.as_ref().and_then(|_| serde_json::from_slice::<Box<RawValue>>(&input).ok());
    let submission = Submission {
        durability: Some(if asked.store { "durable" } else { "transient" }.to_owned()),
        on_disconnect: Some(if asked.background { "continue" } else { "stop" }.to_owned()),
        // Its caller waits.
        priority: (!asked.background).then(|| "interactive".to_owned()),
        metadata: asked.metadata.clone(),
        idempotency_key: key,
        input: keyed,
        face: serde_json::to_string(kept).ok(),
        cache: cache_control(headers),
        ..Submission::default()
    };
    submit_chat(edge, caller, submission, owned(&input), &chat).await
}

/// A request that is a line of a batch: its chat JSON, and what is kept beside it.
pub(super) async fn in_batch(edge: &Edge, caller: &Caller, body: &[u8]) -> Result<(Bytes, String), Refusal> {
    let asked = Asked::read(body)?;
    if asked.stream || asked.background {
        return Err(Refusal::new(
            Code::InvalidRequest,
            "a batch is in the background: leave `stream` and `background` out",
        ));
    }
    let (input, kept) = translated(edge, caller, &asked).await?;
    Ok((input, serde_json::to_string(&kept).unwrap_or_default()))
}

/// What the task that has ended would have been answered.
pub(super) async fn ended(edge: &Edge, task: &Task) -> Result<Box<RawValue>, Refusal> {
    let kept = Kept::of(task).ok_or_else(|| object::unknown(&object::id(task.id)))?;
    Ok(fold(edge, task.at().log(), Arc::new(About::new(task, &kept)), |_| {}).await?.object())
}

/// The response once it is whole.
async fn whole(
    edge: &Arc<Edge>,
    accepted: &Accepted,
    about: Arc<About>,
    mut leave: StopOnLeave,
) -> Result<Response, Fault> {
    let log = accepted.at().log();
    let follower = Follower::open(edge, log, Resume::default(), Duration::ZERO).await?;
    let mut head = Head::new(&accepted.task, allowance::headers(&accepted.left));
    let mut projection = projection::Projection::new(about);
    let hear = |event: &Event| projection.hear(event, &mut Vec::new());
    let ending = super::collect::to_the_end(follower, &mut head, hear).await?;
    leave.stay(accepted.at());
    if let Some(error) = not_whole(&ending) {
        return Err(Fault::with(error, head.into_headers()));
    }
    Ok((head.into_headers(), Json(projection.object())).into_response())
}

/// A response that can be looked at: one of this tenant's that came over this face and was stored.
async fn find(edge: &Edge, caller: &Caller, id: &str) -> Result<(Task, Kept), Refusal> {
    let unknown = || object::unknown(id);
    let task = TaskRef { tenant: caller.tenant, task: object::task(id).ok_or_else(unknown)? };
    let task = edge.tasks.get(task).await?.ok_or_else(unknown)?;
    let kept = Kept::of(&task).ok_or_else(unknown)?;
    Ok((task, kept))
}

/// On a response's own path a missing log is a missing response.
fn expired(refusal: Refusal, id: &str) -> Refusal {
    if refusal.0.code == Code::UnknownLog.as_str() { object::unknown(id) } else { refusal }
}

#[derive(Deserialize)]
struct GetQuery {
    stream: Option<bool>,
    starting_after: Option<u64>,
}

pub(crate) async fn get(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
    raw: RawQuery,
) -> Result<Response, Fault> {
    let asked: GetQuery = query(raw)?;
    let (task, kept) = find(&edge, &caller, &id).await?;
    let about = Arc::new(About::new(&task, &kept));
    let log = task.at().log();
    if asked.stream != Some(true) {
        let now = fold(&edge, log, about, |_| {}).await.map_err(|refusal| expired(refusal, &id))?;
        return Ok(([task_header(task.id)], Json(now.object())).into_response());
    }
    let follower = Follower::open(&edge, log, Resume::default(), Duration::ZERO).await;
    let follower = follower.map_err(|refusal| expired(refusal, &id))?;
    let mut reader = Reader::after(&edge, log, about, asked.starting_after).await?;
    let opening = reader.open();
    let rest = sse(edge, &caller, follower, Waits::untold(), move |batch| reader.write(batch));
    Ok(answer(HeaderMap::from_iter([task_header(task.id)]), opening.into(), Some(rest)))
}

pub(crate) async fn cancel(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let (task, kept) = find(&edge, &caller, &id).await?;
    if !matches!(kept.response.get("background"), Ok(Some(true))) {
        let message = "only a background response is cancelled; any other one stops when its connection closes";
        return Err(Refusal::new(Code::InvalidRequest, message).into());
    }
    let task = crate::stop::stop(&edge, task.at()).await?;
    let now = fold(&edge, task.at().log(), Arc::new(About::new(&task, &kept)), |_| {}).await?;
    Ok(([task_header(task.id)], Json(now.object())).into_response())
}

pub(crate) async fn remove(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Fault> {
    let (task, _) = find(&edge, &caller, &id).await?;
    let task = crate::stop::stop(&edge, task.at()).await?;
    if !task.state.is_ended() {
        let message = "the response is being stopped; delete it again in a moment";
        return Err(Refusal::new(Code::Unavailable, message).retry_after(HEARTBEAT).into());
    }
    let erased = edge.keeping.erase(task.at().log()).await;
    erased.map_err(|error| Refusal::new(Code::Unavailable, format!("the response could not be erased: {error}")))?;
    Ok(Json(json!({ "id": id, "object": "response", "deleted": true })).into_response())
}

#[derive(Deserialize)]
struct ItemsQuery {
    after: Option<String>,
    limit: Option<usize>,
    order: Option<String>,
}

/// What the request said itself; what the responses before it said is theirs.
pub(crate) async fn input_items(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(id): Path<String>,
    raw: RawQuery,
) -> Result<Json<Value>, Fault> {
    let asked: ItemsQuery = query(raw)?;
    let invalid = |message: String| Refusal::new(Code::InvalidRequest, message);
    let limit = asked.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(invalid(format!("`limit` is 1 to {MAX_PAGE}")).into());
    }
    let (task, kept) = find(&edge, &caller, &id).await?;
    let messages = messages(&task)?;
    let own = &messages[messages.len().saturating_sub(kept.own)..];
    let mut items = items::of_messages(own, &object::letters(task.id));
    match asked.order.as_deref() {
        None | Some("desc") => items.reverse(),
        Some("asc") => {}
        Some(other) => return Err(invalid(format!("`order` is `asc` or `desc`, not `{other}`")).into()),
    }
    if let Some(after) = asked.after {
        let place = items.iter().position(|item| item["id"] == after.as_str());
        let place = place.ok_or_else(|| invalid(format!("`after`: the response has no item `{after}`")))?;
        items.drain(..=place);
    }
    let has_more = items.len() > limit;
    items.truncate(limit);
    let id_of = |item: Option<&Value>| item.map(|item| item["id"].clone());
    let (first_id, last_id) = (id_of(items.first()), id_of(items.last()));
    Ok(Json(json!({ "object": "list", "data": items, "first_id": first_id, "last_id": last_id, "has_more": has_more })))
}
