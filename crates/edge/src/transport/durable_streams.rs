//! `/v1/stream/{path}`: the Durable Streams protocol (<https://github.com/durable-streams/durable-streams>).
//!
//! A stream is a shared log and a record in the directory that names it. The record keeps what the log does not
//! know: the content type, when the stream expires, what it inherits from the stream that it was forked from.
//! Whether it is closed is the log's own knowledge, so that closing is atomic with the last append.
//!
//! ```text
//!  path ──▶ record ──▶ log          positions 0 .. from: in the logs of the streams that it was forked from
//!                       └─ events   positions from .. tail: the log's own events, in the order of its offsets
//! ```
//!
//! `tasks/{id}` below it is a task's own log, for reading only.

mod answer;
mod append;
mod asked;
mod create;
mod cursor;
pub(super) mod date;
mod delete;
mod expiry;
mod messages;
mod offset;
mod read;
mod record;
mod sse;
mod view;

pub use expiry::{Streams, sweep};

use super::tasks::parse_id;
use crate::Edge;
use crate::identity::{Caller, Scope};
use answer::{Refused, sealed};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter};
use http::{HeaderName, HeaderValue, Method, header};
use percent_encoding::percent_decode_str;
use record::Name;
use std::sync::Arc;
use tidewire_core::TaskRef;
use tidewire_proto::Code;

/// Where the streams are.
const ROOT: &str = "/v1/stream/";
/// The longest path of a stream: what fits a name of the directory, with room for what a shelf may add.
const MAX_PATH_BYTES: usize = 1000;
/// Below it are the logs of tasks.
const TASKS: &str = "tasks";
/// What the protocol reserves for subscriptions, which this server does not serve.
const RESERVED: &str = "__ds";

const NEXT_OFFSET: HeaderName = HeaderName::from_static("stream-next-offset");
const UP_TO_DATE: HeaderName = HeaderName::from_static("stream-up-to-date");
const CLOSED: HeaderName = HeaderName::from_static("stream-closed");
const CURSOR: HeaderName = HeaderName::from_static("stream-cursor");
const TTL: HeaderName = HeaderName::from_static("stream-ttl");
const EXPIRES_AT: HeaderName = HeaderName::from_static("stream-expires-at");
const SEQ: HeaderName = HeaderName::from_static("stream-seq");
const FORKED_FROM: HeaderName = HeaderName::from_static("stream-forked-from");
const FORK_OFFSET: HeaderName = HeaderName::from_static("stream-fork-offset");
const FORK_SUB_OFFSET: HeaderName = HeaderName::from_static("stream-fork-sub-offset");
const PRODUCER_ID: HeaderName = HeaderName::from_static("producer-id");
const PRODUCER_EPOCH: HeaderName = HeaderName::from_static("producer-epoch");
const PRODUCER_SEQ: HeaderName = HeaderName::from_static("producer-seq");
const PRODUCER_EXPECTED_SEQ: HeaderName = HeaderName::from_static("producer-expected-seq");
const PRODUCER_RECEIVED_SEQ: HeaderName = HeaderName::from_static("producer-received-seq");
const SSE_ENCODING: HeaderName = HeaderName::from_static("stream-sse-data-encoding");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// What a path names.
enum Place {
    Stream(Name),
    Task(TaskRef),
}

impl Place {
    /// From a path as a request line or a header has it.
    fn parse(caller: &Caller, path: &str) -> Result<Self, Refused> {
        let Some(below) = path.strip_prefix(ROOT) else {
            return Err(Refused::invalid(format!("a stream's path begins with `{ROOT}`")));
        };
        let name = percent_decode_str(below).decode_utf8();
        let name = name.map_err(|_| Refused::invalid("a stream's path is UTF-8, percent-encoded"))?;
        if name.is_empty() || name.len() > MAX_PATH_BYTES {
            return Err(Refused::invalid(format!("a stream's path has 1 to {MAX_PATH_BYTES} bytes after `{ROOT}`")));
        }
        match name.split_once('/').unwrap_or((&name, "")) {
            (TASKS, task) => {
                caller.require(Scope::TasksRead)?;
                Ok(Self::Task(parse_id(caller, task)?))
            }
            (RESERVED, _) => Err(Refused::new(Code::NotFound, "this server has no subscriptions to streams")),
            _ => {
                caller.require(Scope::Streams)?;
                Ok(Self::Stream(Name::new(caller.tenant, name.into_owned())))
            }
        }
    }

    /// The stream, for what is only done to streams.
    fn stream(self) -> Result<Name, Refused> {
        match self {
            Self::Stream(name) => Ok(name),
            Self::Task(task) => {
                let message = format!("the log of {} is its task's: it can be read here, not written", task.task);
                let allowed = HeaderValue::from_static("GET, HEAD");
                Err(Refused::new(Code::MethodNotAllowed, message).with(header::ALLOW, allowed))
            }
        }
    }
}

/// One of the things that can be done to a stream.
pub(super) fn method(method: &Method) -> MethodRouter<Arc<Edge>> {
    // A method that is none here is a read, which hurts nobody.
    axum::routing::on(method.clone().try_into().unwrap_or(MethodFilter::GET), answer)
}

async fn answer(State(edge): State<Arc<Edge>>, caller: Caller, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answered = match parts.method {
        Method::PUT => create::put(edge, &caller, &parts, body).await,
        Method::POST => append::post(&edge, &caller, &parts, body).await,
        Method::DELETE => delete::delete(edge, &caller, &parts).await,
        Method::HEAD => read::head(&edge, &caller, &parts).await,
        _ => read::get(edge, &caller, &parts).await,
    };
    sealed(answered.unwrap_or_else(Refused::into_response))
}
