//! What commands come to.

use super::command::{Command, Position};
use crate::Edge;
use crate::follow::{Batch, DEFAULT_WINDOW, Follower, Resume, merged};
use crate::identity::{Caller, Scope};
use crate::refusal::Refusal;
use crate::transport::tasks::parse_id;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tidewire_core::{LogId, LogRef};
use tidewire_proto::{Code, Submission};

/// How much of a log a subscription's reply holds; the rest is pushed.
const REPLY_BYTES: usize = 64 * 1024;

/// Centrifugo's numbers of errors.
const UNAUTHORIZED: u32 = 101;
const UNKNOWN_CHANNEL: u32 = 102;
const PERMISSION_DENIED: u32 = 103;
const METHOD_NOT_FOUND: u32 = 104;
const ALREADY_SUBSCRIBED: u32 = 105;
const LIMIT_EXCEEDED: u32 = 106;
const BAD_REQUEST: u32 = 107;
const NOT_AVAILABLE: u32 = 108;
const TOO_MANY_REQUESTS: u32 = 111;
const INTERNAL: u32 = 100;

/// A command's reply, and what follows from it.
pub(super) struct Done {
    pub(super) reply: Value,
    /// The log that a subscription asked for.
    pub(super) opened: Option<LogId>,
    pub(super) follow: Option<Follower>,
}

/// Does what a command asks for.
pub(super) async fn done(edge: &Edge, caller: &Caller, command: Command) -> Done {
    let id = command.id();
    match command {
        Command::Subscribe { channel, from, .. } => {
            let opened = channel.parse().ok();
            match subscribe(edge, caller, opened, from).await {
                Ok((subscribed, follower)) => {
                    Done { reply: json!({ "id": id, "subscribe": subscribed }), opened, follow: Some(follower) }
                }
                Err(refusal) => Done { reply: refused(id, &refusal), opened, follow: None },
            }
        }
        Command::Rpc { method, data, .. } => {
            let reply = match rpc(edge, caller, &method, data.as_deref()).await {
                Ok(data) => json!({ "id": id, "rpc": { "data": data } }),
                Err(refusal) => refused(id, &refusal),
            };
            Done { reply, opened: None, follow: None }
        }
        _ => {
            let message = "tidewire speaks connect, subscribe, unsubscribe, rpc and ping of this protocol";
            Done { reply: failed(id, (NOT_AVAILABLE, false), message), opened: None, follow: None }
        }
    }
}

async fn subscribe(
    edge: &Edge,
    caller: &Caller,
    log: Option<LogId>,
    from: Option<Position>,
) -> Result<(Value, Follower), Refusal> {
    caller.require(Scope::TasksRead)?;
    let log =
        log.ok_or_else(|| Refusal::new(Code::UnknownLog, "a channel is the id of a log: of a task, or of a batch"))?;
    let at = LogRef { tenant: caller.tenant, log };
    let recovering = from.is_some();
    let mut recovered = false;
    let mut follower = None;
    if let Some(Position { offset, epoch }) = from
        && let Ok(epoch) = epoch.parse()
    {
        let resume = Resume { after: offset.checked_sub(1), epoch: Some(epoch) };
        match Follower::open(edge, at, resume, DEFAULT_WINDOW).await {
            Ok(found) => {
                recovered = true;
                follower = Some(found);
            }
            // What it knew is gone: it is told so, and given what there is.
            Err(refusal) if is_lost(&refusal) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    let mut follower = match follower {
        Some(follower) => follower,
        None => Follower::open(edge, at, Resume::default(), DEFAULT_WINDOW).await?,
    };
    let (epoch, offset) = (follower.cursor.epoch.0.to_string(), follower.cursor.next.0);
    let batch = follower.page(REPLY_BYTES).await?;
    let publications: Vec<Value> = (!batch.events.is_empty()).then(|| publication(&batch)).into_iter().collect();
    let subscribed = json!({ "recoverable": true, "positioned": true, "epoch": epoch, "offset": offset,
        "was_recovering": recovering, "recovered": recovered, "publications": publications });
    Ok((subscribed, follower))
}

fn is_lost(refusal: &Refusal) -> bool {
    [Code::EpochChanged, Code::Trimmed, Code::OffsetInFuture].iter().any(|code| refusal.0.code == code.as_str())
}

/// A batch of events, and how many events of the log came up to its end.
pub(super) fn publication(batch: &Batch) -> Value {
    json!({ "data": { "from": batch.from(), "to": batch.to(), "events": merged(&batch.events) }, "offset": batch.to() })
}

async fn rpc(edge: &Edge, caller: &Caller, method: &str, data: Option<&RawValue>) -> Result<Value, Refusal> {
    #[derive(Deserialize)]
    struct Named {
        task: String,
    }
    let data = data.map_or("{}", RawValue::get);
    let unread = |error: serde_json::Error| {
        Refusal::new(Code::InvalidRequest, format!("the call's data can't be read: {error}"))
    };
    match method {
        "submit" => {
            caller.require(Scope::TasksWrite)?;
            let submission: Submission = serde_json::from_str(data).map_err(unread)?;
            let accepted = crate::submit::submit(edge, caller, submission).await?;
            Ok(serde_json::to_value(accepted.ack()).unwrap_or_default())
        }
        "stop" => {
            caller.require(Scope::TasksStop)?;
            let Named { task } = serde_json::from_str(data).map_err(unread)?;
            let stopped = crate::stop::stop(edge, parse_id(caller, &task)?).await?;
            Ok(json!({ "task": task, "state": stopped.state.name() }))
        }
        other => {
            let message = format!("there is no call `{other}`: `submit` takes a task, `stop` takes `{{\"task\": id}}`");
            Err(Refusal::new(Code::NotFound, message))
        }
    }
}

/// A refusal, with the nearest of Centrifugo's numbers; its message begins with the code that PROTOCOL.md lists.
pub(super) fn refused(id: u32, refusal: &Refusal) -> Value {
    let error = &refusal.0;
    let is = |code: Code| error.code == code.as_str();
    let (code, temporary) = match error.status() {
        401 => (UNAUTHORIZED, false),
        403 => (PERMISSION_DENIED, false),
        _ if is(Code::UnknownLog) => (UNKNOWN_CHANNEL, false),
        _ if is(Code::TooManyFollows) => (LIMIT_EXCEEDED, false),
        404 => (METHOD_NOT_FOUND, false),
        429 => (TOO_MANY_REQUESTS, true),
        400..=499 => (BAD_REQUEST, false),
        _ => (INTERNAL, true),
    };
    failed(id, (code, temporary), &format!("{}: {}", error.code, error.message))
}

/// The channel is subscribed to already.
pub(super) fn already(id: u32) -> Value {
    failed(id, (ALREADY_SUBSCRIBED, false), "the channel is subscribed to already")
}

fn failed(id: u32, (code, temporary): (u32, bool), message: &str) -> Value {
    json!({ "id": id, "error": { "code": code, "message": message, "temporary": temporary } })
}
