//! Seeds of the simulation, each in a process of its own. `make test` runs a few; `make soak` sets
//! `TIDEWIRE_TEST_SEEDS=1000`, and `TIDEWIRE_TEST_FIRST_SEED` says where to begin.
//!
//! A seed that failed is run again, with all that happened, by
//! `cargo run -p tidewire-simulation -- SEED`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Enough for every kind of trouble, and a few seconds.
const SEEDS: u64 = 24;
/// Each planted fault shows under far fewer.
const SEEDS_OF_A_FAULT: u64 = 60;

fn simulate(seed: u64, fault: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simulate"));
    command.arg(seed.to_string()).args(fault).output().expect("the simulation starts")
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Runs seeds on every core until one fails or all are through. Gives back the failures.
fn failures(seeds: std::ops::Range<u64>, fault: Option<&str>, most: usize) -> Vec<String> {
    let next = AtomicU64::new(seeds.start);
    let failures = Mutex::new(Vec::new());
    let found = || failures.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || found().len() >= most {
                        return;
                    }
                    let output = simulate(seed, fault);
                    if !output.status.success() {
                        let said = String::from_utf8_lossy(&output.stderr).into_owned();
                        found().push(format!("seed {seed}: {}\n{said}", output.status));
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn what_was_promised_holds_under_every_seed() {
    let first = number("TIDEWIRE_TEST_FIRST_SEED", 1);
    let failures = failures(first..first + number("TIDEWIRE_TEST_SEEDS", SEEDS), None, 5);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn one_seed_gives_the_same_bytes_twice() {
    let bytes = |seed| String::from_utf8(simulate(seed, None).stdout).unwrap();
    let mut before = String::new();
    for seed in [3, 7, 41] {
        let (once, twice) = (bytes(seed), bytes(seed));
        let differs = once.lines().zip(twice.lines()).find(|(once, twice)| once != twice);
        assert!(once == twice, "seed {seed} went two ways, first here: {differs:?}");
        assert!(once.lines().count() > 100 && once != before, "seed {seed} did something of its own");
        before = once;
    }
}

#[test]
fn a_planted_fault_is_found() {
    for fault in ["acks-early", "forgets-fences", "skips-an-event"] {
        let failures = failures(1..SEEDS_OF_A_FAULT, Some(fault), 1);
        assert!(!failures.is_empty(), "`{fault}` went unseen under {SEEDS_OF_A_FAULT} seeds");
    }
}
