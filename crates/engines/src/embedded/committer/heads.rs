//! The heads that the committer decides by: those of logs that were written lately, the rest read again when
//! somebody writes to them.

use crate::embedded::head::{self, Stand};
use crate::embedded::store::{Store, Trouble};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use tidewire_core::port::{Head, LogState};
use tidewire_core::{Epoch, LogKind, LogRef, Timestamp};

/// A generation of heads. With two of them at some 250 bytes a head: about 16 MB at most.
const GENERATION: usize = 32 * 1024;

/// A log that is being written.
pub(in crate::embedded) struct Writing {
    pub(in crate::embedded) head: Head,
    pub(in crate::embedded) bytes: u64,
    pub(in crate::embedded) dropped_bytes: i64,
    pub(in crate::embedded) ended_at: Option<Timestamp>,
    /// Its place among the logs that this round touches.
    pub(in crate::embedded) touched: Option<usize>,
}

impl Writing {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self { head: Head::new(epoch), bytes: 0, dropped_bytes: 0, ended_at: None, touched: None }
    }

    pub(super) fn state(&self) -> LogState {
        self.head.state
    }

    pub(super) fn stand(&self) -> Stand {
        let Self { bytes, dropped_bytes, ended_at, .. } = *self;
        Stand { state: self.head.state, bytes, dropped_bytes, ended_at }
    }

    pub(super) fn set_stand(&mut self, stand: Stand) {
        self.head.state = stand.state;
        self.bytes = stand.bytes;
        self.dropped_bytes = stand.dropped_bytes;
        self.ended_at = stand.ended_at;
    }
}

/// Heads in memory, in two generations: one that was not used for a whole generation is let go of.
#[derive(Default)]
pub(super) struct Heads {
    young: HashMap<LogRef, Writing>,
    old: HashMap<LogRef, Writing>,
}

impl Heads {
    /// The log's head; `None` where there is no such log.
    pub(super) fn get(&mut self, store: &Store, log: LogRef) -> Result<Option<&mut Writing>, Trouble> {
        match self.young.entry(log) {
            Entry::Occupied(known) => Ok(Some(known.into_mut())),
            Entry::Vacant(place) => {
                let found = match self.old.remove(&log) {
                    Some(writing) => Some(writing),
                    None => load(store, log)?,
                };
                Ok(found.map(|writing| place.insert(writing)))
            }
        }
    }

    /// Takes up a new log.
    pub(super) fn insert(&mut self, log: LogRef, writing: Writing) -> &mut Writing {
        self.young.entry(log).insert_entry(writing).into_mut()
    }

    pub(super) fn remove(&mut self, log: LogRef) {
        self.young.remove(&log);
        self.old.remove(&log);
    }

    /// Between two rounds: lets go of heads if there are many.
    pub(super) fn age(&mut self) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

fn load(store: &Store, log: LogRef) -> Result<Option<Writing>, Trouble> {
    let at = store.db.snapshot();
    let Some(found) = head::find(store, &at, log)? else {
        return Ok(None);
    };
    let stand = found.sound(log)?;
    let mut writing = Writing::new(stand.state.epoch);
    writing.set_stand(stand);
    if log.log.kind() == LogKind::Shared {
        (writing.head.producers, writing.head.rank) = head::writers(store, &at, log)?;
    }
    Ok(Some(writing))
}
