//! `PUT`: makes a stream, or finds it as asked for.
//!
//! A stream is made in this order, and a crash anywhere in it leaves nothing wrong:
//!
//! 1. its record, as `Making`: nobody sees the stream, and whoever sweeps knows its log;
//! 2. for a fork, the note that its source's log is needed;
//! 3. its log, with all of its first content;
//! 4. its record, as `Open`, if it is still the one of step 1: now it can be seen, as a whole.
//!
//! Where step 4 never came, the record of step 1 is found by the sweep, or by the next one who wants the path,
//! and everything it names is taken away (`delete::dismantle`). Its maker, if it lives after all, finds its
//! record changed in step 4, and tells its client to try again.

use super::answer::{Refused, busy, reply, value};
use super::append::closing;
use super::asked::{self, Expiry};
use super::delete::{dismantle, is_abandoned, retire};
use super::messages::{Form, media_type};
use super::offset::Token;
use super::read::live;
use super::record::{Fork, Found, Name, Segment, State, Stream, find, fork_note, put as put_record};
use super::view::View;
use super::{CLOSED, NEXT_OFFSET, Place, ROOT, TRUE};
use crate::Edge;
use crate::identity::Caller;
use crate::transport::body;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Append, AppendError, Expect, MAX_APPEND_BYTES, PutError, Shelf, Writer};
use tidewire_core::{Durability, Entry, Kind, LogId};
use tidewire_proto::Code;

/// What a stream holds whose maker does not say.
const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";
/// How many logs a stream may lie in: each is looked through by a read of the stream's beginning, and all
/// must fit its record.
const MAX_SEGMENTS: usize = 64;
/// How often, and how long in all, one waits for another request that makes the same stream.
const WAIT: Duration = Duration::from_millis(25);
const MAX_WAITS: usize = 80;

/// What a request asks for.
struct Wanted {
    name: Name,
    content_type: Option<String>,
    expiry: Option<Expiry>,
    closes: bool,
    forking: Option<Wish>,
    body: Bytes,
}

/// A fork, as it is asked for.
struct Wish {
    from: Name,
    offset: Option<Token>,
    sub_offset: u64,
}

pub(super) async fn put(edge: Arc<Edge>, caller: &Caller, parts: &Parts, body: Body) -> Result<Response, Refused> {
    let wanted = Wanted::parse(&edge, caller, parts, body).await?;
    let edge_of_task = edge.clone();
    // To its end, also where the client goes away: a stream half made would be in everybody's way until swept.
    let making = edge.tracker.spawn(async move { ensure(&edge_of_task, &wanted).await });
    let (view, found, is_new) =
        making.await.map_err(|_| Refused::new(Code::Internal, "making the stream was cut off"))??;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, value(&found.stream.content_type));
    headers.insert(NEXT_OFFSET, value(view.token(view.tail)));
    if view.closed {
        headers.insert(CLOSED, TRUE);
    }
    if is_new {
        headers.insert(header::LOCATION, location(parts));
    }
    Ok(reply(if is_new { StatusCode::CREATED } else { StatusCode::OK }, headers, ()))
}

impl Wanted {
    async fn parse(edge: &Edge, caller: &Caller, parts: &Parts, body: Body) -> Result<Self, Refused> {
        let name = Place::parse(caller, parts.uri.path())?.stream()?;
        let headers = &parts.headers;
        let forking = match asked::forking(headers)? {
            None => None,
            Some(asked::Forking { from, offset, sub_offset }) => {
                let Place::Stream(from) = Place::parse(caller, from)? else {
                    return Err(Refused::invalid(format!(
                        "the log of a task can't be forked; fork a stream of `{ROOT}`"
                    )));
                };
                Some(Wish { from, offset, sub_offset })
            }
        };
        Ok(Self {
            name,
            content_type: asked::content_type(headers)?.map(str::to_owned),
            expiry: asked::expiry(headers)?,
            closes: asked::closes(headers),
            forking,
            body: body::read(edge, body).await?,
        })
    }

    /// Whether a stream that is there is the one asked for.
    fn check(&self, found: &Found, view: &View) -> Result<(), Refused> {
        let stream = &found.stream;
        let content_type = match (&self.content_type, &self.forking) {
            (Some(given), _) => media_type(given).eq_ignore_ascii_case(media_type(&stream.content_type)),
            (None, Some(_)) => true,
            (None, None) => stream.content_type == DEFAULT_CONTENT_TYPE,
        };
        let expiry = match self.expiry {
            Some(Expiry::AfterIdle { seconds }) => stream.ttl_s == Some(seconds),
            Some(Expiry::At(at)) => stream.expires_at == Some(at),
            // What is not said is inherited.
            None => self.forking.is_some() || stream.ttl_s.is_none() && stream.expires_at.is_none(),
        };
        let fork = match (&self.forking, &stream.fork) {
            (None, None) => true,
            (Some(wish), Some(fork)) => {
                let offset = wish.offset.map(|token| token.position);
                wish.from.path() == fork.path && offset == fork.offset && wish.sub_offset == fork.sub_offset
            }
            _ => false,
        };
        let checks = [
            (content_type, "content type"),
            (expiry, "time to live"),
            (fork, "source"),
            (self.closes == view.closed, "closed state"),
        ];
        match checks.into_iter().find(|(same, _)| !same) {
            None => Ok(()),
            Some((_, what)) => {
                let message = format!("the stream `{}` is there with another {what}", self.name);
                Err(Refused::new(Code::StreamExists, message))
            }
        }
    }
}

/// The stream that is asked for, and whether it was made just now.
async fn ensure(edge: &Edge, wanted: &Wanted) -> Result<(View, Found, bool), Refused> {
    let name = &wanted.name;
    for _ in 0..MAX_WAITS {
        let Some(found) = find(edge, name).await? else {
            match make(edge, wanted).await? {
                Some((view, found)) => return Ok((view, found, true)),
                None => continue,
            }
        };
        match found.stream.state {
            State::Gone => {
                let message = format!("a stream `{name}` was deleted, and its forks still need it");
                return Err(Refused::new(Code::StreamExists, message));
            }
            State::Making if is_abandoned(edge, &found.stream) => dismantle(edge, name, &found).await?,
            State::Making => edge.clock.sleep(WAIT).await,
            State::Open if edge.streams.is_expired(&found.stream, edge.clock.now()) => {
                retire(edge, name, &found).await?;
            }
            State::Open => {
                let view = View::of(edge, name, &found).await?;
                wanted.check(&found, &view)?;
                return Ok((view, found, false));
            }
        }
    }
    Err(busy())
}

/// Makes the stream; `None` where somebody else has begun to.
async fn make(edge: &Edge, wanted: &Wanted) -> Result<Option<(View, Found)>, Refused> {
    let name = &wanted.name;
    let plan = Plan::new(edge, wanted).await?;
    if edge.directory.count(name.tenant(), Shelf::Streams).await? >= edge.limits.streams as u64 {
        let message = format!("there are {} streams already (`limits.streams`); delete some", edge.limits.streams);
        return Err(Refused::new(Code::TooManyStreams, message));
    }
    let version = match put_record(edge, name, &plan.stream, Expect::Absent).await {
        Ok(version) => version,
        Err(PutError::Conflict { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let begun = Found { stream: plan.stream.clone(), version };
    match fill(edge, name, plan, version).await {
        Ok(found) => Ok(Some((View::of(edge, name, &found).await?, found))),
        Err(refused) => {
            // Best effort: what fails here is swept later.
            if dismantle(edge, name, &begun).await.is_err() {
                tracing::debug!(stream = %name, "a stream half made is left to the sweep");
            }
            Err(refused)
        }
    }
}

/// Steps 2 to 4.
async fn fill(edge: &Edge, name: &Name, plan: Plan, version: u64) -> Result<Found, Refused> {
    let Plan { mut stream, appends, closes } = plan;
    if let Some(fork) = &stream.fork {
        let note = fork_note(name.tenant(), fork.log, stream.log);
        edge.directory.put(note, Bytes::copy_from_slice(name.path().as_bytes()), Expect::Anything).await?;
        // After the note: a source that is deleted from now on finds it, and keeps its log.
        source(edge, &name.sibling(&fork.path), Some(fork.log)).await?;
    }
    let log = name.log(stream.log);
    stream.epoch = edge.log.create(log).await?.0;
    let count = appends.len();
    for (number, entries) in appends.into_iter().enumerate() {
        let append = Append { log, writer: Writer::Open { rank: None }, entries };
        let is_last = number + 1 == count;
        let appended =
            if closes && is_last { edge.log.end(append, closing()).await } else { edge.log.append(append).await };
        appended.map_err(|error| match error {
            AppendError::Unavailable(error) => error.into(),
            AppendError::TooLarge { .. } => Refused::new(Code::TooLarge, error.to_string()),
            // Swept away while it was being written.
            _ => busy(),
        })?;
    }
    stream.state = State::Open;
    let version = put_record(edge, name, &stream, Expect::Version(version)).await?;
    Ok(Found { stream, version })
}

/// A stream that may be forked.
async fn source(edge: &Edge, name: &Name, log: Option<LogId>) -> Result<Found, Refused> {
    let gone = || Refused::new(Code::StreamExists, format!("the stream `{name}` was deleted: it can't be forked"));
    match live(edge, name).await {
        Ok(found) if log.is_none_or(|log| log == found.stream.log) => Ok(found),
        Ok(_) => Err(gone()),
        Err(_) if matches!(find(edge, name).await?, Some(found) if found.stream.state == State::Gone) => Err(gone()),
        Err(refused) => Err(refused),
    }
}

/// A stream that is to be made.
struct Plan {
    stream: Stream,
    /// Its first content, as the log takes it.
    appends: Vec<Vec<Entry>>,
    closes: bool,
}

impl Plan {
    async fn new(edge: &Edge, wanted: &Wanted) -> Result<Self, Refused> {
        let now = edge.clock.now();
        let random = (u128::from(edge.clock.random()) << 64) | u128::from(edge.clock.random());
        let mut stream = Stream {
            state: State::Making,
            log: LogId::shared(now, random, Durability::Durable),
            epoch: 0,
            content_type: wanted.content_type.clone().unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned()),
            ttl_s: None,
            expires_at: None,
            touched_at: now,
            from: 0,
            inherited: Vec::new(),
            fork: None,
        };
        let mut appends = Vec::new();
        if let Some(wish) = &wanted.forking {
            appends.extend(inherit(edge, wanted, wish, &mut stream).await?);
        }
        match wanted.expiry {
            Some(Expiry::AfterIdle { seconds }) => (stream.ttl_s, stream.expires_at) = (Some(seconds), None),
            Some(Expiry::At(at)) => (stream.ttl_s, stream.expires_at) = (None, Some(at)),
            None => {}
        }
        let first = Form::of(&stream.content_type).entries(&wanted.body, now)?;
        if !first.is_empty() || wanted.closes {
            appends.push(first);
        }
        if wanted.body.len() > MAX_APPEND_BYTES {
            return Err(body::too_large(MAX_APPEND_BYTES).into());
        }
        Ok(Self { stream, appends, closes: wanted.closes })
    }
}

/// Takes over from the source what a fork shares with it. What it does not share, because the fork begins
/// within an append, is copied: the entries that come back.
async fn inherit(
    edge: &Edge,
    wanted: &Wanted,
    wish: &Wish,
    stream: &mut Stream,
) -> Result<Option<Vec<Entry>>, Refused> {
    let found = source(edge, &wish.from, None).await?;
    if let Some(given) = &wanted.content_type
        && !media_type(given).eq_ignore_ascii_case(media_type(&found.stream.content_type))
    {
        let message = format!("the stream `{}` has `{}`, and so has its fork", wish.from, found.stream.content_type);
        return Err(Refused::new(Code::ContentTypeMismatch, message));
    }
    let mut view = View::of(edge, &wish.from, &found).await?;
    let beyond = |_| Refused::invalid("`Stream-Fork-Offset` is no offset of the source");
    let anchor = wish.offset.map_or(Ok(view.tail), |token| view.resume(token).map_err(beyond))?;
    let (from, copied) = refine(edge, &mut view, anchor, wish.sub_offset).await?;
    let inherited: Vec<Segment> = view.segments_until(from);
    if inherited.len() > MAX_SEGMENTS {
        return Err(Refused::invalid(format!("a stream can be forked {MAX_SEGMENTS} times in a row")));
    }
    stream.content_type.clone_from(&found.stream.content_type);
    (stream.ttl_s, stream.expires_at) = (found.stream.ttl_s, found.stream.expires_at);
    (stream.from, stream.inherited) = (from, inherited);
    stream.fork = Some(Fork {
        path: wish.from.path().to_owned(),
        log: found.stream.log,
        offset: wish.offset.map(|token| token.position),
        sub_offset: wish.sub_offset,
    });
    Ok(copied.map(|data| vec![Entry::new(stream.touched_at, Kind::Data, data)]))
}

/// Where a fork begins, and what of the event there it takes along: `sub_offset` counts messages of a JSON
/// stream, and bytes of any other one's next append.
async fn refine(edge: &Edge, view: &mut View, anchor: u64, sub_offset: u64) -> Result<(u64, Option<Bytes>), Refused> {
    let overshoots = || Refused::invalid("`Stream-Fork-Sub-Offset` is past what was appended there");
    if sub_offset == 0 {
        return Ok((anchor, None));
    }
    if view.form.is_json() {
        let from = anchor.checked_add(sub_offset).filter(|from| *from <= view.tail);
        return Ok((from.ok_or_else(overshoots)?, None));
    }
    let page = view.page(edge, anchor, 0).await?;
    let event = page.events.first().ok_or_else(overshoots)?;
    match usize::try_from(sub_offset).ok() {
        Some(bytes) if bytes == event.data.len() => Ok((anchor + 1, None)),
        Some(bytes) if bytes < event.data.len() => Ok((anchor, Some(event.data.slice(..bytes)))),
        _ => Err(overshoots()),
    }
}

/// The stream's own address, as its maker reached it.
fn location(parts: &Parts) -> HeaderValue {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = if text("x-forwarded-proto") == Some("https") { "https" } else { "http" };
    let host = text("host").or_else(|| parts.uri.host()).unwrap_or("localhost");
    value(format_args!("{scheme}://{host}{}", parts.uri.path()))
}
