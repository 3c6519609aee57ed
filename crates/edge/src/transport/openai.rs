//! OpenAI's chat completions, on a transient task that stops when its caller leaves.

mod chunks;
mod collect;

use super::body;
use super::events::{Waits, sse};
use super::tasks::task_header;
use crate::Edge;
use crate::admission::check_messages;
use crate::follow::{Follower, Resume};
use crate::refusal::Refusal;
use crate::stop::stop_after_disconnect;
use crate::submit::{Accepted, submit};
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use chunks::Chunks;
use http::{HeaderValue, header};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::{TaskRef, TenantId};
use tidewire_proto::{Code, Submission, WireError};

/// A fault, in OpenAI's shape.
pub(super) struct Fault(Refusal);

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

/// OpenAI's error object (<https://platform.openai.com/docs/guides/error-codes>).
fn error_object(error: &WireError) -> serde_json::Value {
    let kind = match error.status() {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    };
    serde_json::json!({ "error": { "message": error.message, "type": kind, "param": null, "code": error.code } })
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = (self.0.status(), Json(error_object(&self.0.0))).into_response();
        if let Some(value) = self.0.retry_after_header() {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }
}

/// What the face itself reads of a request; the rest is the backend's.
#[derive(Deserialize)]
struct ChatRequest<'a> {
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<u32>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

pub(super) async fn chat(State(edge): State<Arc<Edge>>, request: Request) -> Result<Response, Fault> {
    let bytes = body::read(&edge, request.into_body()).await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Refusal::new(Code::InvalidJson, "the body is no UTF-8"))?;
    let chat: ChatRequest<'_> = serde_json::from_str(text).map_err(|error| body::refused(&bytes, &error))?;
    if chat.n.is_some_and(|n| n != 1) {
        return Err(
            Refusal::new(Code::InvalidRequest, "`n` above 1 is not supported yet; send several requests").into()
        );
    }
    check_messages(text)?;
    let submission = Submission {
        model: chat.model.map(Cow::into_owned),
        input: RawValue::from_string(text.to_owned()).ok(),
        durability: Some("transient".to_owned()),
        on_disconnect: Some("stop".to_owned()),
        // Its caller waits.
        priority: Some("interactive".to_owned()),
        ..Submission::default()
    };
    let accepted = submit(&edge, TenantId::DEFAULT, submission).await?;
    let leave = StopOnLeave::new(edge.clone(), accepted.at());
    // No window: OpenAI's clients expect a chunk a token, and what piles up is sent at once anyway.
    let follower = Follower::open(&edge, accepted.at().log(), Resume::default(), Duration::ZERO).await?;
    let response = if chat.stream == Some(true) {
        let include_usage = chat.stream_options.and_then(|options| options.include_usage) == Some(true);
        streamed(edge, &accepted, follower, leave, include_usage)
    } else {
        collect::whole(&accepted, follower, leave).await?
    };
    Ok(([task_header(accepted.task.id)], response).into_response())
}

fn streamed(
    edge: Arc<Edge>,
    accepted: &Accepted,
    follower: Follower,
    mut leave: StopOnLeave,
    include_usage: bool,
) -> Response {
    let mut chunks = Chunks::new(&accepted.task, include_usage);
    let body = sse(edge, follower, Waits::untold(), move |batch| match batch {
        Ok(batch) => {
            if batch.over {
                leave.stay();
            }
            chunks.write(batch)
        }
        Err(error) => chunks::refused(error),
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Body::from_stream(body)).into_response()
}

/// Stops the task when the response is dropped before its end: the caller has left.
struct StopOnLeave {
    edge: Arc<Edge>,
    task: Option<TaskRef>,
}

impl StopOnLeave {
    fn new(edge: Arc<Edge>, task: TaskRef) -> Self {
        Self { edge, task: Some(task) }
    }

    /// The task has ended: nothing to stop.
    fn stay(&mut self) {
        self.task = None;
    }
}

impl Drop for StopOnLeave {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            let edge = self.edge.clone();
            self.edge.tracker.spawn(async move { stop_after_disconnect(&edge, task).await });
        }
    }
}

pub(super) async fn models(State(edge): State<Arc<Edge>>) -> Json<serde_json::Value> {
    let model = |name| serde_json::json!({ "id": name, "object": "model", "created": 0, "owned_by": "tidewire" });
    let models: Vec<_> = edge.catalog.names().into_iter().map(model).collect();
    Json(serde_json::json!({ "object": "list", "data": models }))
}
