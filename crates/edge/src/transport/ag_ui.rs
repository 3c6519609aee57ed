//! AG-UI: a run of an agent as its events over server-sent events, for its `HttpAgent` and the screens built on it.
//!
//! A thread is a lane, a run is a task. A run that is asked for again under its `runId` is the same task: it is told again
//! from its first event, which is how a client whose connection broke comes back.
//!
//! Protocol: <https://docs.ag-ui.com/concepts/events>.

mod request;
mod run;

use super::body;
use super::openai::Fault;
use super::openai::leave::StopOnLeave;
use super::openai::stream::streamed;
use super::parts::frames;
use crate::Edge;
use crate::admission::Chat;
use crate::identity::Caller;
use crate::submit::submit_chat;
use axum::extract::{Request, State};
use axum::response::Response;
use request::Asked;
use run::Run;
use std::sync::Arc;
use tidewire_core::OnDisconnect;

/// `POST /v1/ag-ui`: runs, or tells a run again.
pub(super) async fn run(State(edge): State<Arc<Edge>>, caller: Caller, request: Request) -> Result<Response, Fault> {
    let bytes = body::read(&edge, request.into_body()).await?;
    let asked = Asked::read(&bytes)?;
    let chat = Chat::read(&asked.input).map_err(|error| body::refused(&asked.input, &error))?;
    let accepted = submit_chat(&edge, &caller, asked.submission, asked.input.clone().into(), &chat).await?;
    let task = &accepted.task;
    // Whoever leaves may come back for the rest, unless it said that nobody will.
    let stops = task.spec.on_disconnect == OnDisconnect::Stop && !task.state.is_ended();
    let leave = StopOnLeave::new(edge.clone(), stops.then_some(task.at()).into_iter().collect());
    let mut run = Run::new(task, asked.about);
    let opening = frames(&run.open());
    streamed(edge, &caller, &accepted, leave, false, opening, move |batch| run.write(batch).into_sse(b"")).await
}
