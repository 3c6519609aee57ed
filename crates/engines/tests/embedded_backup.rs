//! Backup and restore: one moment of a store that goes on, whole or not at all.
#![allow(clippy::unwrap_used, reason = "test code: it fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

#[path = "embedded/given.rs"]
mod given;
#[path = "embedded/made.rs"]
mod made;
#[path = "embedded/picture.rs"]
mod picture;

use given::{close, open};
use made::{TENANT, ending, leased, leasing, read_all, task, text};
use picture::picture;
use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tidewire_core::port::{EventLog, Ledger, LogKeeping, TaskStore};
use tidewire_core::{Kind, Offset, State};
use tidewire_engines::embedded::{ArchiveError, Engine, RestoreError, restore, verify};

/// Makes a backup into a file.
async fn back_up(engine: &Engine) -> File {
    let mut backup = engine.backup().await.unwrap();
    let mut file = tempfile::tempfile().unwrap();
    while let Some(piece) = backup.next().await {
        file.write_all(&piece.unwrap()).unwrap();
    }
    file
}

fn restored(archive: &mut File) -> tempfile::TempDir {
    let directory = given::bare();
    restore(archive, directory.path(), &mut |_| ()).unwrap();
    directory
}

/// Tasks in every state, with events, an idempotency key, a trimmed log and a large input.
async fn some_of_everything(engine: &Engine) {
    for number in 1..=4 {
        let mut asked = task(number);
        let key = format!("key {number}");
        asked.idempotency = Some(tidewire_core::task::Idempotency { key, body_hash: number });
        asked.spec.input = vec![b'i'; if number == 2 { 700_000 } else { 10 }].into();
        engine.submit(asked).await.unwrap();
    }
    engine.lease(task(1).at(), leasing()).await.unwrap();
    let log = task(1).at().log();
    engine.append(leased(log, 1, 0, vec![text("a"), text("b"), text("c")])).await.unwrap();
    engine.trim(log, Offset(2), tidewire_core::Entry::new(made::NOW, Kind::Snapshot, "{}")).await.unwrap();
    engine.end(leased(task(2).at().log(), 1, 0, vec![text("x")]), ending()).await.unwrap();
    engine.request_stop(task(3).at()).await.unwrap();
}

#[tokio::test]
async fn a_restored_store_holds_what_the_backed_up_one_held() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    some_of_everything(&engine).await;
    let mut archive = back_up(&engine).await;
    close(engine).await;
    // As the next start finds it: leases are void then.
    let (engine, _) = open(&directory);
    let held = picture(&engine, &[TENANT]).await;
    close(engine).await;

    let (manifest, contents) = verify(&mut archive, &mut |_| ()).unwrap();
    assert_eq!((manifest.format, contents.damaged, contents.values["tasks"]), (3, 0, 1));
    let copy = restored(&mut archive);
    let (engine, found) = open(&copy);
    assert_eq!((found.upgraded_from, found.tasks_queued, found.tasks_running), (None, 2, 1));
    assert_eq!(picture(&engine, &[TENANT]).await, held);
    // It goes on like any other.
    engine.append(leased(task(1).at().log(), 2, 3, vec![text("d")])).await.unwrap();
    close(engine).await;
}

#[tokio::test]
async fn a_backup_has_every_keyspace_that_the_store_has() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    let mut archive = back_up(&engine).await;
    close(engine).await;
    let (_, contents) = verify(&mut archive, &mut |_| ()).unwrap();
    let kept: HashSet<String> = contents.values.into_keys().collect();
    let db = fjall::Database::builder(directory.path().join("store")).open().unwrap();
    let there: HashSet<String> = db.list_keyspace_names().iter().map(ToString::to_string).collect();
    assert_eq!(kept, there);
}

/// Submits tasks, writes into their logs and ends some, until it is told to end. What was acknowledged, so far, is in
/// `submitted` and `ended`: each task's number is below it.
async fn load(engine: Engine, first: u64, go: Arc<AtomicBool>, submitted: Arc<AtomicU64>) {
    let mut number = first;
    while go.load(Ordering::Relaxed) {
        engine.submit(task(number)).await.unwrap();
        submitted.store(number + 1, Ordering::SeqCst);
        let log = task(number).at().log();
        for offset in 0..3 {
            engine.append(leased(log, 1, offset, vec![text("word ")])).await.unwrap();
        }
        if number.is_multiple_of(2) {
            engine.end(leased(log, 1, 3, vec![]), ending()).await.unwrap();
        }
        number += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_one_moment_with_all_that_was_acknowledged_before_it() {
    const WRITERS: u64 = 4;
    const EACH: u64 = 1_000_000;
    let directory = given::empty();
    let (engine, _) = open(&directory);
    let go = Arc::new(AtomicBool::new(true));
    let counts: Vec<_> = (0..WRITERS).map(|writer| Arc::new(AtomicU64::new(writer * EACH))).collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            tokio::spawn(load(
                engine.clone(),
                writer * EACH,
                go.clone(),
                counts[usize::try_from(writer).unwrap()].clone(),
            ))
        })
        .collect();
    let made = |counts: &[Arc<AtomicU64>]| counts.iter().map(|count| count.load(Ordering::SeqCst)).collect::<Vec<_>>();
    while made(&counts).iter().any(|count| count % EACH < 50) {
        tokio::task::yield_now().await;
    }
    let acknowledged = made(&counts);
    let mut backup = engine.backup().await.unwrap();
    let second = engine.backup().await.map(drop).unwrap_err();
    assert!(second.reason.contains("another backup"), "{second}");
    let mut archive = tempfile::tempfile().unwrap();
    while let Some(piece) = backup.next().await {
        archive.write_all(&piece.unwrap()).unwrap();
        // The load goes on between any two pieces.
        let before = made(&counts);
        while made(&counts) == before {
            tokio::task::yield_now().await;
        }
    }
    drop(backup);
    go.store(false, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    close(engine).await;

    let copy = restored(&mut archive);
    let (engine, found) = open(&copy);
    assert_eq!((found.tasks_finished, found.damaged.len()), (0, 0), "{found:?}");
    let mut ended = 0;
    for (writer, upto) in acknowledged.into_iter().enumerate() {
        for number in writer as u64 * EACH.. {
            let Some(kept) = TaskStore::get(&engine, task(number).at()).await.unwrap() else {
                assert!(number >= upto, "task {number} was acknowledged before the backup and is not in it");
                break;
            };
            let events = read_all(&engine, kept.at().log(), 4096).await;
            let over = events.last().is_some_and(|event| event.kind == Kind::End);
            assert_eq!(over, kept.state == State::Done, "the end and the record are of one moment");
            let settlement = tidewire_core::port::Settlement {
                task: kept.at(),
                at: made::NOW,
                usage: made::USAGE,
                deployment: None,
            };
            if over {
                assert!(!engine.settle(settlement).await.unwrap(), "so is the settlement");
                ended += 1;
            }
        }
    }
    assert!(ended > 50);
    assert_eq!(engine.totals(TENANT).await.unwrap().tasks, ended, "and the sum of them");
}

/// What is left in a directory, hidden or not.
fn left(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

#[tokio::test]
async fn a_damaged_or_truncated_backup_is_refused_and_leaves_nothing_behind() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    some_of_everything(&engine).await;
    let mut archive = back_up(&engine).await;
    close(engine).await;
    let mut bytes = Vec::new();
    std::io::Seek::rewind(&mut archive).unwrap();
    std::io::Read::read_to_end(&mut archive, &mut bytes).unwrap();

    let above = given::bare();
    let data = above.path().join("data");
    let refused = |bytes: &[u8]| -> RestoreError {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let error = restore(&mut file, &data, &mut |_| ()).map(drop).unwrap_err();
        assert_eq!(left(above.path()), 0, "{error}");
        error
    };
    for place in (0..bytes.len()).step_by(bytes.len() / 200).chain([0, 17, bytes.len() - 1]) {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (place % 8);
        assert!(matches!(refused(&flipped), RestoreError::Archive(_)), "a bit of byte {place}");
        assert!(matches!(refused(&bytes[..place]), RestoreError::Archive(_)), "cut at {place}");
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(matches!(refused(&longer), RestoreError::Archive(ArchiveError::Damaged { .. })));
    // Frames that are whole, in another order or fewer: the checksum of all tells.
    let frames = frames(&bytes);
    let shuffled: Vec<u8> = [0, 2, 1].into_iter().chain(3..frames.len()).flat_map(|at| frames[at].to_vec()).collect();
    assert!(matches!(refused(&shuffled), RestoreError::Archive(ArchiveError::Damaged { .. })));

    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("mine"), "").unwrap();
    let error = restore(&mut archive, &data, &mut |_| ()).map(drop).unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty { .. }), "{error}");
    assert_eq!(left(above.path()), 1);
    std::fs::remove_file(data.join("mine")).unwrap();
    restore(&mut archive, &data, &mut |_| ()).unwrap();
    assert_eq!(left(above.path()), 1, "an empty directory is as good as none");
}

/// The frames of a backup, the first one with what is before it.
fn frames(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut begin, mut at) = (0, 16);
    let mut frames = Vec::new();
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at + 1..at + 5].try_into().unwrap());
        at += 9 + usize::try_from(length).unwrap();
        frames.push(&bytes[begin..at]);
        begin = at;
    }
    frames
}
