//! What can go wrong with a WebSocket session: connecting, one call, and the end of it all.

use std::io;
use std::time::Duration;
use tidewire_proto::WireError;

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing listens there.
    #[error("no server at {url}: start one with `tidewire serve`")]
    NoServer {
        /// The server's address.
        url: String,
    },
    /// The network, the name or the certificate.
    #[error("can't reach {url}: {source}")]
    Unreachable {
        /// The server's address.
        url: String,
        /// What the system said.
        source: io::Error,
    },
    /// It took too long.
    #[error("{url} did not answer within {} s", limit.as_secs())]
    TimedOut {
        /// The server's address.
        url: String,
        /// How long the client waited.
        limit: Duration,
    },
    /// The server answered with another status than 101.
    #[error("{url} refused the WebSocket with HTTP {status}")]
    Refused {
        /// The server's address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// What answers there is no Tidewire server.
    #[error("{url} does not speak WebSocket: {reason}")]
    NotWebSocket {
        /// The server's address.
        url: String,
        /// What was wrong with its answer.
        reason: String,
    },
}

impl ConnectError {
    /// Whether the same attempt may go well later. A server that restarts refuses, and drains with 503.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NoServer { .. } | Self::Unreachable { .. } | Self::TimedOut { .. } => true,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            Self::NotWebSocket { .. } => false,
        }
    }
}

/// Why a session ended for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Over {
    /// All its handles are gone.
    #[error("the session was closed")]
    Dropped,
    /// The server closed it with a code that says: do not come back.
    #[error("the server closed the connection for good ({code} {reason})")]
    Closed {
        /// The WebSocket close code.
        code: u16,
        /// The server's words.
        reason: String,
    },
    /// The server could not be reached again.
    #[error("the connection was lost and {attempts} attempts to reconnect failed; the last one: {last}")]
    GaveUp {
        /// How many were made.
        attempts: u32,
        /// What the last one said.
        last: String,
    },
}

/// Why a call or a followed log ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The server said no. The session goes on.
    #[error("{} ({})", .0.message, .0.code)]
    Refused(WireError),
    /// The session is over.
    #[error(transparent)]
    Over(#[from] Over),
    /// The same log was followed again in this session: a session has one cursor on a log.
    #[error("the log was followed anew, by another reader of this session")]
    Replaced,
    /// The server keeps sending events that do not follow the last one.
    #[error("the server's events of this log have a gap that does not close")]
    GapStays,
}
