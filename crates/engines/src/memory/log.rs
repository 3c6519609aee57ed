//! One log: its events, packed tightly, its head, and those who watch it grow.

use bytes::{Bytes, BytesMut};
use std::mem::size_of;
use tidewire_core::port::{
    Append, AppendError, Appended, Cursor, FeedEntry, FeedPosition, Growth, Head, LogState, Page, ReadError, TrimError,
    Watch,
};
use tidewire_core::{Entry, Epoch, Event, Kind, LogKind, LogRef, Offset};
use tokio::sync::watch;

/// What a log costs besides its events: its head, its place in the map, the channel to its watchers.
pub(super) const LOG_BYTES: usize = 1024;
/// What an append costs besides its events: its place in the feed, and its producer's place in the head.
const APPEND_BYTES: usize = 48;
/// Buffers for small data grow from the first size to the second: a short log takes little, a long one few.
const BUFFER_BYTES: std::ops::RangeInclusive<usize> = 128..=4096;

/// The log's contents. Its lock is the caller's.
pub(super) struct Log {
    pub(super) head: Head,
    events: Vec<Event>,
    // Small data is packed into buffers of many: a buffer each, or a slice of whatever large buffer the data
    // arrived in, would hold far more memory than the log says it holds.
    buffer: BytesMut,
    buffer_bytes: usize,
    // Where in the feed each append stands, and its first event.
    appends: Vec<(FeedPosition, Offset)>,
    watchers: Option<watch::Sender<Growth>>,
    data_bytes: usize,
    charged_bytes: usize,
    expires: bool,
    // The log was taken away while somebody still held it.
    gone: bool,
}

/// What an append of these is charged.
pub(super) fn cost_bytes(entries: &[Entry], last: Option<&Entry>) -> usize {
    if entries.is_empty() && last.is_none() {
        return 0;
    }
    APPEND_BYTES + entries.iter().chain(last).map(|entry| size_of::<Event>() + entry.data.len()).sum::<usize>()
}

impl Log {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self {
            head: Head::new(epoch),
            events: Vec::new(),
            buffer: BytesMut::new(),
            buffer_bytes: *BUFFER_BYTES.start(),
            appends: Vec::new(),
            watchers: None,
            data_bytes: 0,
            charged_bytes: LOG_BYTES,
            expires: false,
            gone: false,
        }
    }

    /// Nobody has written into it.
    pub(super) fn is_untouched(&self) -> bool {
        self.appends.is_empty() && !self.head.state.ended
    }

    /// Bytes of data that it holds.
    pub(super) fn data_bytes(&self) -> usize {
        self.data_bytes
    }

    /// Bytes that it is charged in all.
    pub(super) fn charged_bytes(&self) -> usize {
        self.charged_bytes
    }

    /// Adds the entries and then `last`, where the head admits them. `position` is the append's place in the
    /// feed. The second value says whether anything was added: not by an append without entries, nor by a
    /// repeated one. [`Log::tell`] must follow.
    pub(super) fn append(
        &mut self,
        append: &Append,
        last: Option<&Entry>,
        position: impl FnOnce() -> FeedPosition,
    ) -> Result<(Appended, bool), AppendError> {
        if self.gone {
            return Err(AppendError::Unknown);
        }
        let count = append.entries.len() + usize::from(last.is_some());
        let (appended, fresh) = self.head.admit(append, count)?;
        if !fresh || count == 0 {
            return Ok((appended, false));
        }
        self.charged_bytes += cost_bytes(&append.entries, last);
        self.appends.push((position(), appended.from));
        for (place, entry) in append.entries.iter().chain(last).enumerate() {
            let data = self.pack(&entry.data);
            self.data_bytes += data.len();
            self.events.push(Event { offset: appended.from.plus(place), at: entry.at, kind: entry.kind, data });
        }
        Ok((appended, true))
    }

    /// Retention counts it, and takes it away in time: it is a task's, and has ended.
    pub(super) fn expires(&self) -> bool {
        self.expires
    }

    /// Adds no more from now on, and lets go of what only a growing log needs.
    pub(super) fn end(&mut self, kind: LogKind) {
        self.head.state.ended = true;
        self.expires = kind == LogKind::Task;
        self.buffer = BytesMut::new();
        self.events.shrink_to_fit();
        self.appends.shrink_to_fit();
    }

    /// Tells the watchers where the log stands, and lets go of them where nobody watches or no more will come.
    pub(super) fn tell(&mut self) {
        let growth = self.growth();
        if let Some(watchers) = self.watchers.take()
            && watchers.receiver_count() > 0
        {
            watchers.send_replace(growth);
            self.watchers = (!growth.over).then_some(watchers);
        }
    }

    fn growth(&self) -> Growth {
        Growth { tail: self.head.state.tail, over: self.head.state.ended || self.gone }
    }

    pub(super) fn watch(&mut self) -> Watch {
        let growth = self.growth();
        if growth.over {
            // The sender is dropped at once: nothing more will be told.
            return Watch::new(watch::channel(growth).1);
        }
        Watch::new(self.watchers.get_or_insert_with(|| watch::Sender::new(growth)).subscribe())
    }

    /// Where it stands, unless it was taken away.
    pub(super) fn state(&self) -> Result<LogState, ReadError> {
        if self.gone { Err(ReadError::Unknown) } else { Ok(self.head.state) }
    }

    pub(super) fn read(&self, cursor: Cursor, max_bytes: usize) -> Result<Page, ReadError> {
        let state = self.state()?;
        if cursor.epoch != state.epoch {
            return Err(ReadError::EpochChanged { epoch: state.epoch });
        }
        if cursor.next < state.first {
            return Err(ReadError::Trimmed { first: state.first });
        }
        if cursor.next > state.tail {
            return Err(ReadError::Future { tail: state.tail });
        }
        let rest = &self.events[self.place(cursor.next)..];
        let mut bytes = 0;
        let mut fits = |event: &Event| {
            bytes += event.data.len();
            bytes <= max_bytes
        };
        let count = rest.iter().take_while(|event| fits(event)).count().max(1).min(rest.len());
        Ok(Page { events: rest[..count].to_vec(), tail: state.tail, ended: state.ended })
    }

    /// Where an event stands in `events`.
    fn place(&self, offset: Offset) -> usize {
        // The events are in memory, so that their count fits.
        usize::try_from(offset.0.saturating_sub(self.head.state.first.0)).unwrap_or(usize::MAX).min(self.events.len())
    }

    /// The small data's own copy, in a buffer of many.
    fn pack(&mut self, data: &Bytes) -> Bytes {
        if data.is_empty() {
            return Bytes::new();
        }
        if data.len() >= *BUFFER_BYTES.end() {
            return Bytes::copy_from_slice(data);
        }
        if self.buffer.capacity() < data.len() {
            self.buffer = BytesMut::with_capacity(self.buffer_bytes.max(data.len()));
            self.buffer_bytes = (self.buffer_bytes * 2).min(*BUFFER_BYTES.end());
        }
        self.buffer.extend_from_slice(data);
        self.buffer.split().freeze()
    }

    /// Puts the snapshot in place of all events before `upto`. Gives back the bytes freed and those added.
    pub(super) fn trim(&mut self, upto: Offset, snapshot: &Entry) -> Result<(usize, usize), TrimError> {
        let (first, tail) = (self.head.state.first, self.head.state.tail);
        if self.gone {
            return Err(TrimError::Unknown);
        }
        if upto <= first || upto > tail {
            return Err(TrimError::OutOfRange { first, tail });
        }
        let place = self.place(upto);
        let data = Bytes::copy_from_slice(&snapshot.data);
        let offset = Offset(upto.0 - 1);
        let added = data.len();
        let stands = Event { offset, at: snapshot.at, kind: snapshot.kind, data };
        let removed: usize = self.events.splice(..place, [stands]).map(|event| event.data.len()).sum();
        self.head.state.first = offset;
        let freed = removed + (place - 1) * size_of::<Event>();
        self.data_bytes = self.data_bytes + added - removed;
        self.charged_bytes = self.charged_bytes + added - freed;
        Ok((freed, added))
    }

    /// Blanks all data but that of the `end` event. Gives back the bytes freed.
    pub(super) fn erase(&mut self) -> Result<usize, TrimError> {
        if self.gone {
            return Err(TrimError::Unknown);
        }
        let before = self.data_bytes;
        self.data_bytes = 0;
        for event in &mut self.events {
            if event.kind == Kind::End {
                // A copy, because the buffer that it shares holds the erased data too.
                event.data = Bytes::copy_from_slice(&event.data);
            } else {
                event.kind = Kind::Erased;
                event.data = Bytes::new();
            }
            self.data_bytes += event.data.len();
        }
        self.buffer = BytesMut::new();
        let freed = before - self.data_bytes;
        self.charged_bytes -= freed;
        Ok(freed)
    }

    /// The log is taken away: whoever watches it is told.
    pub(super) fn leave(&mut self) {
        self.gone = true;
        self.tell();
    }

    /// The appends after one position, up to and with another.
    pub(super) fn feed(&self, log: LogRef, after: FeedPosition, upto: FeedPosition, entries: &mut Vec<FeedEntry>) {
        let begin = self.appends.partition_point(|(position, _)| *position <= after);
        for (place, &(position, from)) in self.appends.iter().enumerate().skip(begin) {
            if position > upto {
                return;
            }
            let to = self.appends.get(place + 1).map_or(self.head.state.tail, |(_, next)| *next);
            entries.push(FeedEntry { position, log, from, to });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_core::port::Writer;
    use tidewire_core::{Durability, Fence, TaskId, TenantId, Timestamp};

    fn append(expect: u64) -> Append {
        let task = TaskId::new(Timestamp::from_millis(1), 1, Durability::Transient);
        let log = LogRef { tenant: TenantId::DEFAULT, log: task.log() };
        let entries = vec![Entry::new(Timestamp::from_millis(1), Kind::Text, "text")];
        Append { log, writer: Writer::Leased { fence: Fence(1), expect: Offset(expect) }, entries }
    }

    #[test]
    fn a_log_that_nobody_watches_keeps_no_channel() {
        let mut log = Log::new(Epoch(1));
        let watch = log.watch();
        log.append(&append(0), None, || FeedPosition(1)).unwrap();
        log.tell();
        assert_eq!((watch.now().tail, log.watchers.is_some()), (Offset(1), true));
        drop(watch);
        log.append(&append(1), None, || FeedPosition(2)).unwrap();
        log.tell();
        assert!(log.watchers.is_none());
        assert_eq!(log.watch().now().tail, Offset(2));
    }

    #[test]
    fn an_ended_log_keeps_no_channel() {
        let mut log = Log::new(Epoch(1));
        let watch = log.watch();
        log.end(LogKind::Task);
        log.tell();
        assert!(watch.now().over && log.watchers.is_none());
        assert!(log.watch().now().over && log.watchers.is_none());
    }
}
