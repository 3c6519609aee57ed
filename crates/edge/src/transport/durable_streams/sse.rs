//! `live=sse`: a stream as server-sent events. Each batch is a `data` event and a `control` event, which says
//! where to go on.

use super::answer::{Refused, reply};
use super::asked::Read;
use super::messages::Form;
use super::read::Opened;
use super::view::Page;
use super::{SSE_ENCODING, cursor};
use crate::Edge;
use crate::refusal::Refusal;
use crate::transport::events::HEARTBEAT;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::Watch;

/// How much is read at once: what a fast client takes in one go, small beside a slow one's socket buffer.
const BATCH_BYTES: usize = 64 * 1024;

/// How long a response lasts: the protocol asks for about a minute, so that caches can serve many clients with
/// one. The client comes back with its last offset.
const LIFE: Duration = Duration::from_mins(1);

/// A reader of the stream. Holds no events: a slow client costs nothing but this.
struct Reader {
    edge: Arc<Edge>,
    opened: Opened,
    watch: Watch,
    next: u64,
    asked_cursor: Option<u64>,
    given_cursor: Option<u64>,
    /// When the response ends.
    until: Duration,
    /// There is more to read than the last batch held, or there was none yet.
    behind: bool,
}

pub(super) async fn answer(edge: Arc<Edge>, opened: Opened, asked: Read, begin: u64) -> Result<Response, Refused> {
    // Before the first read: an event appended between the two would wake nobody.
    let watch = opened.view.watch(&edge).await.map_err(|error| opened.lost(error))?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    // nginx holds back a response that it may buffer.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    if opened.view.form == Form::Bytes {
        headers.insert(SSE_ENCODING, HeaderValue::from_static("base64"));
    }
    let until = edge.clock.monotonic() + LIFE;
    let reader = Reader {
        edge,
        opened,
        watch,
        next: begin,
        asked_cursor: asked.cursor,
        given_cursor: None,
        until,
        behind: true,
    };
    let body = stream::unfold(Some(reader), async |reader| reader?.batch().await);
    Ok(reply(StatusCode::OK, headers, Body::from_stream(body)))
}

impl Reader {
    /// The next bytes, and the reader if it goes on.
    async fn batch(mut self) -> Option<(Result<Bytes, Infallible>, Option<Self>)> {
        let is_first = self.given_cursor.is_none();
        let rest = self.until.saturating_sub(self.edge.clock.monotonic());
        if !self.behind && !self.opened.wait(&self.edge, &mut self.watch, self.next, HEARTBEAT.min(rest)).await {
            if let Some(over) = self.opened.over {
                return Some((Ok(crate::transport::events::refused(&Refusal::from(over).0)), None));
            }
            let over = self.edge.closing.is_cancelled() || self.edge.clock.monotonic() >= self.until;
            return (!over).then(|| (Ok(Bytes::from_static(b":\n\n")), Some(self)));
        }
        // A stream that was deleted has no more to say; the client is told when it comes back.
        let page = self.opened.view.page(&self.edge, self.next, BATCH_BYTES).await.ok()?;
        if page.events.is_empty() && !page.at_end && !is_first {
            // Woken for nothing: the engine lets go of its watchers.
            return None;
        }
        self.behind = !page.at_tail;
        self.next = page.next;
        let text = self.frames(&page);
        Some((Ok(text.into()), (!page.at_end).then_some(self)))
    }

    fn frames(&mut self, page: &Page) -> String {
        let view = &self.opened.view;
        let mut frames = String::new();
        if !page.events.is_empty() {
            frames.push_str("event: data\n");
            // Each line of the data is a line of the event, however lines end: none ends the event.
            let data = view.form.sse_data(&page.events);
            for line in lines(&data) {
                frames.push_str("data:");
                // One space after the colon would be taken away.
                if line.starts_with(' ') {
                    frames.push(' ');
                }
                frames.push_str(line);
                frames.push('\n');
            }
            frames.push('\n');
        }
        // Writing to a string can't fail.
        let _ = write!(frames, "event: control\ndata:{{\"streamNextOffset\":\"{}\"", view.token(page.next));
        if page.at_end {
            frames.push_str(",\"upToDate\":true,\"streamClosed\":true");
        } else {
            let clock = &*self.edge.clock;
            let cursor = match self.given_cursor {
                Some(given) => given.max(cursor::now(clock)),
                None => cursor::next(clock, self.asked_cursor),
            };
            self.given_cursor = Some(cursor);
            let _ = write!(frames, ",\"streamCursor\":\"{cursor}\"");
            if page.at_tail {
                frames.push_str(",\"upToDate\":true");
            }
        }
        frames.push_str("}\n\n");
        frames
    }
}

/// The lines of a text, as a reader of server-sent events takes them apart.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_end_parts_lines() {
        let parts: Vec<&str> = lines("a\nb\r\nc\rd\r\n\r\ne").collect();
        assert_eq!(parts, ["a", "b", "c", "d", "", "e"]);
        assert_eq!(lines("").collect::<Vec<_>>(), [""]);
    }
}
