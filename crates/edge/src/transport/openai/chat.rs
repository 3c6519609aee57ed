//! `POST /v1/chat/completions`.

use super::choices::{self, Choices};
use super::collect;
use super::fault::Fault;
use super::leave::StopOnLeave;
use crate::Edge;
use crate::admission::{Chat, cache_control};
use crate::follow::{Follower, Resume};
use crate::identity::Caller;
use crate::refusal::Refusal;
use crate::submit::{Accepted, submit_chat};
use crate::transport::body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tidewire_proto::{Code, Submission};

/// How many answers one request may ask for: each is a task of its own.
const MAX_CHOICES: u32 = 16;

/// A longer request takes most of the buffer that it lies in anyway.
const COPIED_BYTES: usize = 64 * 1024;

/// `true` makes the answer public: see `/v1/public/{id}`.
const PUBLIC: HeaderName = HeaderName::from_static("tidewire-public");

/// `continue` keeps the task running when its caller leaves; it can be followed by its id.
const ON_DISCONNECT: HeaderName = HeaderName::from_static("tidewire-on-disconnect");

pub(crate) async fn chat(State(edge): State<Arc<Edge>>, caller: Caller, request: Request) -> Result<Response, Fault> {
    let (head, body) = request.into_parts();
    let bytes = body::read(&edge, body).await?;
    let chat = Chat::read(&bytes).map_err(|error| body::refused(&bytes, &error))?;
    chat.check()?;
    let (streams, include_usage) = (chat.streams()?, chat.includes_usage()?);
    let asked = chat.choices(MAX_CHOICES)?;
    let stays = goes_on_without_caller(&head.headers)?;
    let input = if asked > 1 { for_one_answer(&bytes)? } else { owned(&bytes) };
    let terms = Terms { stays, public: is_public(&head.headers)?, cache: cache_control(&head.headers) };
    let accepted = submitted(&edge, &caller, &input, &chat, asked, terms).await?;
    let to_stop = if stays { Vec::new() } else { accepted.iter().map(Accepted::at).collect() };
    let leave = StopOnLeave::new(edge.clone(), to_stop);
    let mut followers = Vec::with_capacity(accepted.len());
    for one in &accepted {
        // No window: OpenAI's clients expect a chunk a token, and what piles up is sent at once anyway.
        followers.push(Follower::open(&edge, one.at().log(), Resume::default(), Duration::ZERO).await?);
    }
    if streams {
        let choices = Choices::new(&accepted, followers, leave, include_usage);
        let none = || Refusal::new(Code::Internal, "no answer was asked for");
        choices::streamed(edge, &caller, choices.ok_or_else(none)?).await
    } else {
        collect::whole(&accepted, followers, leave).await
    }
}

/// What a caller's headers ask for beside OpenAI's own fields.
#[derive(Clone)]
struct Terms {
    /// The task goes on when its caller leaves.
    stays: bool,
    /// Anybody may read the answer.
    public: bool,
    /// What it takes of kept answers.
    cache: Option<String>,
}

/// Takes one task for each answer that is wanted. Where one of them is refused, those before it stop.
async fn submitted(
    edge: &Arc<Edge>,
    caller: &Caller,
    input: &Bytes,
    chat: &Chat<'_>,
    asked: u32,
    Terms { stays, public, cache }: Terms,
) -> Result<Vec<Accepted>, Fault> {
    let mut accepted = Vec::with_capacity(asked as usize);
    for _ in 0..asked {
        let submission = Submission {
            durability: Some("transient".to_owned()),
            on_disconnect: Some(if stays { "continue" } else { "stop" }.to_owned()),
            // Its caller waits.
            priority: Some("interactive".to_owned()),
            public: public.then_some(true),
            cache: cache.clone(),
            ..Submission::default()
        };
        match submit_chat(edge, caller, submission, input.clone(), chat).await {
            Ok(one) => accepted.push(one),
            Err(refusal) => {
                drop(StopOnLeave::new(edge.clone(), accepted.iter().map(Accepted::at).collect()));
                return Err(refusal.into());
            }
        }
    }
    Ok(accepted)
}

/// A request's bytes to keep. Short ones are copied: they lie in their connection's read buffer, all of which would be
/// held as long as the task is.
pub(super) fn owned(bytes: &Bytes) -> Bytes {
    if bytes.len() <= COPIED_BYTES { Bytes::copy_from_slice(bytes) } else { bytes.clone() }
}

/// The request without its `n`: each answer is a task, and no backend is asked for several.
fn for_one_answer(bytes: &Bytes) -> Result<Bytes, Refusal> {
    let refused = |error| body::refused(bytes, &error);
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(bytes).map_err(refused)?;
    fields.remove("n");
    serde_json::to_vec(&fields).map(Bytes::from).map_err(refused)
}

fn is_public(headers: &HeaderMap) -> Result<bool, Refusal> {
    match headers.get(PUBLIC).map(http::HeaderValue::as_bytes) {
        None | Some(b"false") => Ok(false),
        Some(b"true") => Ok(true),
        Some(_) => {
            Err(Refusal::new(Code::InvalidRequest, "the header `tidewire-public` is `true` or `false` (the default)"))
        }
    }
}

fn goes_on_without_caller(headers: &HeaderMap) -> Result<bool, Refusal> {
    match headers.get(ON_DISCONNECT).map(http::HeaderValue::as_bytes) {
        None | Some(b"stop") => Ok(false),
        Some(b"continue") => Ok(true),
        Some(_) => {
            let message = "the header `tidewire-on-disconnect` is `stop` (the default) or `continue`";
            Err(Refusal::new(Code::InvalidRequest, message))
        }
    }
}
