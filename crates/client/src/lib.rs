//! The Rust client that the command line and the bench use. It speaks only the wire (PROTOCOL.md) and knows
//! nothing of the server's insides.
//!
//! - [`Session`]: tasks and logs over one WebSocket, that outlives cuts and restarts.
//! - [`Http`]: one request, one answer.
//! - [`Answer`]: joins a log's text events, and obeys its rewinds.

mod answer;
mod backoff;
mod endpoint;
mod error;
mod http;
mod session;
mod socket;
mod stopwatch;

pub use answer::{Answer, Change};
pub use backoff::Backoff;
pub use endpoint::{BadUrl, Endpoint};
pub use error::{ConnectError, Over, SessionError};
pub use http::{Download, Filter, Http, HttpError, NewFile, UsageFilter};
pub use session::{Batch, Counts, Driver, Follow, Options, Position, Session, Status, Submitted};
pub use socket::{Pipe, pipe};
pub use stopwatch::Stopwatch;
pub use tidewire_proto as proto;
