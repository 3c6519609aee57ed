//! The port `Cache` in memory.

use crate::shelf::{Entry, Shelf};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tidewire_core::Timestamp;
use tidewire_core::port::{self, CacheKey, CacheStats, Kept, Unavailable};

/// Answers in this process's memory.
pub struct Cache(Mutex<Shelf<Bytes>>);

impl Cache {
    /// An empty one that may take so many bytes.
    pub fn new(bound_bytes: u64) -> Self {
        Self(Mutex::new(Shelf::new(bound_bytes)))
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf<Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl port::Cache for Cache {
    async fn get(&self, key: CacheKey, now: Timestamp) -> Result<Option<Kept>, Unavailable> {
        let mut shelf = self.shelf();
        Ok(shelf.take_out(key, now).map(|entry| {
            let Entry { route, made_at, keep_until, answer, .. } = entry.clone();
            Kept { route, made_at, keep_until, answer }
        }))
    }

    fn made_at(&self, key: CacheKey, now: Timestamp) -> Option<Timestamp> {
        self.shelf().peek(key, now).map(|entry| entry.made_at)
    }

    async fn put(&self, key: CacheKey, kept: Kept) -> Result<(), Unavailable> {
        let Kept { route, made_at, keep_until, answer } = kept;
        let bytes = answer.len() as u64;
        self.shelf().put_in(key, Entry::new(route, (made_at, keep_until), answer, bytes));
        Ok(())
    }

    async fn remove(&self, key: CacheKey) -> Result<bool, Unavailable> {
        Ok(self.shelf().remove(key).is_some())
    }

    async fn purge(&self, route: Option<&str>) -> Result<u64, Unavailable> {
        Ok(self.shelf().purge(route).len() as u64)
    }

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<u64, Unavailable> {
        Ok(self.shelf().sweep(now, limit).len() as u64)
    }

    fn stats(&self) -> CacheStats {
        self.shelf().stats()
    }
}
