//! Accepts connections, bounded in number, in header size and in patience.

use crate::Edge;
use crate::identity::Peer;
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::Measurement;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How long a request's headers may take to arrive, and a kept connection may be silent between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// A request's headers in all.
const HEADER_BYTES: usize = 16 * 1024;

/// A request's headers in number.
const MAX_HEADERS: usize = 100;

/// How long to wait when the system gives no connection: it is out of descriptors, and some will close.
const PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from: the system's TCP, or a network that a simulation makes up.
pub trait Listener: Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one. Dropping the future loses none.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Io>> + Send;

    /// Where a connection comes from, where the network tells.
    fn peer(_: &Self::Io) -> Option<SocketAddr> {
        None
    }
}

impl Listener for TcpListener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<TcpStream> {
        let (stream, _) = Self::accept(self).await?;
        // Without it each small frame would wait for the ack of the one before: 40 ms a token.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        Ok(stream)
    }

    fn peer(stream: &TcpStream) -> Option<SocketAddr> {
        stream.peer_addr().ok()
    }
}

/// Accepts until the edge closes, at most `bound` connections at once; each is a task of the edge's tracker.
pub async fn listen<L: Listener>(mut listener: L, router: Router, edge: Arc<Edge>, bound: usize) {
    let room = Arc::new(Semaphore::new(bound.min(Semaphore::MAX_PERMITS)));
    loop {
        let next = async {
            let place = room.clone().acquire_owned().await.ok()?;
            Some((place, listener.accept().await))
        };
        let accepted = tokio::select! {
            () = edge.closing.cancelled() => return,
            accepted = next => accepted,
        };
        match accepted {
            Some((place, Ok(stream))) => {
                let peer = L::peer(&stream).map(Peer);
                let serving = serve(stream, peer, router.clone(), edge.closing.clone());
                let meter = edge.meter.clone();
                edge.tracker.spawn(async move {
                    meter.record(Measurement::Connected);
                    serving.await;
                    meter.record(Measurement::Disconnected);
                    drop(place);
                });
            }
            Some((_, Err(error))) => {
                tracing::warn!(%error, "a connection could not be accepted");
                edge.clock.sleep(PAUSE).await;
            }
            None => return,
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Option<Peer>,
    router: Router,
    closing: CancellationToken,
) {
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        service.call(request)
    });
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
