//! A map in many pieces, each behind its own lock, so that callers seldom meet.

use super::lock;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard};

/// Far more than there are cores, so that two of them seldom want the same piece.
const SHARDS: usize = 64;

pub(super) struct Shards<K, V> {
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<K, V>>>,
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { hasher: RandomState::new(), shards }
    }
}

impl<K: Hash + Eq, V> Shards<K, V> {
    /// The piece that holds the key, if any does.
    pub(super) fn shard(&self, key: &K) -> MutexGuard<'_, HashMap<K, V>> {
        // The remainder is below `SHARDS`, so that it fits.
        let place = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        lock(&self.shards[place])
    }

    /// Every piece, one after the other.
    pub(super) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, HashMap<K, V>>> {
        self.shards.iter().map(lock)
    }
}
