//! The conformance suites on the embedded engine, in both modes, with crashes: the data directory is copied
//! as it lies on disk while the engine runs, and opened again from the copy.
#![allow(clippy::unwrap_used, reason = "test code: it fails by panicking")]

#[path = "embedded/given.rs"]
mod given;

use std::sync::Mutex;
use tempfile::TempDir;
use tidewire_core::Durability;
use tidewire_engines::embedded::{Config, Engine, Mode};
use tidewire_testkit::{Harness, commit_point, directory, event_log, ledger, log_keeping, task_store};

struct Embedded {
    mode: Mode,
    durability: Durability,
    directories: Mutex<Vec<TempDir>>,
}

impl Embedded {
    fn new(mode: Mode) -> Self {
        Self { mode, durability: Durability::Durable, directories: Mutex::default() }
    }

    fn open_in(&self, directory: TempDir) -> Engine {
        let (engine, recovered) = given::open_with(Config { mode: self.mode, ..Config::new(directory.path()) });
        assert!(recovered.damaged.is_empty(), "{recovered:?}");
        self.directories.lock().unwrap().push(directory);
        engine
    }
}

impl Harness for Embedded {
    type Engine = Engine;

    async fn open(&self) -> Engine {
        self.open_in(given::empty())
    }

    async fn crash_and_reopen(&self, engine: Engine) -> Option<Engine> {
        let left = given::copied(self.directories.lock().unwrap().last().unwrap().path());
        drop(engine);
        Some(self.open_in(left))
    }

    fn durability(&self) -> Durability {
        self.durability
    }
}

/// The ledger keeps entries of transient tasks too, whose logs it never sees.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_of_transient_tasks() {
    for mode in [Mode::Fsync, Mode::Write] {
        ledger::check(&Embedded { durability: Durability::Transient, ..Embedded::new(mode) }).await;
    }
}

macro_rules! suites {
    ($($name:ident: $mode:expr, $suite:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $suite::check(&Embedded::new($mode)).await;
        }
    )*};
}

suites! {
    logs_with_fsync: Mode::Fsync, event_log;
    keeping_with_fsync: Mode::Fsync, log_keeping;
    tasks_with_fsync: Mode::Fsync, task_store;
    the_directory_with_fsync: Mode::Fsync, directory;
    the_ledger_with_fsync: Mode::Fsync, ledger;
    the_commit_point_with_fsync: Mode::Fsync, commit_point;
    logs_with_write: Mode::Write, event_log;
    keeping_with_write: Mode::Write, log_keeping;
    tasks_with_write: Mode::Write, task_store;
    the_directory_with_write: Mode::Write, directory;
    the_ledger_with_write: Mode::Write, ledger;
    the_commit_point_with_write: Mode::Write, commit_point;
}
