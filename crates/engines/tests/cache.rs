//! The caches keep the promises of their port, and one whose disk was damaged begins anew.
#![allow(clippy::unwrap_used, reason = "test code: it fails by panicking")]

use bytes::Bytes;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tidewire_core::Timestamp;
use tidewire_core::port::{Cache, CacheKey, Kept};
use tidewire_engines::{embedded, memory};
use tidewire_testkit::Harness;
use tidewire_testkit::cache::{self, BOUND_BYTES};
use tidewire_testkit::clock::HandClock;

struct InMemory;

impl Harness for InMemory {
    type Engine = memory::Cache;

    async fn open(&self) -> memory::Cache {
        memory::Cache::new(BOUND_BYTES)
    }
}

#[derive(Default)]
struct OnDisk(Mutex<Vec<TempDir>>);

fn open(directory: &TempDir) -> embedded::Cache {
    embedded::Cache::new(directory.path(), BOUND_BYTES, 0, Arc::new(HandClock::new(1)))
}

impl Harness for OnDisk {
    type Engine = embedded::Cache;

    async fn open(&self) -> embedded::Cache {
        let directory = TempDir::new().unwrap();
        let engine = open(&directory);
        self.0.lock().unwrap().push(directory);
        engine
    }

    /// A process that is killed leaves what the system has; it is the same as what an orderly end leaves.
    async fn crash_and_reopen(&self, engine: embedded::Cache) -> Option<embedded::Cache> {
        engine.shutdown().await;
        drop(engine);
        Some(open(self.0.lock().unwrap().last().unwrap()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cache_in_memory_keeps_what_cache_promises() {
    cache::check(&InMemory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cache_on_disk_keeps_what_cache_promises() {
    cache::check(&OnDisk::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_was_damaged_on_disk_begins_anew() {
    let directory = TempDir::new().unwrap();
    let (now, keep_until) = (Timestamp::from_millis(1), Timestamp::from_millis(1).plus(Duration::from_mins(1)));
    let kept = Kept { route: "a".into(), made_at: now, keep_until, answer: Bytes::from_static(b"one") };
    let engine = open(&directory);
    assert_eq!(engine.sweep(now, 1).await.unwrap(), 0);
    assert!(!directory.path().join("answers").exists(), "nothing is made for a cache that nobody uses");
    engine.put(CacheKey([1; 32]), kept.clone()).await.unwrap();
    engine.shutdown().await;
    drop(engine);
    for entry in std::fs::read_dir(directory.path().join("answers")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::write(path, b"nonsense").unwrap();
        }
    }
    let engine = open(&directory);
    // Whatever of it could be read: nothing wrong is given, and it keeps again.
    let found = engine.get(CacheKey([1; 32]), now).await.unwrap();
    assert!(found.is_none_or(|found| found == kept));
    engine.put(CacheKey([2; 32]), kept.clone()).await.unwrap();
    assert_eq!(engine.get(CacheKey([2; 32]), now).await.unwrap(), Some(kept));
}
