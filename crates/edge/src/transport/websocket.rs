//! `GET /v1/ws`: many tasks and logs over one connection.
//!
//! A connection is one task of the runtime with a set of cursors. It reads a log only when the socket has taken
//! what was written before, so a slow client holds no events here.

mod answers;
pub(super) mod connection;
pub(super) mod cursors;
pub(super) mod native;
pub(super) mod standings;

use crate::Edge;
use crate::identity::Caller;
use crate::refusal::Refusal;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use connection::{Connection, Dialect};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper_util::rt::TokioIo;
use native::Native;
use std::sync::Arc;
use tidewire_proto::Code;
use tokio_websockets::{Config, Limits, ServerBuilder};
use tracing::Instrument;

/// RFC 6455, section 1.3.
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A frame of up to so many times the limit is read, answered with `too_large`, and the connection lives on.
const HARD_LIMIT_FACTOR: usize = 4;

pub(super) async fn upgrade(
    State(edge): State<Arc<Edge>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Refusal> {
    open(edge, &caller, request, Native::new)
}

/// Opens a connection on which this dialect is spoken.
pub(super) fn open<D: Dialect + 'static>(
    edge: Arc<Edge>,
    caller: &Caller,
    mut request: Request,
    dialect: impl FnOnce(Arc<Edge>, Caller) -> D + Send + 'static,
) -> Result<Response, Refusal> {
    let key = handshake(request.headers())?;
    if edge.closing.is_cancelled() {
        return Err(Refusal::shutting_down());
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let limits = Limits::default().max_payload_len(Some(edge.limits.body_bytes.saturating_mul(HARD_LIMIT_FACTOR)));
    let tracker = edge.tracker.clone();
    // Each submit names its own trace: that of the handshake is over long before most of them. Its name in the log stays.
    let caller = caller.in_trace(None);
    let span = tracing::Span::current();
    let serving = async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => return tracing::debug!(%error, "the client left during the handshake"),
        };
        // Taking a frame never waits for the socket. Else a connection would hear nothing, not even a shutdown,
        // while a slow client's last batch and the frame after it are written.
        let config = Config::default().flush_threshold(usize::MAX);
        let socket = ServerBuilder::new().config(config).limits(limits).serve(TokioIo::new(upgraded));
        let dialect = dialect(edge.clone(), caller.clone());
        Connection::new(edge, caller, socket, dialect).serve().await;
    };
    tracker.spawn(serving.instrument(span));
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (HeaderName::from_static("sec-websocket-accept"), accept(&key)),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// The client's key, where the request is a WebSocket handshake (RFC 6455, section 4.2.1).
fn handshake(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let has = |name: HeaderName, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    let key = headers.get("sec-websocket-key").filter(|key| key.len() == 24);
    let version = headers.get("sec-websocket-version").is_some_and(|version| version == "13");
    match key {
        Some(key) if version && has(header::UPGRADE, "websocket") && has(header::CONNECTION, "upgrade") => {
            Ok(key.clone())
        }
        _ => Err(Refusal::new(Code::InvalidRequest, "this path takes a WebSocket handshake, version 13")),
    }
}

fn accept(key: &HeaderValue) -> HeaderValue {
    let mut digest = sha1_smol::Sha1::new();
    digest.update(key.as_bytes());
    digest.update(MAGIC);
    let accept = base64::engine::general_purpose::STANDARD.encode(digest.digest().bytes());
    // Base 64 is plain ASCII.
    HeaderValue::from_str(&accept).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_that_of_the_rfc() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
