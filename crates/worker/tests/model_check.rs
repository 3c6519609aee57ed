//! Every order in which two workers, a reaper, crashes and late calls can meet at one task: lease, fence, append, end,
//! settle. The steps are those of `run.rs`, the rules are the real ones of `core`.
//!
//! [`explore`] goes through all states that can be reached with so many crashes and lapsed leases, and looks in
//! each for a broken promise; then whether the task can still end from each.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]

#[path = "model_check/actors.rs"]
mod actors;
#[path = "model_check/explore.rs"]
mod explore;
#[path = "model_check/world.rs"]
mod world;

use explore::{Found, explore};
use world::{Engines, Fault, Variant};

/// Crashes, lapses and stops: each pair of them, because all three together have millions of states.
const ADVERSITIES: [(u8, u8, bool); 3] = [(1, 1, false), (0, 1, true), (1, 0, true)];

fn found(engines: Engines, fault: Option<Fault>) -> Found {
    let mut states = 0;
    for (crashes, lapses, stops) in ADVERSITIES {
        let found = explore(Variant { engines, fault, crashes, lapses, stops });
        states += found.states;
        if found.broken.is_some() {
            return found;
        }
    }
    Found { states, broken: None }
}

#[test]
fn one_end_one_settlement_and_no_old_writer_in_one_engine() {
    let found = found(Engines::Together, None);
    assert!(found.broken.is_none(), "{}", found.broken.unwrap_or_default());
    assert!(found.states > 1_000, "only {} states", found.states);
}

#[test]
fn one_end_one_settlement_and_no_old_writer_where_log_record_and_ledger_are_apart() {
    let found = found(Engines::Apart, None);
    assert!(found.broken.is_none(), "{}", found.broken.unwrap_or_default());
    assert!(found.states > 1_000, "only {} states", found.states);
}

#[test]
fn without_the_check_of_fences_an_old_worker_writes() {
    for engines in [Engines::Together, Engines::Apart] {
        let broken = found(engines, Some(Fault::NoFences)).broken.expect("it is found");
        assert!(broken.contains("an older fence wrote"), "{broken}");
    }
}

#[test]
fn without_the_check_of_ends_a_log_ends_twice() {
    let broken = found(Engines::Apart, Some(Fault::NoEnds)).broken.expect("it is found");
    assert!(broken.contains("ended twice"), "{broken}");
}

/// What the reaper once did: whoever finishes first and falls then leaves a task that nobody settles.
#[test]
fn a_record_that_is_finished_before_it_is_settled_may_never_be_settled() {
    let broken = found(Engines::Apart, Some(Fault::FinishesFirst)).broken.expect("it is found");
    assert!(broken.contains("never come to rest"), "{broken}");
}
