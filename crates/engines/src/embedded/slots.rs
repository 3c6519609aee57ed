//! What readers share with the committer: for each log that somebody writes or watches, where it stands, its
//! newest records, and who waits for it to grow. Readers never pass through the committer.

use super::record::{Reader, Record};
use super::seal::Damaged;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tidewire_core::port::{Cursor, Growth, LogState, Page, ReadError, Watch};
use tidewire_core::{Event, LogRef, Offset};
use tokio::sync::watch;

/// So many locks share the logs: far more than threads, so that two seldom meet.
const SHARDS: usize = 64;
/// A shard is swept of logs that nobody needs when it has grown to this, then at each doubling.
const FIRST_SWEEP: usize = 64;
/// The most that one log keeps in memory, so that one does not push out all others.
const MAX_BYTES_PER_LOG: usize = 8 * 1024 * 1024;
/// What a record takes beside its value: its places in two queues, its allocation.
const RECORD_OVERHEAD_BYTES: usize = 160;

/// What a log takes beside its records: its slot, its place in the map, the queue of its records.
const SLOT_OVERHEAD_BYTES: usize = 512;

/// One log in memory.
pub(super) struct Slot {
    held: Mutex<Held>,
}

struct Held {
    state: LogState,
    /// Wakes who waits for the log to grow. Made by the first one and let go of after the last: it is larger
    /// than all the rest of a short log.
    growth: Option<watch::Sender<Growth>>,
    /// The newest records, dense up to the tail; empty where all are only on disk.
    records: VecDeque<Record>,
    bytes: usize,
}

fn cost(record: &Record) -> usize {
    record.value.len() + RECORD_OVERHEAD_BYTES
}

impl Slot {
    fn new(state: LogState) -> Self {
        Self { held: Mutex::new(Held { state, growth: None, records: VecDeque::new(), bytes: 0 }) }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing panics while it is held; if something did, the records are still whole ones.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> LogState {
        self.held().state
    }

    pub(super) fn watch(&self) -> Watch {
        let mut held = self.held();
        let now = Growth { tail: held.state.tail, over: held.state.ended };
        Watch::new(held.growth.get_or_insert_with(|| watch::Sender::new(now)).subscribe())
    }

    /// Takes up a state from disk, unless it has a newer one.
    pub(super) fn advance(&self, state: LogState) {
        let mut held = self.held();
        if state.tail > held.state.tail || state.ended && !held.state.ended {
            // Its records stay: the committer is about to add the ones between, and until then a read that
            // finds them short of the tail goes to the disk.
            held.stand(state);
        }
    }

    /// Takes up the state of a store that was opened again; its records are read from there.
    pub(super) fn restart(&self, state: LogState) {
        let mut held = self.held();
        held.forget_all();
        held.stand(state);
    }

    /// A page, if what the cursor wants is in memory. `None` sends the reader to the disk, which alone may say
    /// that a cursor is past the tail: it can be ahead of this by a moment.
    pub(super) fn read(&self, cursor: Cursor, max_bytes: usize) -> Result<Option<Page>, ReadError> {
        let (state, records) = {
            let held = self.held();
            check(&held.state, cursor)?;
            let state = held.state;
            let hot = match (held.records.front(), held.records.back()) {
                (Some(first), Some(last)) => first.from..last.to,
                _ => state.tail..state.tail,
            };
            if cursor.next < hot.start || cursor.next > hot.end || hot.end != state.tail {
                return Ok(None);
            }
            (state, held.from(cursor.next, max_bytes))
        };
        let mut page = Page { events: Vec::new(), tail: state.tail, ended: state.ended };
        let mut room = Room::new(max_bytes);
        for record in records {
            let damaged = |Damaged| ReadError::Damaged { offset: record.from };
            let mut reader = Reader::trusted(&record).map_err(damaged)?;
            if !room.fill(&mut page.events, &mut reader, cursor.next).map_err(damaged)? {
                break;
            }
        }
        Ok(Some(page))
    }

    fn is_idle(&self) -> bool {
        let held = self.held();
        held.records.is_empty() && held.growth.as_ref().is_none_or(|growth| growth.receiver_count() == 0)
    }
}

impl Held {
    /// The records that hold a page from `next` on.
    fn from(&self, next: Offset, max_bytes: usize) -> Vec<Record> {
        let first = self.records.partition_point(|record| record.to <= next);
        let mut bytes = 0;
        let mut records = Vec::new();
        for record in self.records.range(first..) {
            // The first one may hold little that is after the cursor.
            if !records.is_empty() {
                bytes += record.data_bytes;
            }
            records.push(record.clone());
            if bytes > max_bytes {
                break;
            }
        }
        records
    }
}

/// Whether a cursor may read a log that stands so. A cursor past the tail is the caller's to judge.
pub(super) fn check(state: &LogState, cursor: Cursor) -> Result<(), ReadError> {
    if cursor.epoch != state.epoch {
        return Err(ReadError::EpochChanged { epoch: state.epoch });
    }
    if cursor.next < state.first {
        return Err(ReadError::Trimmed { first: state.first });
    }
    Ok(())
}

/// How much a page may still take.
pub(super) struct Room {
    bytes: usize,
}

impl Room {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { bytes: max_bytes }
    }

    /// Moves events from `next` on into the page. `false` once one does not fit. The first one always does.
    pub(super) fn fill(&mut self, events: &mut Vec<Event>, from: &mut Reader, next: Offset) -> Result<bool, Damaged> {
        from.skip_to(next)?;
        while let Some(event) = from.next()? {
            if event.data.len() > self.bytes && !events.is_empty() {
                return Ok(false);
            }
            self.bytes = self.bytes.saturating_sub(event.data.len());
            events.push(event);
        }
        Ok(true)
    }
}

struct Shard {
    slots: HashMap<LogRef, Arc<Slot>>,
    sweep_at: usize,
}

/// All logs in memory.
pub(super) struct Slots {
    shards: Vec<RwLock<Shard>>,
}

impl Slots {
    pub(super) fn new() -> Self {
        let shard = || RwLock::new(Shard { slots: HashMap::new(), sweep_at: FIRST_SWEEP });
        Self { shards: std::iter::repeat_with(shard).take(SHARDS).collect() }
    }

    fn shard(&self, log: LogRef) -> &RwLock<Shard> {
        // The last byte of an id is random.
        &self.shards[usize::from(log.log.to_bytes()[16]) % SHARDS]
    }

    pub(super) fn get(&self, log: LogRef) -> Option<Arc<Slot>> {
        let shard = self.shard(log).read().unwrap_or_else(PoisonError::into_inner);
        shard.slots.get(&log).cloned()
    }

    /// The log's slot; made in this state where there is none.
    pub(super) fn get_or_insert(&self, log: LogRef, state: LogState) -> Arc<Slot> {
        if let Some(slot) = self.get(log) {
            return slot;
        }
        let mut shard = self.shard(log).write().unwrap_or_else(PoisonError::into_inner);
        if shard.slots.len() >= shard.sweep_at {
            // A count above 1: somebody is about to watch it.
            shard.slots.retain(|_, slot| Arc::strong_count(slot) > 1 || !slot.is_idle());
            shard.sweep_at = FIRST_SWEEP.max(shard.slots.len() * 2);
        }
        shard.slots.entry(log).or_insert_with(|| Arc::new(Slot::new(state))).clone()
    }

    /// Lets go of a log that is gone, and tells those who watch it.
    pub(super) fn remove(&self, log: LogRef) -> usize {
        let removed = self.shard(log).write().unwrap_or_else(PoisonError::into_inner).slots.remove(&log);
        removed.map_or(0, |slot| {
            let held = slot.held();
            if let Some(growth) = &held.growth {
                growth.send_modify(|growth| growth.over = true);
            }
            held.bytes
        })
    }

    /// Lets go of a log if nobody needs it in memory.
    fn remove_idle(&self, log: LogRef) {
        let mut shard = self.shard(log).write().unwrap_or_else(PoisonError::into_inner);
        if shard.slots.get(&log).is_some_and(|slot| Arc::strong_count(slot) == 1 && slot.is_idle()) {
            shard.slots.remove(&log);
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<(LogRef, Arc<Slot>)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            all.extend(shard.slots.iter().map(|(log, slot)| (*log, slot.clone())));
        }
        all
    }

    /// Lets go of all: whoever watches a log is told that no more will come.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            shard.write().unwrap_or_else(PoisonError::into_inner).slots.clear();
        }
    }
}

/// What the committer shows to readers, bounded in bytes over all logs: the oldest records go first.
pub(super) struct Window {
    shown: VecDeque<(LogRef, Offset)>,
    bytes: usize,
    max_bytes: usize,
}

impl Window {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { shown: VecDeque::new(), bytes: 0, max_bytes }
    }

    /// Shows a log's new state and records, which are committed, and wakes who waits for them.
    pub(super) fn show(&mut self, slots: &Slots, log: LogRef, state: LogState, records: Vec<Record>) {
        let slot = slots.get_or_insert(log, state);
        let mut held = slot.held();
        for record in records {
            if held.records.back().is_some_and(|last| last.to != record.from) {
                self.bytes -= held.forget_all();
            }
            self.shown.push_back((log, record.from));
            self.bytes += held.remember(record);
        }
        while held.bytes > MAX_BYTES_PER_LOG {
            self.bytes -= held.forget_oldest();
        }
        held.stand(state);
    }

    /// Forgets a log's records, which were changed on disk, and shows its new state.
    pub(super) fn forget(&mut self, slots: &Slots, log: LogRef, state: LogState) {
        if let Some(slot) = slots.get(log) {
            let mut held = slot.held();
            self.bytes -= held.forget_all();
            held.stand(state);
        }
    }

    /// Forgets a log that is gone.
    pub(super) fn remove(&mut self, slots: &Slots, log: LogRef) {
        self.bytes -= slots.remove(log);
    }

    /// Lets go of the oldest records until all fit.
    pub(super) fn shrink(&mut self, slots: &Slots) {
        // Places whose record has gone for another reason cost no bytes, and must not pile up either.
        let max_places = self.max_bytes / RECORD_OVERHEAD_BYTES;
        while self.bytes > self.max_bytes || self.shown.len() > max_places {
            let Some((log, from)) = self.shown.pop_front() else { return };
            let Some(slot) = slots.get(log) else { continue };
            let mut held = slot.held();
            if held.records.front().is_some_and(|record| record.from == from) {
                self.bytes -= held.forget_oldest();
            }
            let emptied = held.records.is_empty();
            drop(held);
            drop(slot);
            if emptied {
                slots.remove_idle(log);
            }
        }
    }

    /// How many bytes all logs hold in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Held {
    /// Takes up a state, and wakes who waits for it.
    fn stand(&mut self, state: LogState) {
        self.state = state;
        let now = Growth { tail: state.tail, over: state.ended };
        if let Some(growth) = &self.growth {
            growth.send_if_modified(|growth| std::mem::replace(growth, now) != now);
            if growth.receiver_count() == 0 {
                self.growth = None;
            }
        }
    }

    fn remember(&mut self, record: Record) -> usize {
        let slot = if self.records.is_empty() { SLOT_OVERHEAD_BYTES } else { 0 };
        let taken = cost(&record) + slot;
        self.records.push_back(record);
        self.bytes += taken;
        taken
    }

    fn forget_oldest(&mut self) -> usize {
        let record = self.records.pop_front().map_or(0, |record| cost(&record));
        let slot = if self.records.is_empty() { SLOT_OVERHEAD_BYTES } else { 0 };
        let freed = (record + slot).min(self.bytes);
        self.bytes -= freed;
        freed
    }

    fn forget_all(&mut self) -> usize {
        self.records.clear();
        std::mem::take(&mut self.bytes)
    }
}
