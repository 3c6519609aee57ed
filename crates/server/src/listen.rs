//! Accepts connections, bounded in number, in header size and in patience.

use crate::telemetry::Metrics;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a request's headers may take to arrive, and a kept connection may be silent between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// A request's headers in all.
const HEADER_BYTES: usize = 16 * 1024;

/// A request's headers in number.
const MAX_HEADERS: usize = 100;

/// How long to wait when the system gives no connection: it is out of descriptors, and some will close.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `closing`; each connection is a task of `tracker`.
pub(crate) async fn listen(
    listener: TcpListener,
    router: Router,
    metrics: Arc<Metrics>,
    bound: usize,
    tracker: TaskTracker,
    closing: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(bound.min(Semaphore::MAX_PERMITS)));
    loop {
        let next = async {
            let place = room.clone().acquire_owned().await.ok()?;
            Some((place, listener.accept().await))
        };
        let accepted = tokio::select! {
            () = closing.cancelled() => return,
            accepted = next => accepted,
        };
        match accepted {
            Some((place, Ok((stream, _)))) => {
                let serving = serve(stream, router.clone(), closing.clone());
                let metrics = metrics.clone();
                tracker.spawn(async move {
                    metrics.connected();
                    serving.await;
                    metrics.disconnected();
                    drop(place);
                });
            }
            Some((_, Err(error))) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
            None => return,
        }
    }
}

async fn serve(stream: TcpStream, router: Router, closing: CancellationToken) {
    // Without it each small frame would wait for the ack of the one before: 40 ms a token.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke off");
    }
}
