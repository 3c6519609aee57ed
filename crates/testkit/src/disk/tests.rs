//! The record and the rebuild, tried on programs small enough to say what must come out.
#![allow(clippy::disallowed_methods, reason = "a test that runs itself tells itself what to do by variables")]

use super::*;
use crate::random::Random;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Which program to play, and where: set for this test binary when it runs itself under the recorder.
const PROGRAM: &str = "TIDEWIRE_TEST_RECORDED_PROGRAM";
const PLACE: &str = "TIDEWIRE_TEST_RECORDED_PLACE";

/// What a program of this file does in a fresh directory, recorded.
fn recorded(program: &str) -> (tempfile::TempDir, Result<Record, RecorderError>) {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("data");
    fs::create_dir(&directory).unwrap();
    let mut recorder = Recorder::new(&directory, &place.path().join("trace"), std::env::current_exe().unwrap());
    let command = recorder.command().args(["--exact", "disk::tests::program", "--ignored", "--nocapture"]);
    command.env(PROGRAM, program).env(PLACE, &directory);
    (place, recorder.run())
}

/// A file and names that are synced and are not; two threads that sync one file at once.
fn plays_with_files(root: &Path) {
    let open = |name: &str| {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(root.join(name)).unwrap()
    };
    let mut a = open("a");
    a.write_all(b"one ").unwrap();
    a.sync_all().unwrap();
    println!("@a has one");
    a.write_all(b"two").unwrap();
    a.rewind().unwrap();
    a.write_all(b"ONE").unwrap();
    fs::create_dir(root.join("sub")).unwrap();
    File::open(root).unwrap().sync_all().unwrap();
    File::open(root.join("sub")).unwrap().sync_all().unwrap();
    println!("@names are kept");
    let mut log = OpenOptions::new().append(true).create(true).open(root.join("sub/log")).unwrap();
    log.set_len(4).unwrap();
    log.write_all(b"tail").unwrap();
    a.write_all_at(b"!", 6).unwrap();
    let other = open("sub/other");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..50 {
                    (&other).write_all(&[b'x'; 700]).unwrap();
                    other.sync_data().unwrap();
                }
            });
        }
    });
    fs::rename(root.join("sub/other"), root.join("sub/renamed")).unwrap();
    fs::remove_file(root.join("a")).unwrap();
}

#[test]
#[ignore = "other tests run it under the recorder"]
fn program() {
    let root = PathBuf::from(std::env::var(PLACE).unwrap());
    match std::env::var(PROGRAM).unwrap().as_str() {
        "files" => plays_with_files(&root),
        "adds" => {
            fs::write(root.join("a"), "short").unwrap();
            OpenOptions::new().append(true).open(root.join("sub/old")).unwrap().write_all(b" and new").unwrap();
        }
        _ => drop(File::create(root.join("a")).unwrap().try_clone().unwrap()),
    }
}

/// Every file below a directory, by its path.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn rebuilt(record: &Record, count: usize, unsynced: Unsynced) -> BTreeMap<PathBuf, Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    record.rebuild(count, unsynced).write_to(directory.path()).unwrap();
    files(directory.path())
}

#[test]
fn the_whole_record_rebuilt_is_the_directory_byte_for_byte() {
    let (place, record) = recorded("files");
    let record = record.unwrap();
    let real = files(&place.path().join("data"));
    assert_eq!(real.len(), 2);
    assert_eq!(rebuilt(&record, record.ops().len(), Unsynced::Kept), real);
    assert_eq!(record.cuts().len(), record.ops().iter().filter(|op| op.is_of_disk()).count());
}

#[test]
fn a_file_is_kept_from_its_sync_on_and_its_name_from_the_sync_of_its_directory() {
    let record = recorded("files").1.unwrap();
    let at = |note: &str| record.ops().iter().position(|op| *op == Op::Note(note.to_owned())).unwrap();
    let (data, names) = (at("@a has one"), at("@names are kept"));
    let a = |count, unsynced| rebuilt(&record, count, unsynced).remove(Path::new("a"));
    assert_eq!(a(data, Unsynced::Lost), None, "the directory was not synced");
    assert_eq!(a(names, Unsynced::Lost), Some(b"one ".to_vec()));
    assert_eq!(a(names, Unsynced::Kept), Some(b"ONE two".to_vec()));
    assert_eq!(record.notes(names).last(), Some("@a has one"));
    for seed in 0..50 {
        let torn = a(names, Unsynced::Torn(seed)).unwrap();
        assert_eq!(torn[3], b' ', "what was synced and not written again stays: {torn:?}");
    }
}

#[test]
fn what_was_there_before_the_program_began_is_kept() {
    let place = tempfile::tempdir().unwrap();
    let (before, directory, trace) =
        (place.path().join("before"), place.path().join("data"), place.path().join("trace"));
    for root in [&before, &directory] {
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("a"), "an old and long story").unwrap();
        fs::write(root.join("sub/old"), "old").unwrap();
    }
    let words = wrapper(&trace);
    let mut command = std::process::Command::new(&words[0]);
    let this = std::env::current_exe().unwrap();
    command.args(&words[1..]).arg(this).args(["--exact", "disk::tests::program", "--ignored", "--nocapture"]);
    assert!(command.env(PROGRAM, "adds").env(PLACE, &directory).status().unwrap().success());
    // The tracer ends after the program.
    while !fs::read_to_string(&trace).unwrap().trim_end().ends_with("+++ exited with 0 +++") {
        std::thread::yield_now();
    }
    let record = Record::read(&trace, &directory, &before).unwrap();
    let whole = record.ops().len();
    assert_eq!(rebuilt(&record, whole, Unsynced::Kept), files(&directory));
    assert_eq!(rebuilt(&record, whole, Unsynced::Lost), files(&before));
}

#[test]
fn the_same_seed_tears_in_the_same_way_and_another_one_in_another() {
    let record = recorded("files").1.unwrap();
    let whole = record.ops().len();
    let torn = |seed| rebuilt(&record, whole, Unsynced::Torn(seed));
    assert_eq!(torn(1), torn(1));
    assert!((2..10).any(|seed| torn(seed) != torn(1)));
}

#[test]
fn a_flipped_bit_is_one_bit_of_what_was_synced() {
    let record = recorded("files").1.unwrap();
    let count = record.ops().iter().position(|op| *op == Op::Note("@names are kept".to_owned())).unwrap();
    let image = record.rebuild(count, Unsynced::Lost);
    let directory = tempfile::tempdir().unwrap();
    image.write_to(directory.path()).unwrap();
    let flipped = image.flip_synced(directory.path(), &mut Random::new(3)).unwrap().unwrap();
    let wrong = fs::read(directory.path().join("a")).unwrap();
    let differing: u32 = wrong.iter().zip(b"one ").map(|(is, was)| (is ^ was).count_ones()).sum();
    assert_eq!((wrong.len(), differing), (4, 1));
    assert_eq!((flipped.path, flipped.offset < 4), (PathBuf::from("a"), true));
}

#[test]
fn what_the_record_cannot_show_is_an_error() {
    let refused = recorded("duplicates").1.unwrap_err();
    assert!(refused.to_string().contains("duplicated"), "{refused}");
}
