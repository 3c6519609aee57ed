//! The power fails: the disk is rebuilt as it would be after any prefix of what the engine did to it, and everything
//! that was acknowledged before is there, and nothing else.
//!
//! `make test` tries a share; `make soak` sets `TIDEWIRE_TEST_CRASHES=300` and `TIDEWIRE_TEST_PREFIXES=10000`.
#![allow(clippy::unwrap_used, reason = "test code: it fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test reads from variables how much it should do")]

#[path = "power_loss/check.rs"]
mod check;
#[path = "power_loss/load.rs"]
mod load;
#[path = "embedded/made.rs"]
mod made;

use check::{Come, Finding};
use load::{Size, Story};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tempfile::TempDir;
use tidewire_testkit::disk::{Flipped, Op, Record, Recorder, Unsynced};
use tidewire_testkit::random::Random;

const SEED: u64 = 0xB1AC_C007;
/// Where this test binary plays the load, and which one, when it runs itself under the recorder.
const PLACE: &str = "TIDEWIRE_TEST_RECORDED_PLACE";
const SIZE: &str = "TIDEWIRE_TEST_RECORDED_SIZE";

fn number_from_env(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

#[tokio::test]
#[ignore = "other tests run it under the recorder"]
async fn load() {
    let size = if std::env::var(SIZE).unwrap() == "large" { Size::Large } else { Size::Small };
    load::play(&PathBuf::from(std::env::var(PLACE).unwrap()), SEED, size).await;
}

/// A recorded load. Rebuilt as a whole it is the directory that the load left, byte for byte.
struct Recorded {
    record: Record,
    stories: Vec<Story>,
}

impl Recorded {
    fn make(size: Size) -> Self {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("data");
        std::fs::create_dir(&directory).unwrap();
        let mut recorder = Recorder::new(&directory, &place.path().join("trace"), std::env::current_exe().unwrap());
        let command = recorder.command().args(["--exact", "load", "--ignored", "--nocapture"]).env(PLACE, &directory);
        command.env(SIZE, if size == Size::Large { "large" } else { "small" });
        let record = recorder.run().unwrap();
        let rebuilt = fresh();
        record.rebuild(record.ops().len(), Unsynced::Kept).write_to(rebuilt.path()).unwrap();
        same(&directory, rebuilt.path());
        Self { record, stories: load::stories(SEED, size) }
    }

    fn come(&self, count: usize) -> Vec<Come> {
        check::come(self.record.notes(count), self.stories.len())
    }

    /// The cuts after the first open has returned: what is before it is checked by a test of its own.
    fn cuts_of_load(&self) -> Vec<usize> {
        let opened = self.record.ops().iter().position(|op| matches!(op, Op::Note(note) if note == "@opened")).unwrap();
        self.record.cuts().into_iter().filter(|cut| *cut > opened).collect()
    }

    /// What is found on the disk after so many operations, and the directory that was opened for it.
    fn look(&self, count: usize, unsynced: Unsynced, flip: Option<&mut Random>) -> Look {
        let directory = fresh();
        let image = self.record.rebuild(count, unsynced);
        image.write_to(directory.path()).unwrap();
        let flipped = flip.and_then(|random| image.flip_synced(directory.path(), random).unwrap());
        let whole = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(check::check(directory.path(), &self.stories, &self.come(count)))
        }));
        let findings = whole.unwrap_or_else(|_| vec![Finding::Panicked]);
        Look { directory, flipped, findings }
    }

    /// Nothing but a loss of power: everything acknowledged is there, and nothing is complained of.
    fn survives(&self, count: usize, unsynced: Unsynced) {
        let Look { directory, findings, .. } = self.look(count, unsynced, None);
        if !findings.is_empty() {
            let kept = directory.keep();
            panic!("after {count} operations, {unsynced:?}: {findings:?}; what is left of it is in {}", kept.display());
        }
    }

    /// A bit of what was synced flips: whatever is missing or wrong, the engine says so. Answers whether it was
    /// silent because the bit was of the last commit, of which nothing bears witness.
    fn tells(&self, count: usize, unsynced: Unsynced, random: &mut Random) -> bool {
        let Look { directory, flipped, findings } = self.look(count, unsynced, Some(random));
        let Some(flipped) = flipped else { return false };
        let silent = findings.iter().any(|finding| !matches!(finding, Finding::Told(_)));
        let only_lost = findings.iter().all(|finding| matches!(finding, Finding::Told(_) | Finding::Lost(_)));
        if silent && !(only_lost && flipped.offset >= self.last_commit(count, &flipped.path)) {
            let kept = directory.keep();
            let what = format!("after {count} operations, {unsynced:?}, {flipped:?}: {findings:?}");
            panic!("{what}; what is left of it is in {}", kept.display());
        }
        silent
    }

    /// Where a journal's last synced commit begins: where the one before it ended.
    fn last_commit(&self, count: usize, path: &Path) -> u64 {
        let ops = &self.record.ops()[..count];
        let created = ops.iter().find_map(|op| match op {
            Op::Create { path: created, file } if created == path => Some(*file),
            _ => None,
        });
        let of_journal = |op: &&Op| matches!(op, Op::Sync { file, .. } if Some(*file) == created);
        let syncs: Vec<_> = ops.iter().filter(of_journal).collect();
        let [.., Op::Sync { from, .. }, _] = syncs[..] else { return 0 };
        let ends = ops[..*from].iter().map(|op| match op {
            Op::Write { file, offset, data } if Some(*file) == created => offset + data.len() as u64,
            _ => 0,
        });
        ends.max().unwrap_or(0)
    }
}

/// What one look at a rebuilt disk found.
struct Look {
    directory: TempDir,
    flipped: Option<Flipped>,
    findings: Vec<Finding>,
}

static SMALL: LazyLock<Recorded> = LazyLock::new(|| Recorded::make(Size::Small));

/// A directory in memory, where there is such a place.
fn fresh() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn same(one: &Path, other: &Path) {
    let mut names: Vec<_> = std::fs::read_dir(one).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let mut others: Vec<_> = std::fs::read_dir(other).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    others.sort();
    assert_eq!(names, others);
    for name in names {
        let (one, other) = (one.join(&name), other.join(&name));
        if one.is_dir() {
            same(&one, &other);
        } else {
            assert!(std::fs::read(&one).unwrap() == std::fs::read(&other).unwrap(), "{} differs", one.display());
        }
    }
}

/// So many of them, evenly spread.
fn share(cuts: &[usize], count: usize) -> Vec<usize> {
    let count = count.min(cuts.len());
    (0..count).map(|number| cuts[number * cuts.len() / count]).collect()
}

#[test]
fn a_crash_at_each_of_the_first_writes_and_syncs_loses_nothing_that_was_acknowledged() {
    let crashes = number_from_env("TIDEWIRE_TEST_CRASHES", 20);
    // Those by which the store is made, and those of the load.
    for cuts in [SMALL.record.cuts(), SMALL.cuts_of_load()] {
        let first = &cuts[..300.min(cuts.len())];
        for (number, cut) in share(first, crashes).into_iter().enumerate() {
            let ways = [Unsynced::Kept, Unsynced::Lost, Unsynced::Torn(SEED + cut as u64)];
            // A share takes one way each, in turn.
            let ways = if crashes < first.len() { &ways[number % 3..=number % 3] } else { &ways[..] };
            for unsynced in ways {
                SMALL.survives(cut, *unsynced);
            }
        }
        println!("{} of the first {} operations: nothing is lost", crashes.min(first.len()), first.len());
    }
}

#[test]
fn torn_tails_lose_nothing_that_was_acknowledged_and_flipped_bits_are_told() {
    let prefixes = number_from_env("TIDEWIRE_TEST_PREFIXES", 60);
    // The large load takes half a minute to record.
    let large = (prefixes >= 1000).then(|| Recorded::make(Size::Large));
    let mut random = Random::new(SEED);
    let (mut torn, mut flipped, mut silent) = (0, 0, 0);
    for number in 0..prefixes {
        let recorded = large.as_ref().filter(|_| number % 10 == 9).unwrap_or(&SMALL);
        let cuts = recorded.cuts_of_load();
        let cut = cuts[random.place(cuts.len())];
        if random.once_in(3) {
            let unsynced = if random.once_in(2) { Unsynced::Kept } else { Unsynced::Lost };
            silent += usize::from(recorded.tells(cut, unsynced, &mut random));
            flipped += 1;
        } else {
            recorded.survives(cut, Unsynced::Torn(random.bits()));
            torn += 1;
        }
    }
    println!("{torn} torn tails: nothing is lost; {flipped} flipped bits: told, but for {silent} in the last commit");
}
