//! One WebSocket: made, written to without waiting, read until it is cut.

use crate::endpoint::Endpoint;
use crate::error::ConnectError;
use futures_util::{SinkExt, StreamExt};
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_websockets::{
    ClientBuilder, Config, Connector, Error, Limits, MaybeTlsStream, Message, WebSocketStream, upgrade,
};

/// How long a connection and its handshake may take. A loaded server on the other side of the world needs 2 s.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long the server may take to answer a close, before the socket is dropped.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
/// The longest frame that is read: well over the largest page of events that a server sends (1 MiB).
const MAX_FRAME_BYTES: usize = 16 << 20;

pub(crate) struct Socket {
    /// Boxed, because with TLS in it the type has 1.3 KB, and every future that holds a socket would copy it.
    stream: Box<WebSocketStream<Pipe>>,
}

/// Why a socket is of no more use.
#[derive(Debug)]
pub(crate) enum Cut {
    Closed { code: u16, reason: String },
    Broken(String),
}

impl Cut {
    fn from_error(error: &Error) -> Self {
        match error {
            // Our own codec refused the frame, and told the server so: the same would happen again.
            Error::Protocol(what) => Self::Closed { code: 1002, reason: what.to_string() },
            Error::PayloadTooLong { .. } => Self::Closed { code: 1009, reason: error.to_string() },
            other => Self::Broken(other.to_string()),
        }
    }
}

impl Socket {
    pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Self, ConnectError> {
        let url = || endpoint.url().to_owned();
        match timeout(CONNECT_LIMIT, handshake(endpoint)).await {
            Err(_) => Err(ConnectError::TimedOut { url: url(), limit: CONNECT_LIMIT }),
            Ok(Ok(stream)) => Ok(Self { stream: Box::new(stream) }),
            Ok(Err(error)) => Err(connect_error(error, url())),
        }
    }

    /// Takes a frame. It goes out with the next [`Socket::next`]: writing never waits, so that a server which
    /// waits for us to read, while we wait for it to read, can't hold both for ever. The session bounds how
    /// many frames there are.
    pub(crate) async fn queue(&mut self, frame: String) -> Result<(), Cut> {
        self.stream.feed(Message::text(frame)).await.map_err(|error| Cut::from_error(&error))
    }

    /// The next message; `None` is a ping or pong, and says that the server lives.
    ///
    /// Cancel safe: a frame that was not given out stays in the buffer.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>, Cut> {
        match self.stream.next().await {
            Some(Ok(message)) if message.is_text() => Ok(Some(message)),
            Some(Ok(message)) => match message.as_close() {
                Some((code, reason)) => Err(Cut::Closed { code: code.into(), reason: reason.to_owned() }),
                None => Ok(None),
            },
            Some(Err(error)) => Err(Cut::from_error(&error)),
            None => Err(Cut::Broken("the connection was cut".to_owned())),
        }
    }

    /// Says goodbye.
    pub(crate) async fn close(mut self) {
        // Whether the server heard it makes no difference: the socket is dropped.
        let _ = timeout(CLOSE_LIMIT, self.stream.close()).await;
    }
}

/// A connection to a server, encrypted where its address says so.
pub type Pipe = MaybeTlsStream<TcpStream>;

/// Connects, for those who speak a protocol of their own over it.
pub async fn pipe(endpoint: &Endpoint) -> io::Result<Pipe> {
    let piped =
        timeout(CONNECT_LIMIT, try_pipe(endpoint)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
    piped.map_err(|error| match error {
        Error::Io(error) => error,
        other => io::Error::other(other.to_string()),
    })
}

async fn try_pipe(endpoint: &Endpoint) -> Result<Pipe, Error> {
    let stream = TcpStream::connect((endpoint.host(), endpoint.port())).await?;
    // Nagle's algorithm would hold a small frame for 40 ms.
    stream.set_nodelay(true)?;
    let connector = if endpoint.is_secure() { secure()? } else { Connector::Plain };
    connector.wrap(endpoint.host(), stream).await
}

async fn handshake(endpoint: &Endpoint) -> Result<WebSocketStream<Pipe>, Error> {
    let stream = try_pipe(endpoint).await?;
    // Never flush before a frame is queued: see `queue`.
    let config = Config::default().flush_threshold(usize::MAX);
    let limits = Limits::default().max_payload_len(Some(MAX_FRAME_BYTES));
    let mut builder = ClientBuilder::from_uri(endpoint.socket().clone()).config(config).limits(limits);
    if let Some(key) = endpoint.key() {
        builder = builder.add_header(http::header::AUTHORIZATION, key.clone()).map_err(io::Error::other)?;
    }
    Ok(builder.connect_on(stream).await?.0)
}

fn secure() -> Result<Connector, Error> {
    // An error says that the process has chosen its cryptography before us: that one serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Connector::new()
}

fn connect_error(error: Error, url: String) -> ConnectError {
    match error {
        Error::Io(source) if source.kind() == io::ErrorKind::ConnectionRefused => ConnectError::NoServer { url },
        Error::Io(source) => ConnectError::Unreachable { url, source },
        Error::Upgrade(upgrade::Error::DidNotSwitchProtocols(status)) => ConnectError::Refused { url, status },
        Error::Upgrade(other) => ConnectError::NotWebSocket { url, reason: other.to_string() },
        other => ConnectError::Unreachable { url, source: io::Error::other(other.to_string()) },
    }
}
