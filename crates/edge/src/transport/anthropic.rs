//! Anthropic's Messages, on transient tasks that stop when their caller leaves.

mod blocks;
mod fault;
mod message;
mod request;

pub(super) use fault::Fault;

use super::body;
use super::openai::fault::not_whole;
use super::openai::{self, collect, head::Head, leave::StopOnLeave, stream::streamed};
use crate::Edge;
use crate::admission::{Chat, admit_chat, cache_control};
use crate::allowance;
use crate::follow::{Follower, Resume};
use crate::identity::Caller;
use crate::submit::{Accepted, submit_chat};
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use message::Message;
use request::Asked;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::Event;
use tidewire_proto::Submission;

pub(super) async fn messages(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Fault> {
    let (head, body) = request.into_parts();
    let bytes = body::read(&edge, body).await?;
    let asked = Asked::read(&bytes, true)?;
    let chat = Chat::read(&asked.input).map_err(|error| body::refused(&asked.input, &error))?;
    let submission = Submission {
        durability: Some("transient".to_owned()),
        on_disconnect: Some("stop".to_owned()),
        // Its caller waits.
        priority: Some("interactive".to_owned()),
        cache: cache_control(&head.headers),
        ..Submission::default()
    };
    let accepted = submit_chat(&edge, &caller, submission, asked.input.clone().into(), &chat).await?;
    let leave = StopOnLeave::new(edge.clone(), vec![accepted.at()]);
    if !asked.stream {
        return whole(&edge, &accepted, leave).await;
    }
    let mut message = Message::new(&accepted.task);
    let opening = message.open();
    Ok(streamed(edge, &caller, &accepted, leave, true, opening, move |batch| message.write(batch)).await?)
}

async fn whole(edge: &Arc<Edge>, accepted: &Accepted, mut leave: StopOnLeave) -> Result<Response, Fault> {
    let follower = Follower::open(edge, accepted.at().log(), Resume::default(), Duration::ZERO).await?;
    let mut head = Head::new(&accepted.task, allowance::headers(&accepted.left));
    let mut message = Message::new(&accepted.task);
    let ending = collect::to_the_end(follower, &mut head, |event: &Event| message.hear(event)).await?;
    leave.stay(accepted.at());
    let whole = match not_whole(&ending) {
        Some(error) => Err(error),
        None => message.whole(&ending),
    };
    let headers = head.into_headers();
    match whole {
        Ok(message) => Ok((headers, Json(message)).into_response()),
        Err(error) => Err(openai::Fault::with(error, headers).into()),
    }
}

/// How many tokens a request has: admitted as if it were to be answered, and no more.
pub(super) async fn count_tokens(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    request: Request,
) -> Result<Json<Value>, Fault> {
    let bytes = body::read(&edge, request.into_body()).await?;
    let asked = Asked::read(&bytes, false)?;
    let chat = Chat::read(&asked.input).map_err(|error| body::refused(&asked.input, &error))?;
    let admitted = admit_chat(&edge, &caller, Submission::default(), asked.input.clone().into(), &chat).await?;
    let spec = &admitted.task.spec;
    let exact = edge.counter.exact(&spec.model, &asked.input);
    Ok(Json(json!({ "input_tokens": exact.unwrap_or(spec.reserved.input_tokens) })))
}
