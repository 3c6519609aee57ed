//! `POST /v1/backup`: a backup of the data, streamed while the server goes on. A POST, because a browser sends the
//! page's origin with it, and the guard refuses other sites' pages.

use super::Operations;
use crate::wiring::store::Backup;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::Unavailable;
use tidewire_proto::{Code, ErrorBody, WireError};
use tokio::sync::mpsc;

/// What `content-type` says.
const KIND: &str = "application/vnd.tidewire.backup";
/// Pieces that wait for the client: of 256 KiB each, enough to read one while another is sent.
const AHEAD: usize = 2;
/// A client that takes nothing for so long has gone: a backup keeps what is deleted from being freed.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) async fn backup(State(operations): State<Arc<Operations>>) -> Response {
    let backup = match operations.engines.backup().await {
        Some(Ok(backup)) => backup,
        Some(Err(error)) => return refused(Code::Unavailable, error.reason),
        None => return refused(Code::NotFound, "the engine `memory` keeps nothing that could be backed up".to_owned()),
    };
    let (pieces, taken) = mpsc::channel(AHEAD);
    operations.tracker.spawn(send(operations.clone(), backup, pieces));
    // Its last item is an error where the backup is not whole: the client sees the response break off.
    let body = stream::unfold(taken, async |mut taken| Some((taken.recv().await?, taken)));
    ([(header::CONTENT_TYPE, KIND), (header::CACHE_CONTROL, "no-store")], Body::from_stream(body)).into_response()
}

async fn send(operations: Arc<Operations>, mut backup: Backup, pieces: mpsc::Sender<Result<Bytes, Unavailable>>) {
    let mut bytes = 0;
    tracing::info!("a backup begins");
    while let Some(piece) = backup.next().await {
        bytes += piece.as_ref().map_or(0, Bytes::len);
        if let Err(error) = &piece {
            tracing::error!(%error, bytes, "the backup broke off");
        }
        let taken = tokio::select! {
            taken = pieces.send(piece) => taken.is_ok(),
            () = operations.clock.sleep(PATIENCE) => false,
            () = operations.closing.cancelled() => false,
        };
        if !taken {
            tracing::warn!(bytes, "the backup was not taken to its end");
            // Not a clean end of the response: the client must not take it for the end of the backup.
            let _ = pieces.try_send(Err(Unavailable::new("the backup was not taken in time")));
            return;
        }
    }
    tracing::info!(bytes, "the backup is made");
}

fn refused(code: Code, message: String) -> Response {
    let error = WireError::new(code, message);
    let status = http::StatusCode::from_u16(error.status()).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(ErrorBody { error })).into_response()
}
