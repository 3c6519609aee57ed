//! `GET` and `HEAD`: what is there, what comes next, and where a stream stands.

use super::super::tag::is_known;
use super::answer::{Refused, reply, value};
use super::asked::{self, Live, Read};
use super::offset::Begin;
use super::record::{Found, Name, State, find};
use super::view::{Page, View, gone};
use super::{CLOSED, CURSOR, EXPIRES_AT, NEXT_OFFSET, Place, TRUE, TTL, cursor, date, sse};
use crate::Edge;
use crate::identity::{Caller, End, Over};
use crate::refusal::Refusal;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{ReadError, Watch};
use tidewire_proto::Code;

/// How much one answer carries, and one event more at most.
const PAGE_BYTES: usize = 1024 * 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// How often one who waits touches a stream that expires in a moment.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// What is read: its view, and for a stream what the directory knows of it.
pub(super) struct Opened {
    pub(super) view: View,
    pub(super) stream: Option<(Name, Found)>,
    end: End,
    /// Why its reader may read no more.
    pub(super) over: Option<Over>,
}

impl Opened {
    async fn open(edge: &Edge, caller: &Caller, place: Place) -> Result<Self, Refused> {
        let (end, over) = (caller.end(&*edge.clock), None);
        match place {
            Place::Task(task) => Ok(Self { view: View::of_task(edge, task).await?, stream: None, end, over }),
            Place::Stream(name) => {
                let found = live(edge, &name).await?;
                Ok(Self { view: View::of(edge, &name, &found).await?, stream: Some((name, found)), end, over })
            }
        }
    }

    fn content_type(&self) -> HeaderValue {
        self.stream.as_ref().map_or(JSON, |(_, found)| value(&found.stream.content_type))
    }

    /// Somebody reads it: its time to live begins anew.
    pub(super) async fn touch(&mut self, edge: &Edge) {
        if let Some((name, found)) = &mut self.stream {
            edge.streams.touch(edge, name, found).await;
        }
    }

    /// Waits for something at a position, for so long at most, and says whether there is. While somebody waits, a
    /// stream does not expire.
    pub(super) async fn wait(&mut self, edge: &Edge, watch: &mut Watch, position: u64, most: Duration) -> bool {
        let beyond = self.view.offset(position);
        let until = edge.clock.monotonic().saturating_add(most);
        let ttl_s = self.stream.as_ref().and_then(|(_, found)| found.stream.ttl_s);
        let half_life = ttl_s.map_or(Duration::MAX, |seconds| Duration::from_millis(seconds.saturating_mul(500)));
        loop {
            let rest = until.saturating_sub(edge.clock.monotonic());
            if rest.is_zero() {
                return false;
            }
            tokio::select! {
                _ = watch.grown(beyond) => return true,
                // Not below a moment, whatever the TTL: this is a loop.
                () = edge.clock.sleep(half_life.max(MIN_PAUSE).min(rest)) => self.touch(edge).await,
                () = edge.closing.cancelled() => return false,
                over = self.end.wait() => {
                    self.over = Some(over);
                    return false;
                }
            }
        }
    }

    /// Why it can't be read on: a log that is no longer there belongs to a stream that was deleted.
    pub(super) fn lost(&self, error: ReadError) -> Refused {
        match &self.stream {
            Some((name, _)) => gone(error, name),
            None => error.into(),
        }
    }
}

/// A stream that may be used.
pub(super) async fn live(edge: &Edge, name: &Name) -> Result<Found, Refused> {
    let unknown = || Refused::unknown_stream(name.path());
    let found = find(edge, name).await?.ok_or_else(unknown)?;
    match found.stream.state {
        State::Making => Err(unknown()),
        State::Gone => Err(Refused::new(
            Code::StreamGone,
            format!("the stream `{name}` was deleted; its forks still read what they inherited"),
        )),
        State::Open if edge.streams.is_expired(&found.stream, edge.clock.now()) => Err(unknown()),
        State::Open => Ok(found),
    }
}

pub(super) async fn head(edge: &Edge, caller: &Caller, parts: &Parts) -> Result<Response, Refused> {
    let opened = Opened::open(edge, caller, Place::parse(caller, parts.uri.path())?).await?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, opened.content_type());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(NEXT_OFFSET, value(opened.view.token(opened.view.tail)));
    if opened.view.closed {
        headers.insert(CLOSED, TRUE);
    }
    if let Some((_, found)) = &opened.stream {
        if let Some(seconds) = found.stream.ttl_s {
            headers.insert(TTL, HeaderValue::from(seconds));
        }
        if let Some(at) = found.stream.expires_at {
            headers.insert(EXPIRES_AT, value(date::show(at)));
        }
    }
    Ok(reply(StatusCode::OK, headers, ()))
}

pub(super) async fn get(edge: Arc<Edge>, caller: &Caller, parts: &Parts) -> Result<Response, Refused> {
    let asked = asked::read(&parts.uri)?;
    let mut opened = Opened::open(&edge, caller, Place::parse(caller, parts.uri.path())?).await?;
    let begin = opened.view.begin(asked.begin)?;
    opened.touch(&edge).await;
    match asked.live {
        Live::No => catch_up(&edge, opened, asked, begin, &parts.headers).await,
        Live::LongPoll => long_poll(&edge, opened, asked, begin).await,
        Live::Sse => sse::answer(edge, opened, asked, begin).await,
    }
}

async fn catch_up(
    edge: &Edge,
    mut opened: Opened,
    asked: Read,
    begin: u64,
    asked_with: &HeaderMap,
) -> Result<Response, Refused> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, opened.content_type());
    let page = if asked.begin == Begin::Now {
        // Without a tag: what `now` means changes.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        nothing(&opened.view, begin)
    } else {
        let read = opened.view.page(edge, begin, PAGE_BYTES).await;
        let page = read.map_err(|error| opened.lost(error))?;
        headers.insert(header::CACHE_CONTROL, cache_control(&page));
        headers.insert(header::ETAG, tag(&opened.view, &page));
        page
    };
    opened.view.tell(&page, &mut headers);
    let known =
        headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).is_some_and(|tag| is_known(asked_with, tag));
    if known {
        headers.remove(header::CONTENT_TYPE);
        return Ok(reply(StatusCode::NOT_MODIFIED, headers, ()));
    }
    Ok(reply(StatusCode::OK, headers, opened.view.form.body(&page.events)))
}

/// A page without events, at the tail.
fn nothing(view: &View, at: u64) -> Page {
    Page { events: Vec::new(), from: at, next: at, at_tail: true, at_end: view.closed }
}

async fn long_poll(edge: &Edge, mut opened: Opened, asked: Read, begin: u64) -> Result<Response, Refused> {
    let mut watch = opened.view.watch(edge).await.map_err(|error| opened.lost(error))?;
    let mut page = opened.view.page(edge, begin, PAGE_BYTES).await.map_err(|error| opened.lost(error))?;
    if page.events.is_empty() && !page.at_end {
        opened.wait(edge, &mut watch, begin, edge.limits.long_poll).await;
        if let Some(over) = opened.over {
            return Err(Refusal::from(over).into());
        }
        page = opened.view.page(edge, begin, PAGE_BYTES).await.map_err(|error| opened.lost(error))?;
    }
    let mut headers = HeaderMap::new();
    opened.view.tell(&page, &mut headers);
    if !page.at_end {
        headers.insert(CURSOR, HeaderValue::from(cursor::next(&*edge.clock, asked.cursor)));
    }
    if page.events.is_empty() {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return Ok(reply(StatusCode::NO_CONTENT, headers, ()));
    }
    headers.insert(header::CONTENT_TYPE, opened.content_type());
    headers.insert(header::CACHE_CONTROL, cache_control(&page));
    headers.insert(header::ETAG, tag(&opened.view, &page));
    Ok(reply(StatusCode::OK, headers, opened.view.form.body(&page.events)))
}

/// A page in the middle of a stream never changes. At the tail it does, and a cache must ask again. Private:
/// who may read a stream is not said by its path.
fn cache_control(page: &Page) -> HeaderValue {
    HeaderValue::from_static(if page.at_tail {
        "private, no-cache"
    } else {
        "private, max-age=60, stale-while-revalidate=300"
    })
}

/// The log, the positions, and whether the stream was closed by then.
fn tag(view: &View, page: &Page) -> HeaderValue {
    let closed = if page.at_end { ":c" } else { "" };
    value(format_args!("\"{}:{}:{}{closed}\"", view.log.log, page.from, page.next))
}
