//! A stream as a reader sees it: one row of positions, wherever its events lie. Holds no events.

use super::answer::Refused;
use super::messages::Form;
use super::offset::{Begin, Token};
use super::record::{Found, Name, Segment};
use super::{CLOSED, NEXT_OFFSET, TRUE, UP_TO_DATE};
use crate::Edge;
use http::HeaderMap;
use tidewire_core::port::{Cursor, ReadError, Watch};
use tidewire_core::{Epoch, Event, Kind, LogRef, Offset, TaskRef};

/// A stream, and where it stood when it was looked at last.
pub(super) struct View {
    pub(super) form: Form,
    /// The log with its own events.
    pub(super) log: LogRef,
    epoch: Epoch,
    /// The position of that log's first event.
    from: u64,
    inherited: Vec<Segment>,
    /// The first position that can be read.
    first: u64,
    /// The position of what comes next.
    pub(super) tail: u64,
    /// Nothing comes any more.
    pub(super) closed: bool,
}

/// Some events of a stream, dense.
pub(super) struct Page {
    pub(super) events: Vec<Event>,
    pub(super) from: u64,
    pub(super) next: u64,
    /// There is nothing after it yet.
    pub(super) at_tail: bool,
    /// There is nothing after it, and never will be.
    pub(super) at_end: bool,
}

impl View {
    /// A stream.
    pub(super) async fn of(edge: &Edge, name: &Name, found: &Found) -> Result<Self, Refused> {
        let stream = &found.stream;
        let log = name.log(stream.log);
        let state = edge.log.state(log).await.map_err(|error| gone(error, name))?;
        let mut view = Self {
            form: Form::of(&stream.content_type),
            log,
            epoch: state.epoch,
            from: stream.from,
            inherited: stream.inherited.clone(),
            first: 0,
            tail: 0,
            closed: false,
        };
        view.note(state.tail, state.ended);
        Ok(view)
    }

    /// The log of a task: its `end` event is one of the stream's.
    pub(super) async fn of_task(edge: &Edge, task: TaskRef) -> Result<Self, Refused> {
        let log = task.log();
        let state = edge.log.state(log).await.map_err(|error| match error {
            ReadError::Unknown => crate::refusal::Refusal::unknown_task(&task.task.to_string()).into(),
            error => Refused::from(error),
        })?;
        let mut view = Self {
            form: Form::Task,
            log,
            epoch: state.epoch,
            from: 0,
            inherited: Vec::new(),
            first: state.first.0,
            tail: 0,
            closed: false,
        };
        view.note(state.tail, state.ended);
        Ok(view)
    }

    fn note(&mut self, tail: Offset, ended: bool) {
        // A stream's `end` event says that it is closed; it is none of its data.
        let hidden = u64::from(ended && self.form != Form::Task);
        self.tail = self.from + tail.0 - hidden;
        self.closed = ended;
    }

    /// The position of an offset of its own log.
    pub(super) fn position(&self, offset: Offset) -> u64 {
        self.from + offset.0
    }

    /// The offset of its own log at a position; the first one, where the position is inherited.
    pub(super) fn offset(&self, position: u64) -> Offset {
        Offset(position.saturating_sub(self.from))
    }

    /// The position as the protocol shows it.
    pub(super) fn token(&self, position: u64) -> Token {
        Token { position, epoch: self.epoch_before(position).0 }
    }

    /// The epoch of the log with the event before a position.
    fn epoch_before(&self, position: u64) -> Epoch {
        match position.checked_sub(1).and_then(|last| self.segment_of(last)) {
            Some(segment) => Epoch(segment.epoch),
            None if position == 0 => Epoch(0),
            None => self.epoch,
        }
    }

    /// What of its inheritance holds a position; none where it is its own.
    pub(super) fn segment_of(&self, position: u64) -> Option<Segment> {
        self.inherited.iter().find(|segment| position < segment.until).copied()
    }

    /// Its inheritance up to a position, itself included.
    pub(super) fn segments_until(&self, position: u64) -> Vec<Segment> {
        let own = Segment { log: self.log.log, epoch: self.epoch.0, from: self.from, until: position };
        let mut begin = 0;
        let mut segments = Vec::new();
        for segment in self.inherited.iter().copied().chain([own]) {
            let until = segment.until.min(position);
            if until > begin {
                segments.push(Segment { until, ..segment });
                begin = until;
            }
        }
        segments
    }

    /// The position where a reader wants to begin.
    pub(super) fn begin(&self, begin: Begin) -> Result<u64, Refused> {
        match begin {
            Begin::Start => Ok(self.first),
            Begin::Now => Ok(self.tail),
            Begin::At(token) => self.resume(token),
        }
    }

    /// The position of a token that this stream gave.
    pub(super) fn resume(&self, token: Token) -> Result<u64, Refused> {
        let Token { position, epoch } = token;
        if position > self.tail {
            return Err(ReadError::Future { tail: Offset(self.tail) }.into());
        }
        if position < self.first {
            return Err(ReadError::Trimmed { first: Offset(self.first) }.into());
        }
        let expected = self.epoch_before(position);
        if Epoch(epoch) != expected {
            return Err(ReadError::EpochChanged { epoch: expected }.into());
        }
        Ok(position)
    }

    /// Events from a position on, as many as fit `max_bytes`, at least one where there is one.
    pub(super) async fn page(&mut self, edge: &Edge, from: u64, max_bytes: usize) -> Result<Page, ReadError> {
        let mut page = Page { events: Vec::new(), from, next: from, at_tail: false, at_end: false };
        let mut room = max_bytes;
        while let Some(segment) = self.segment_of(page.next) {
            let log = LogRef { log: segment.log, ..self.log };
            let cursor = Cursor { epoch: Epoch(segment.epoch), next: Offset(page.next - segment.from) };
            let read = edge.log.read(log, cursor, room).await?;
            let left = segment.until - page.next;
            for event in read.events.into_iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
                room = room.saturating_sub(event.data.len());
                page.next += 1;
                page.events.push(event);
            }
            if page.next < segment.until || room == 0 {
                return Ok(page);
            }
        }
        let cursor = Cursor { epoch: self.epoch, next: self.offset(page.next) };
        let read = edge.log.read(self.log, cursor, room).await?;
        self.note(read.tail, read.ended);
        for event in read.events {
            if event.kind == Kind::End && self.form != Form::Task {
                break;
            }
            page.next += 1;
            page.events.push(event);
        }
        page.at_tail = page.next >= self.tail;
        page.at_end = page.at_tail && self.closed;
        Ok(page)
    }

    /// A watch on what is appended to it. Watch before the first read.
    pub(super) async fn watch(&self, edge: &Edge) -> Result<Watch, ReadError> {
        edge.log.watch(self.log).await
    }

    /// What an answer tells of a reader's new place.
    pub(super) fn tell(&self, page: &Page, headers: &mut HeaderMap) {
        headers.insert(NEXT_OFFSET, super::answer::value(self.token(page.next)));
        if page.at_tail {
            headers.insert(UP_TO_DATE, TRUE);
        }
        if page.at_end {
            headers.insert(CLOSED, TRUE);
        }
    }
}

/// The log of a stream that is there is unknown only when the stream has been deleted since.
pub(super) fn gone(error: ReadError, name: &Name) -> Refused {
    match error {
        ReadError::Unknown => Refused::unknown_stream(name.path()),
        error => error.into(),
    }
}
