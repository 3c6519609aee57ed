//! What is kept beside logs and tasks: the index of ended logs, the feed, named records, and the counts of all.

use super::{Check, HARMLESS, REPORT, RESTORE};
use crate::embedded::counts::Counts;
use crate::embedded::{feed, head, key, varint};
use std::collections::BTreeMap;

/// The next expiry takes it up where it was cut off.
const GOES_ON: &str = "the server's next expiry deletes the rest of it";

impl Check<'_> {
    /// Every entry is of a log that ended then, and every log that ended has one.
    pub(super) fn ended_index(&mut self) -> fjall::Result<()> {
        let store = self.store;
        let mut bytes_in_all = 0;
        let mut entries = 0;
        self.each("ended", &store.ended, |check, key, body| {
            let bytes = varint::take(&mut &body[..]);
            let (Some((at, log)), Some(bytes)) = (key::parse_ended(key), bytes) else {
                return check.damage("ended_index", "ended", "an entry that can't be read", REPORT);
            };
            bytes_in_all += bytes;
            match head::stored(store, &check.at, log) {
                Ok(Some(head)) if head.ended_at == Some(at) => {
                    entries += 1;
                    if head.held_bytes() != bytes {
                        check.loose("size", log.log, "retention counts another size than its head says", HARMLESS);
                    }
                }
                Ok(Some(_)) => check.damage("ended_index", log.log, "it did not end when retention says so", REPORT),
                Ok(None) => {
                    let what = "its head is gone and it is still in the index of ended logs: an expiry was cut off";
                    check.loose("half_expired", log.log, what, GOES_ON);
                }
                // A damaged head is told where heads are looked at.
                Err(_) => {}
            }
        })?;
        if entries < self.task_logs_ended {
            let what = format!("{} ended logs are not in it: they never expire", self.task_logs_ended - entries);
            self.loose("ended_index", "ended", what, REPORT);
        }
        self.compare("bytes of ended logs", bytes_in_all, |counts| counts.ended_bytes)
    }

    /// The feed is dense from its first record to its last entry.
    pub(super) fn feed(&mut self) -> fjall::Result<()> {
        let store = self.store;
        let mut next = None;
        self.each("feed", &store.feed, |check, key, body| {
            let (Some(first), Some(count)) = (key::parse_feed(key), feed::count(&body)) else {
                return check.damage("feed", "feed", "a record that can't be read", RESTORE);
            };
            if next.is_some_and(|next| next != first) {
                check.damage("feed", format!("position {first}"), "positions are missing before it", RESTORE);
            }
            next = Some(first + count);
        })?;
        match next {
            Some(next) => self.compare("the feed's next position", next, |counts| counts.feed_next),
            None => Ok(()),
        }
    }

    /// Every shelf of named records holds as many as it says.
    pub(super) fn directory(&mut self) -> fjall::Result<()> {
        let store = self.store;
        let mut shelves: BTreeMap<Vec<u8>, (u64, u64)> = BTreeMap::new();
        self.each("directory", &store.directory, |check, key, body| {
            let Some(shelf) = key.get(..key::SHELF_BYTES) else {
                return check.damage("key", "directory", "a key that names no shelf", REPORT);
            };
            let (said, found) = shelves.entry(shelf.to_vec()).or_default();
            if key.len() == key::SHELF_BYTES {
                *said = varint::take(&mut &body[..]).unwrap_or(u64::MAX);
            } else if key::parse_record(key).is_none() || varint::take(&mut &body[..]).is_none() {
                check.damage("directory", super::hex(key), "a named record that can't be read", RESTORE);
            } else {
                *found += 1;
            }
        })?;
        for (shelf, (said, found)) in shelves {
            if said != found {
                let what = format!("the shelf says that it holds {said} records, and holds {found}");
                self.damage("directory", super::hex(&shelf), what, RESTORE);
            }
        }
        Ok(())
    }

    /// The store's own values.
    pub(super) fn meta(&mut self) -> fjall::Result<()> {
        let store = self.store;
        self.each("meta", &store.meta, |_, _, _| ())?;
        self.compare("logs that have not ended", self.report.logs_live, |counts| counts.logs_live)
    }

    fn compare(&mut self, what: &str, found: u64, said: impl FnOnce(&Counts) -> u64) -> fjall::Result<()> {
        if let Some(counts) = Self::sound(Counts::read(self.store, &self.at))? {
            let said = said(&counts);
            if said != found {
                let what = format!("{what}: the store counts {said}, and there are {found}");
                self.loose("counts", "meta", what, REPORT);
            }
        }
        Ok(())
    }
}
