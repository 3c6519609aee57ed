//! What the embedded engine makes of a journal that a crash left unfinished, or that the disk has damaged.
#![allow(clippy::unwrap_used, reason = "test code: it fails by panicking")]

#[path = "embedded/given.rs"]
mod given;
#[path = "embedded/made.rs"]
mod made;

use given::{close, copied, open, open_with};
use made::{leased, read_all, task, text};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tidewire_core::port::{EventLog, TaskStore};
use tidewire_engines::embedded::{Config, Engine, Mode, OpenError};
use tidewire_testkit::clock::HandClock;

/// A directory as it was while the engine ran, each of four commits of one event synced; the events are found in
/// the journal by their text.
async fn killed() -> TempDir {
    let directory = given::empty();
    let (engine, _) = open_with(Config { mode: Mode::Fsync, ..Config::new(directory.path()) });
    engine.submit(task(1)).await.unwrap();
    for number in 0..4 {
        let event = text(format!("event number {number}, and some more words"));
        engine.append(leased(task(1).at().log(), 1, number, vec![event])).await.unwrap();
    }
    let copy = copied(directory.path());
    close(engine).await;
    copy
}

fn journal(directory: &TempDir) -> PathBuf {
    directory.path().join("store/0.jnl")
}

/// Flips a bit in the journal's event of this number.
fn flip(directory: &TempDir, number: u64) {
    let file = OpenOptions::new().read(true).write(true).open(journal(directory)).unwrap();
    let bytes = fs::read(journal(directory)).unwrap();
    let words = format!("event number {number}");
    let place = bytes.windows(words.len()).position(|window| window == words.as_bytes()).unwrap();
    file.write_all_at(&[bytes[place] ^ 1], place as u64).unwrap();
}

#[tokio::test]
async fn a_torn_last_commit_does_not_keep_the_store_from_opening() {
    let directory = killed().await;
    // As a disk leaves it that lost power within the last sync: the commit's end is there, and not all before it.
    flip(&directory, 3);
    let (engine, recovered) = open(&directory);
    assert_eq!((recovered.tasks_queued, recovered.damaged.len()), (1, 0));
    let log = task(1).at().log();
    assert_eq!(read_all(&engine, log, 100).await.len(), 3);
    engine.append(leased(log, 1, 3, vec![text("again")])).await.unwrap();
    close(engine).await;
    assert_eq!(read_all(&open(&directory).0, log, 100).await.len(), 4);
}

#[tokio::test]
async fn damage_in_the_middle_of_the_journal_is_told_and_not_taken_for_its_end() {
    for number in 0..3 {
        let directory = killed().await;
        flip(&directory, number);
        let before = fs::read(journal(&directory)).unwrap();
        let opened = Engine::open(Config::new(directory.path()), Arc::new(HandClock::new(1)));
        let refused = opened.map(drop).unwrap_err();
        let OpenError::Damaged { what } = &refused else { panic!("{refused}") };
        assert!(what.contains("0.jnl") && refused.to_string().contains("backup"), "{refused}");
        assert!(fs::read(journal(&directory)).unwrap() == before, "what is left is left for who repairs it");
    }
}

#[tokio::test]
async fn damage_to_the_last_commit_is_told_once_the_store_was_closed_in_order() {
    let directory = given::empty();
    let (engine, _) = open_with(Config { mode: Mode::Fsync, ..Config::new(directory.path()) });
    engine.create(task(1).at().log()).await.unwrap();
    let event = text("event number 0, the only one");
    engine.append(leased(task(1).at().log(), 1, 0, vec![event])).await.unwrap();
    close(engine).await;
    flip(&directory, 0);
    let opened = Engine::open(Config::new(directory.path()), Arc::new(HandClock::new(1)));
    assert!(matches!(opened.map(drop), Err(OpenError::Damaged { .. })));
}

#[tokio::test]
async fn a_first_start_that_was_cut_off_is_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    fs::create_dir_all(store.join("keyspaces")).unwrap();
    fs::File::create(store.join("0.jnl")).unwrap().set_len(64 * 1024 * 1024).unwrap();
    fs::write(store.join("version"), "FJ").unwrap();
    let (engine, _) = open(&directory);
    engine.submit(task(1)).await.unwrap();
    close(engine).await;
    // But never where there is something to lose.
    fs::remove_dir_all(store.join("keyspaces")).unwrap();
    let opened = Engine::open(Config::new(directory.path()), Arc::new(HandClock::new(1)));
    assert!(matches!(opened.map(drop), Err(OpenError::Damaged { .. })));
}

#[tokio::test]
async fn a_damaged_list_of_tables_is_told_and_not_believed() {
    let directory = given::empty();
    let keyspaces = directory.path().join("store/keyspaces");
    let current = fs::read(keyspaces.join("1/current")).unwrap();
    let manifest = keyspaces.join(format!("1/v{}", current[0]));
    let file = OpenOptions::new().read(true).write(true).open(&manifest).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 3).unwrap();
    file.write_all_at(&[byte[0] ^ 4], 3).unwrap();
    let opened = Engine::open(Config::new(directory.path()), Arc::new(HandClock::new(1)));
    let refused = opened.map(drop).unwrap_err().to_string();
    assert!(refused.contains("keyspaces/1/v") && refused.contains("checksum"), "{refused}");
}
