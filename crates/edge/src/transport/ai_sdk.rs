//! The AI SDK's chats: its UI message stream over server-sent events and over a WebSocket, so that `useChat` works unchanged.
//!
//! A chat's id is a lane: its tasks run one after another, and the one that runs is what a reader who comes back is given,
//! from its first word. A reader who leaves stops nothing; `stop` does, from wherever it comes.
//!
//! Protocol: <https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol>.

mod chunks;
mod request;
mod socket;

use super::body;
use super::events::{Waits, sse};
use super::openai::Fault;
use super::openai::leave::StopOnLeave;
use super::openai::stream::{answer, streamed};
use super::parts::frames;
use super::tasks::task_header;
use super::websocket;
use crate::Edge;
use crate::admission::Chat;
use crate::follow::{Follower, Resume};
use crate::identity::Caller;
use crate::refusal::Refusal;
use crate::stop::request_stop;
use crate::submit::{Accepted, submit_chat};
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use chunks::Chunks;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use request::Asked;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::Task;

/// Says which protocol a stream is in.
const PROTOCOL: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-vercel-ai-ui-message-stream"), HeaderValue::from_static("v1"));

/// What the protocol ends a stream with.
const LAST: &[u8] = b"data: [DONE]\n\n";

/// `POST /v1/ai-sdk/chat`: a message is sent, or an answer made anew.
pub(super) async fn chat(State(edge): State<Arc<Edge>>, caller: Caller, request: Request) -> Result<Response, Fault> {
    let bytes = body::read(&edge, request.into_body()).await?;
    let accepted = submitted(&edge, &caller, Asked::read(&bytes)?).await?;
    let mut chunks = Chunks::new(&accepted.task);
    let opening = frames(&chunks.open());
    // Whoever leaves comes back for the rest: nothing stops. The head waits for no word, for a failure is a chunk, too.
    let leave = StopOnLeave::new(edge.clone(), Vec::new());
    let write = move |batch: Result<&_, &_>| chunks.write(batch).into_sse(LAST);
    let mut response = streamed(edge, &caller, &accepted, leave, false, opening, write).await?;
    response.headers_mut().extend([PROTOCOL]);
    Ok(response)
}

/// `GET /v1/ai-sdk/chat/{chat}/stream`: what is being answered, from its first word; 204 where nothing is.
pub(super) async fn resume(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(chat): Path<String>,
) -> Result<Response, Fault> {
    let Some(task) = active(&edge, &caller, &chat).await? else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let follower = Follower::open(&edge, task.at().log(), Resume::default(), Duration::ZERO).await?;
    let mut chunks = Chunks::new(&task);
    let opening = frames(&chunks.open());
    let headers = HeaderMap::from_iter([task_header(task.id), PROTOCOL]);
    let rest = sse(edge, &caller, follower, Waits::untold(), move |batch| chunks.write(batch).into_sse(LAST));
    Ok(answer(headers, opening.into(), Some(rest)))
}

/// `POST /v1/ai-sdk/chat/{chat}/stop`: stops what is being answered, and what waits behind it.
pub(super) async fn stop(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    Path(chat): Path<String>,
) -> Result<Json<Value>, Fault> {
    let tasks = edge.queue.lane(caller.tenant, &chat.as_str().into());
    for task in &tasks {
        request_stop(&edge, *task).await?;
    }
    let stopped: Vec<String> = tasks.iter().map(|task| task.task.to_string()).collect();
    Ok(Json(json!({ "stopped": stopped })))
}

/// `GET /v1/ai-sdk/ws`: the same over a WebSocket, for its `WebSocketChatTransport`.
pub(super) async fn upgrade(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Refusal> {
    websocket::open(edge, &caller, request, socket::Chats::new)
}

async fn submitted(edge: &Edge, caller: &Caller, asked: Asked) -> Result<Accepted, Refusal> {
    let chat = Chat::read(&asked.input).map_err(|error| body::refused(&asked.input, &error))?;
    submit_chat(edge, caller, asked.submission, asked.input.clone().into(), &chat).await
}

/// The task of a chat that is being answered, or is the next to be.
async fn active(edge: &Edge, caller: &Caller, chat: &str) -> Result<Option<Task>, Refusal> {
    let lane = edge.queue.lane(caller.tenant, &chat.into());
    let Some(first) = lane.first().copied() else { return Ok(None) };
    Ok(edge.tasks.get(first).await?.filter(|task| !task.state.is_ended()))
}
