//! What a cache knows of what it keeps: the same in memory for every engine, wherever the answers lie.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tidewire_core::Timestamp;
use tidewire_core::port::{CacheKey, CacheStats};

/// What every entry takes beside its answer: its places in these maps, and on a disk.
const ENTRY_BYTES: u64 = 256;

/// One answer may take this part of the whole: else one of them would drive out all others.
const LARGEST_PART: u64 = 8;

/// Entries by key and by their last use, bounded in bytes.
#[derive(Debug)]
pub(crate) struct Shelf<V> {
    entries: HashMap<CacheKey, Entry<V>>,
    /// By when they were last used, the one longest ago first.
    by_use: BTreeMap<u64, CacheKey>,
    uses: u64,
    bytes: u64,
    bound_bytes: u64,
    evictions: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry<V> {
    pub(crate) route: Arc<str>,
    pub(crate) made_at: Timestamp,
    pub(crate) keep_until: Timestamp,
    pub(crate) answer: V,
    pub(crate) answer_bytes: u64,
    used: u64,
}

impl<V> Entry<V> {
    pub(crate) fn new(
        route: Arc<str>,
        (made_at, keep_until): (Timestamp, Timestamp),
        answer: V,
        answer_bytes: u64,
    ) -> Self {
        Self { route, made_at, keep_until, answer, answer_bytes, used: 0 }
    }

    fn bytes(&self) -> u64 {
        self.answer_bytes + self.route.len() as u64 + ENTRY_BYTES
    }
}

impl<V> Shelf<V> {
    pub(crate) fn new(bound_bytes: u64) -> Self {
        Self { entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0, bytes: 0, bound_bytes, evictions: 0 }
    }

    /// The entry, unless its time is over. Looking at it is no use of it.
    pub(crate) fn peek(&self, key: CacheKey, now: Timestamp) -> Option<&Entry<V>> {
        self.entries.get(&key).filter(|entry| entry.keep_until > now)
    }

    /// The entry, unless its time is over; used now.
    pub(crate) fn take_out(&mut self, key: CacheKey, now: Timestamp) -> Option<&Entry<V>> {
        let entry = self.entries.get_mut(&key).filter(|entry| entry.keep_until > now)?;
        self.by_use.remove(&entry.used);
        self.uses += 1;
        entry.used = self.uses;
        self.by_use.insert(self.uses, key);
        Some(entry)
    }

    /// Puts an entry in. The keys of those that had to go for it; none at all where it is too large itself, and then what
    /// stood under its key is gone too.
    pub(crate) fn put_in(&mut self, key: CacheKey, mut entry: Entry<V>) -> Option<Vec<CacheKey>> {
        self.remove(key);
        if entry.bytes() > self.bound_bytes / LARGEST_PART {
            return None;
        }
        self.uses += 1;
        entry.used = self.uses;
        self.by_use.insert(self.uses, key);
        self.bytes += entry.bytes();
        self.entries.insert(key, entry);
        let mut gone = Vec::new();
        while self.bytes > self.bound_bytes
            && let Some((_, oldest)) = self.by_use.first_key_value().map(|(used, key)| (*used, *key))
        {
            self.remove(oldest);
            self.evictions += 1;
            gone.push(oldest);
        }
        Some(gone)
    }

    pub(crate) fn remove(&mut self, key: CacheKey) -> Option<Entry<V>> {
        let entry = self.entries.remove(&key)?;
        self.by_use.remove(&entry.used);
        self.bytes -= entry.bytes();
        Some(entry)
    }

    /// Removes those of a route, or all.
    pub(crate) fn purge(&mut self, route: Option<&str>) -> Vec<CacheKey> {
        self.remove_where(usize::MAX, |entry| route.is_none_or(|route| *entry.route == *route))
    }

    /// Removes those whose time is over.
    pub(crate) fn sweep(&mut self, now: Timestamp, limit: usize) -> Vec<CacheKey> {
        self.remove_where(limit, |entry| entry.keep_until <= now)
    }

    fn remove_where(&mut self, limit: usize, goes: impl Fn(&Entry<V>) -> bool) -> Vec<CacheKey> {
        let found = self.entries.iter().filter(|(_, entry)| goes(entry)).map(|(key, _)| *key);
        let gone: Vec<CacheKey> = found.take(limit).collect();
        for key in &gone {
            self.remove(*key);
        }
        gone
    }

    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats {
            entries: self.entries.len() as u64,
            bytes: self.bytes,
            bound_bytes: self.bound_bytes,
            evictions: self.evictions,
        }
    }
}
