//! `POST /v1/follow`: many logs over one response, for those to whom WebSockets are blocked. A browser opens six connections to
//! a server that speaks HTTP/1.1, so a response for each log would leave none for the fifth.
//!
//! The frames are those of the WebSocket, one to each server-sent event. Whoever wants to follow other logs asks anew, from where
//! it stands.

use super::body;
use super::events::{HEARTBEAT, window};
use super::websocket::connection::{Dialect, Outbox};
use super::websocket::native::Native;
use crate::Edge;
use crate::identity::Caller;
use crate::refusal::Refusal;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderName, HeaderValue, header};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use tidewire_proto::{ClientFrame, Code, ServerFrame};

#[derive(Deserialize)]
struct Asked {
    logs: Vec<Place>,
    window_ms: Option<u64>,
}

/// A log, and the last event of it that was seen.
#[derive(Deserialize)]
struct Place {
    log: String,
    after: Option<u64>,
    epoch: Option<u32>,
}

pub(super) async fn follow(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Refusal> {
    let Asked { logs, window_ms } = body::json(&body::read(&edge, request.into_body()).await?)?;
    window(window_ms)?;
    if logs.is_empty() {
        return Err(Refusal::new(Code::InvalidRequest, "`logs` names the logs to follow: at least one"));
    }
    if edge.closing.is_cancelled() {
        return Err(Refusal::shutting_down());
    }
    let (mut native, mut out) = (Native::new(edge.clone(), caller.clone()), Outbox::default());
    for Place { log, after, epoch } in logs {
        // Its own id, so that a refusal says which it is about.
        let reference = Some(log.clone());
        native.ask(ClientFrame::Follow { reference, log, after, epoch, window_ms }, &mut out);
    }
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx holds back a response that it may buffer.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(told(edge, &caller, native, out))).into_response())
}

/// What the logs say, until the last of them has ended, the caller's right ends, or the server closes: the client comes back.
fn told(
    edge: Arc<Edge>,
    caller: &Caller,
    native: Native,
    out: Outbox,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + use<> {
    let end = caller.end(&*edge.clock);
    stream::unfold(Some((edge, native, out, end)), async |state| {
        let (edge, mut native, mut out, mut end) = state?;
        let mut silence = edge.clock.sleep(HEARTBEAT);
        loop {
            if let Some(said) = frames(&mut out) {
                let goes_on = native.follows_any();
                return Some((Ok(said), goes_on.then_some((edge, native, out, end))));
            }
            tokio::select! {
                () = native.speak(true, &mut out) => {}
                () = &mut silence => {
                    return Some((Ok(Bytes::from_static(b":\n\n")), Some((edge, native, out, end))));
                }
                () = edge.closing.cancelled() => return None,
                over = end.wait() => {
                    out.say(&ServerFrame::Error { reference: None, error: Refusal::from(over).0 });
                    return frames(&mut out).map(|said| (Ok(said), None));
                }
            }
        }
    })
}

/// All that is to be said now, a server-sent event to each frame.
fn frames(out: &mut Outbox) -> Option<Bytes> {
    let mut bytes = Vec::new();
    while let Some(frame) = out.next() {
        for part in [b"data: ", frame.as_payload().as_ref(), b"\n\n"] {
            bytes.extend_from_slice(part);
        }
    }
    (!bytes.is_empty()).then(|| bytes.into())
}
