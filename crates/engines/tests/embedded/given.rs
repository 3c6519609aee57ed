//! Data directories for tests: empty stores, copies of running ones, and their values behind the engine's back.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of this")]

use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use tempfile::TempDir;
use tidewire_engines::embedded::{Config, Engine, Mode, Recovered};
use tidewire_testkit::clock::HandClock;

/// An empty store. Making one takes some 50 syncs, so it is made once and copied.
static EMPTY: LazyLock<TempDir> = LazyLock::new(|| {
    let directory = bare();
    let config = Config { mode: Mode::Write, ..Config::new(directory.path()) };
    drop(Engine::open(config, Arc::new(HandClock::new(1))).unwrap());
    directory
});

/// A fresh directory, in memory where there is such a place: what is tested here is not the disk, and opening
/// a store waits for it many times.
pub fn bare() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A directory with an empty store.
pub fn empty() -> TempDir {
    copied(EMPTY.path())
}

/// A copy of a data directory as it lies on disk. The store's own threads may replace files meanwhile; a copy
/// that met that is no picture of one moment, and is made again.
pub fn copied(from: &Path) -> TempDir {
    loop {
        let to = bare();
        let before = names(from);
        if copy(from, to.path()).is_ok() && names(from) == before {
            return to;
        }
    }
}

fn names(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        found.insert(entry.path());
        found.append(&mut names(&entry.path()));
    }
    found
}

/// Copies a directory, and leaves a hole where a file is empty: a journal is 64 MiB long from the start.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
            continue;
        }
        let mut file = File::open(entry.path())?;
        let mut copied = File::create(&target)?;
        let mut chunk = vec![0; EMPTY_CHUNK.len()];
        loop {
            let length = file.read(&mut chunk)?;
            if length == 0 || chunk[..length] == EMPTY_CHUNK[..length] {
                break;
            }
            copied.write_all(&chunk[..length])?;
        }
        copied.set_len(file.metadata()?.len())?;
    }
    Ok(())
}

/// No test writes so many zeros in a row: behind them a file is empty.
static EMPTY_CHUNK: [u8; 64 * 1024] = [0; 64 * 1024];

/// Opens an engine that syncs nothing: what is tested is not the disk.
pub fn open(directory: &TempDir) -> (Engine, Recovered) {
    open_with(Config { mode: Mode::Write, ..Config::new(directory.path()) })
}

pub fn open_with(config: Config) -> (Engine, Recovered) {
    Engine::open(config, Arc::new(HandClock::new(1))).unwrap()
}

/// Ends an engine, so that its directory can be opened again.
pub async fn close(engine: Engine) {
    engine.shutdown().await;
    drop(engine);
}

/// A keyspace of a closed store, behind the engine's back.
pub fn behind<T>(directory: &TempDir, keyspace: &str, act: impl FnOnce(&Keyspace) -> T) -> T {
    let db = Database::builder(directory.path().join("store")).open().unwrap();
    let keyspace = db.keyspace(keyspace, KeyspaceCreateOptions::default).unwrap();
    act(&keyspace)
}

/// How many values a keyspace of a closed store holds.
pub fn count(directory: &TempDir, keyspace: &str) -> usize {
    behind(directory, keyspace, |keyspace| keyspace.iter().count())
}

/// Flips a bit in the middle of the value at `place` of a keyspace of a closed store.
pub fn damage(directory: &TempDir, keyspace: &str, place: usize) {
    behind(directory, keyspace, |keyspace| {
        let (key, value) = keyspace.iter().nth(place).unwrap().into_inner().unwrap();
        let mut value = value.to_vec();
        let middle = value.len() / 2;
        value[middle] ^= 1;
        keyspace.insert(key, value).unwrap();
    });
}
