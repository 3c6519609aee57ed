//! Every engine against the reference model: calls at random, each answer and then all reads compared.
//!
//! `make test` runs a few cases; `make soak` sets `TIDEWIRE_TEST_CASES=5000`, and `TIDEWIRE_TEST_SEED` chooses
//! other ones.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "how long to run is asked of the environment")]

#[path = "embedded/given.rs"]
mod given;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;
use tidewire_core::port::{Directory, Expect, RecordName, Shelf};
use tidewire_core::{Durability, TenantId};
use tidewire_engines::by_durability::ByDurability;
use tidewire_engines::{embedded, memory};
use tidewire_testkit::clock::HandClock;
use tidewire_testkit::model::{Engines, Subject, check, check_dispatch};

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn run<S: Subject>(cases: u64) {
    let cases = number("TIDEWIRE_TEST_CASES", cases);
    check::<S>(u32::try_from(cases).unwrap(), number("TIDEWIRE_TEST_SEED", 1));
}

fn clock() -> Arc<HandClock> {
    Arc::new(HandClock::new(1))
}

fn memory_engine() -> Arc<memory::Engine> {
    Arc::new(memory::Engine::new(memory::Bounds::default(), clock()))
}

/// One engine as all ports.
macro_rules! all_ports {
    ($engine:expr) => {{
        let engine = $engine;
        Engines {
            logs: engine.clone(),
            keeping: engine.clone(),
            tasks: engine.clone(),
            ledger: engine.clone(),
            directory: engine,
        }
    }};
}

struct Memory;

impl Subject for Memory {
    async fn open() -> (Self, Engines) {
        (Self, all_ports!(memory_engine()))
    }
}

struct Embedded {
    directory: TempDir,
    engine: Option<embedded::Engine>,
    fails: Arc<AtomicBool>,
}

impl Embedded {
    fn start(&mut self) -> Engines {
        self.fails.store(false, Ordering::Relaxed);
        let fails = self.fails.clone();
        let hook = move || if fails.load(Ordering::Relaxed) { Err(io::Error::other("as asked")) } else { Ok(()) };
        let (mode, before_commit) = (embedded::Mode::Write, Some(Arc::new(hook) as embedded::BeforeCommit));
        // Next to nothing in memory, so that most reads are of the disk.
        let config =
            embedded::Config { mode, before_commit, hot_bytes: 512, ..embedded::Config::new(self.directory.path()) };
        let (engine, recovered) = given::open_with(config);
        assert!(recovered.damaged.is_empty(), "{recovered:?}");
        self.engine = Some(engine.clone());
        all_ports!(Arc::new(engine))
    }
}

impl Subject for Embedded {
    const SURVIVES: bool = true;

    async fn open() -> (Self, Engines) {
        let mut this = Self { directory: given::empty(), engine: None, fails: Arc::default() };
        let engines = this.start();
        (this, engines)
    }

    async fn reopen(&mut self) -> Engines {
        if let Some(engine) = self.engine.take() {
            given::close(engine).await;
        }
        self.start()
    }

    async fn fail(&self) {
        // A lease is answered before its commit. This is answered after all that came before it.
        if let Some(engine) = &self.engine {
            let nothing = RecordName { tenant: TenantId::DEFAULT, shelf: Shelf::Forks, name: "nothing".to_owned() };
            engine.remove(&nothing, Expect::Anything).await.unwrap();
        }
        self.fails.store(true, Ordering::Relaxed);
    }
}

/// Durable and transient tasks and logs by turns.
struct Both;

impl Subject for Both {
    async fn open() -> (Self, Engines) {
        let (durable, transient) = (memory_engine(), memory_engine());
        let both = Arc::new(ByDurability::new(durable.clone(), transient, clock()));
        let engines = Engines {
            logs: both.clone(),
            keeping: both.clone(),
            tasks: both,
            ledger: durable.clone(),
            directory: durable,
        };
        (Self, engines)
    }

    fn durability(number: u64) -> Durability {
        if number.is_multiple_of(2) { Durability::Durable } else { Durability::Transient }
    }
}

#[test]
fn the_memory_engine_answers_as_the_model() {
    run::<Memory>(300);
}

#[test]
fn the_embedded_engine_answers_as_the_model_over_failed_commits_and_restarts() {
    run::<Embedded>(15);
}

#[test]
fn two_engines_as_one_answer_as_the_model() {
    run::<Both>(200);
}

#[tokio::test]
async fn the_memory_dispatch_answers_as_the_model() {
    check_dispatch(memory::Dispatch::new, number("TIDEWIRE_TEST_CASES", 100), number("TIDEWIRE_TEST_SEED", 1)).await;
}
