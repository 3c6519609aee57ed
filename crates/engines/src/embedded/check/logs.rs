//! Logs: their events, their heads, and their producers.

use super::{Check, HARMLESS, REPORT, RESTORE};
use crate::embedded::head::{self, Stand};
use crate::embedded::key;
use crate::embedded::record::Reader;
use crate::embedded::store::{Trouble, all_events, pair};
use bytes::Bytes;
use fjall::Readable;
use std::collections::HashSet;
use tidewire_core::{Kind, LogRef, Offset};

/// What has been seen of a log's events.
struct Seen {
    log: LogRef,
    /// Its head; `None` where there is none, or it is damaged.
    head: Option<Stand>,
    /// Where the next record should begin.
    next: Option<Offset>,
    /// Data of what can be read.
    held_bytes: u64,
    /// Some of it can't be read, so that sums and ends say nothing.
    damaged: bool,
    /// Where an `end` event stands.
    end: Option<Offset>,
}

impl Check<'_> {
    /// Every record of events: dense, in the log's bounds, and with one `end`, at the end of a log that has ended.
    pub(super) fn events(&mut self) -> fjall::Result<()> {
        let mut seen: Option<Seen> = None;
        let mut half_gone: Option<HashSet<LogRef>> = None;
        for entry in self.at.iter(&self.store.events) {
            let (key, value) = match pair(entry) {
                Ok(pair) => pair,
                Err(Trouble::Disk(error)) => return Err(error),
                Err(Trouble::Damaged { .. }) => continue,
            };
            self.looked_at("events");
            let log = key.get(..key::LOG_BYTES).and_then(key::parse_log);
            let (Some(log), Some(from)) = (log, key::parse_events_from(&key)) else {
                self.damage("key", "events", "a key that names no log", REPORT);
                continue;
            };
            if seen.as_ref().is_none_or(|seen| seen.log != log) {
                if let Some(done) = seen.take() {
                    self.conclude(&done);
                }
                seen = Some(self.begin(log, &mut half_gone)?);
            }
            if let Some(seen) = &mut seen {
                self.record(seen, from, &value);
            }
        }
        if let Some(done) = seen {
            self.conclude(&done);
        }
        Ok(())
    }

    fn begin(&mut self, log: LogRef, half_gone: &mut Option<HashSet<LogRef>>) -> fjall::Result<Seen> {
        let found = Self::sound(head::stored(self.store, &self.at, log))?;
        if matches!(found, Some(None)) {
            // An expiry takes the head first and the index entry last.
            let gone = match half_gone {
                Some(gone) => gone,
                None => half_gone.insert(self.in_ended_index()?),
            };
            if !gone.contains(&log) {
                self.loose("orphan_events", log.log, "events of a log that is not there", HARMLESS);
            }
        }
        let head = found.flatten();
        Ok(Seen { log, damaged: head.is_none(), head, next: None, held_bytes: 0, end: None })
    }

    fn in_ended_index(&self) -> fjall::Result<HashSet<LogRef>> {
        let keys = self.at.iter(&self.store.ended).map(fjall::Guard::key);
        let logs = keys.map(|key| Ok(key::parse_ended(&key?).map(|(_, log)| log)));
        logs.filter_map(Result::transpose).collect()
    }

    fn record(&mut self, seen: &mut Seen, from: Offset, value: &Bytes) {
        let first = seen.head.map_or(from, |head| head.state.first);
        if from < first {
            // What trimming left to be swept; it can't be read.
            return;
        }
        let place = || format!("{} at offset {}", seen.log.log, from.0);
        let Ok(mut record) = Reader::checked(seen.log, from, value) else {
            seen.damaged = true;
            seen.next = None;
            return self.damage("checksum", place(), "a record of events fails its checksum", RESTORE);
        };
        let expected = seen.next.or(seen.head.filter(|_| seen.held_bytes == 0 && !seen.damaged).map(|_| first));
        if let Some(expected) = expected.filter(|&expected| expected != from) {
            seen.damaged = true;
            let what = format!("the event at offset {} should be here: events are missing or doubled", expected.0);
            self.damage("gap", place(), what, RESTORE);
        }
        loop {
            match record.next() {
                Ok(Some(event)) => {
                    self.report.events += 1;
                    seen.held_bytes += event.data.len() as u64;
                    if let Some(end) = seen.end {
                        let what = format!("an event after the end of the log, which is at offset {}", end.0);
                        self.damage("end", place(), what, REPORT);
                    }
                    if event.kind == Kind::End {
                        seen.end = Some(event.offset);
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    seen.damaged = true;
                    self.damage("record", place(), "a record of events can't be read", RESTORE);
                    break;
                }
            }
        }
        seen.next = Some(record.to());
    }

    /// The whole log against its head.
    fn conclude(&mut self, seen: &Seen) {
        let (Some(head), Some(tail), false) = (seen.head, seen.next, seen.damaged) else { return };
        let log = seen.log.log;
        match (head.state.ended, seen.end) {
            (true, None) => self.damage("end", log, "it has ended, and its `end` event is missing", RESTORE),
            (false, Some(_)) => {
                self.damage("end", log, "it has an `end` event, and its head says that it goes on", REPORT);
            }
            _ => {}
        }
        if head.state.ended && head.state.tail != tail {
            let what = format!("its head says that it ends at {}, and its events end at {}", head.state.tail.0, tail.0);
            self.damage("tail", log, what, RESTORE);
        }
        if head.state.ended && head.held_bytes() != seen.held_bytes {
            let what = format!("its head says {} bytes, and its events hold {}", head.held_bytes(), seen.held_bytes);
            self.loose("size", log, what, HARMLESS);
        }
    }

    /// Every head: one of a log that has ended has events.
    pub(super) fn heads(&mut self) -> fjall::Result<()> {
        let store = self.store;
        self.each("logs", &store.logs, |check, key, _| {
            let Some(log) = key::parse_log(key) else {
                return check.damage("key", "logs", "a key that names no log", REPORT);
            };
            let Ok(Some(head)) = head::stored(store, &check.at, log) else {
                return check.damage("head", log.log, "its head can't be read", RESTORE);
            };
            if head.state.ended {
                check.report.logs_ended += 1;
                // A shared log is removed by the face that made it.
                check.task_logs_ended += u64::from(log.log.task().is_some());
                if check.at.range(&store.events, all_events(log)).next().is_none() {
                    check.damage("end", log.log, "it has ended, and all its events are missing", RESTORE);
                }
            } else {
                check.report.logs_live += 1;
            }
        })
    }

    /// Every producer is of a log that is there.
    pub(super) fn producers(&mut self) -> fjall::Result<()> {
        let store = self.store;
        self.each("producers", &store.producers, |check, key, _| {
            let log = key.get(..key::LOG_BYTES).and_then(key::parse_log);
            match log.map(|log| (log, head::stored(store, &check.at, log))) {
                None => check.damage("key", "producers", "a key that names no log", REPORT),
                Some((log, Ok(None))) => {
                    check.loose("orphan_producer", log.log, "a producer of a log that is not there", HARMLESS);
                }
                Some(_) => {}
            }
        })
    }
}
