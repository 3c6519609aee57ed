//! Follows a log: a cursor, a watch, and a window within which events are merged. Holds no events, so a slow
//! client costs nothing but this.

use crate::Edge;
use crate::refusal::Refusal;
use base64::Engine;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Clock, Cursor, EventLog, Measurement, Page, ReadError, Watch};
use tidewire_core::{Epoch, Event, Kind, LogRef, Offset};
use tidewire_proto::WireEvent;
use tidewire_proto::event::Data;

/// How much is read at once: what a fast client takes in one go, small beside a slow one's socket buffer.
const BATCH_BYTES: usize = 64 * 1024;

/// The window where the client asks for none: three frames of a screen.
pub(crate) const DEFAULT_WINDOW: Duration = Duration::from_millis(40);

/// The longest window that a client may ask for.
pub(crate) const MAX_WINDOW_MS: u64 = 5_000;

/// Where a client wants to go on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Resume {
    pub(crate) after: Option<u64>,
    pub(crate) epoch: Option<u32>,
}

/// A cursor on a log.
pub(crate) struct Follower {
    log: Arc<dyn EventLog>,
    clock: Arc<dyn Clock>,
    pub(crate) at: LogRef,
    pub(crate) cursor: Cursor,
    pub(crate) tail: Offset,
    watch: Watch,
    window: Duration,
    sent: Option<Duration>,
    /// All that there was has been read: what comes next is news.
    caught_up: bool,
}

/// Events that are ready, and whether they are the last.
pub(crate) struct Batch {
    pub(crate) events: Vec<Event>,
    pub(crate) over: bool,
    /// They were committed while the reader waited for them.
    pub(crate) news: bool,
}

impl Batch {
    /// It is handed to its reader's connection now: measures how late its newest event is.
    pub(crate) fn told(&self, edge: &Edge) {
        if let Some(newest) = self.events.last().filter(|_| self.news) {
            edge.meter.record(Measurement::DeliveryLag(edge.clock.now().since(newest.at)));
        }
    }

    pub(crate) fn from(&self) -> u64 {
        self.events.first().map_or(0, |event| event.offset.0)
    }

    pub(crate) fn to(&self) -> u64 {
        self.events.last().map_or(0, |event| event.offset.0 + 1)
    }
}

impl Follower {
    /// Sets a cursor.
    pub(crate) async fn open(edge: &Edge, at: LogRef, resume: Resume, window: Duration) -> Result<Self, Refusal> {
        // Watch before the first read. The other way round, an event appended between the two calls wakes
        // nobody, and the reader waits for a signal that has already gone by.
        let watch = edge.log.watch(at).await?;
        let state = edge.log.state(at).await?;
        if let Some(epoch) = resume.epoch.map(Epoch).filter(|epoch| *epoch != state.epoch) {
            tracing::debug!(log = %at.log, asked = epoch.0, "a cursor of another epoch");
            return Err(ReadError::EpochChanged { epoch: state.epoch }.into());
        }
        let next = resume.after.map_or(state.first, |after| Offset(after.saturating_add(1)));
        if next > state.tail {
            return Err(ReadError::Future { tail: state.tail }.into());
        }
        if next < state.first {
            return Err(ReadError::Trimmed { first: state.first }.into());
        }
        let cursor = Cursor { epoch: state.epoch, next };
        let (log, clock) = (edge.log.clone(), edge.clock.clone());
        Ok(Self { log, clock, at, cursor, tail: state.tail, watch, window, sent: None, caught_up: next == state.tail })
    }

    /// Waits for events, and for the end of the window since the last ones. Dropping the future loses nothing:
    /// the cursor moves only with what is returned. An empty batch is over: there is nothing after the cursor.
    pub(crate) async fn batch(&mut self) -> Result<Batch, Refusal> {
        let growth = self.watch.grown(self.cursor.next).await;
        if let Some(sent) = self.sent.filter(|_| !growth.over) {
            let waited = self.clock.monotonic().saturating_sub(sent);
            if let Some(rest) = self.window.checked_sub(waited).filter(|rest| !rest.is_zero()) {
                tokio::select! {
                    () = self.clock.sleep(rest) => {}
                    // An ended log is told at once, whatever the window.
                    () = self.watch.over() => {}
                }
            }
        }
        let page = self.log.read(self.at, self.cursor, BATCH_BYTES).await?;
        if let Some(last) = page.events.last() {
            self.cursor.next = last.offset.plus(1);
            // The window counts from the model's words: a `started` alone must not delay the first token.
            if page.events.iter().any(|event| event.kind != Kind::Started) {
                self.sent = Some(self.clock.monotonic());
            }
        }
        Ok(self.batch_of(page))
    }

    fn batch_of(&mut self, page: Page) -> Batch {
        let news = self.caught_up;
        self.caught_up = self.cursor.next >= page.tail;
        Batch { over: page.ended && self.caught_up, news, events: page.events }
    }

    /// What is there now, without waiting.
    pub(crate) async fn page(&mut self, max_bytes: usize) -> Result<Batch, Refusal> {
        let page = self.log.read(self.at, self.cursor, max_bytes).await?;
        if let Some(last) = page.events.last() {
            self.cursor.next = last.offset.plus(1);
        }
        self.tail = page.tail;
        Ok(self.batch_of(page))
    }

    /// Waits until the log has ended.
    pub(crate) async fn over(&mut self) {
        self.watch.over().await;
    }

    /// Waits until there is something after the cursor, or never will be.
    pub(crate) async fn news(&mut self) {
        self.watch.grown(self.cursor.next).await;
    }
}

/// Events as the wire shows them: adjacent text is merged.
pub(crate) fn merged(events: &[Event]) -> Vec<WireEvent<'_>> {
    let mut merged: Vec<WireEvent<'_>> = Vec::with_capacity(events.len().min(8));
    let mut last = None;
    for event in events {
        if event.kind.is_text()
            && last == Some(event.kind)
            && let Some(WireEvent { count, data: Data::Text(text), .. }) = merged.last_mut()
        {
            text.to_mut().push_str(&String::from_utf8_lossy(&event.data));
            *count += 1;
            continue;
        }
        last = Some(event.kind);
        merged.push(WireEvent {
            offset: event.offset.0,
            count: 1,
            kind: Cow::Borrowed(event.kind.name()),
            at: event.at.as_millis(),
            data: data(event),
        });
    }
    merged
}

fn data(event: &Event) -> Data<'_> {
    match event.kind {
        Kind::Text | Kind::Reasoning => Data::Text(String::from_utf8_lossy(&event.data)),
        Kind::Data => Data::Text(base64::engine::general_purpose::STANDARD.encode(&event.data).into()),
        // What was blanked is no JSON any more.
        _ => match serde_json::from_slice::<&RawValue>(&event.data) {
            Ok(json) => Data::Json(Cow::Borrowed(json)),
            Err(_) => Data::Json(Cow::Borrowed(RawValue::NULL)),
        },
    }
}
