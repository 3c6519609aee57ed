//! The account book of the embedded engine: over crashes at any moment, over a disk that fails, and without waiting for a
//! sync.
//!
//! `make test` runs a few crashes; `TIDEWIRE_TEST_LEDGER_CRASHES` runs more, and `TIDEWIRE_TEST_SEED` other ones.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "how long to run is asked of the environment")]

#[path = "embedded/given.rs"]
mod given;
#[path = "embedded/made.rs"]
mod made;

use given::{close, copied, open, open_with};
use made::{NOW, TENANT, ending, leased, task};
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidewire_core::port::{
    Account, Amounts, EventLog, Ledger, Limits, Reservation, ReserveError, Settlement, TaskStore, Totals, UsageQuery,
};
use tidewire_core::{Durability, KeyId, Money, Payer, TaskId, TaskRef, Usage};
use tidewire_engines::embedded::{BeforeCommit, Config, Engine, Mode};
use tidewire_testkit::random::Random;

/// Tells stuck from slow; no test waits for it when all is well.
const PATIENCE: Duration = Duration::from_mins(1);
/// Nobody reaches it.
const BUDGET: u64 = 1_000_000_000;
const WRITERS: u64 = 4;

fn reservation(task: TaskRef, amounts: Amounts) -> Reservation {
    let limits = Limits { cost_per_month: Some(Money(BUDGET)), ..Limits::default() };
    let payer = Payer { key: Some(KeyId(1)), user: None };
    let accounts = Arc::from([(Account::Tenant(TENANT), limits)]);
    Reservation { task, at: NOW, payer, route: Arc::from("small"), amounts, accounts }
}

fn amounts(tokens: u64, cost: u64) -> Amounts {
    Amounts { requests: 1, input_tokens: tokens, output_tokens: tokens, cost: Money(cost) }
}

fn used(tokens: u64, cost: u64) -> Usage {
    Usage { input_tokens: tokens, output_tokens: tokens, cost: Money(cost), ..Usage::default() }
}

fn transient(number: u64) -> TaskRef {
    TaskRef { tenant: TENANT, task: TaskId::new(NOW, u128::from(number), Durability::Transient) }
}

/// What was done about a task.
#[derive(Clone, Copy, Default)]
struct Story {
    /// Held, and known to survive.
    secured: u64,
    /// Said to have used so much: maybe settled.
    used: Option<u64>,
    given_back: bool,
}

type Stories = Arc<Mutex<BTreeMap<TaskRef, Story>>>;

/// One caller: transient and durable tasks one after the other, each through a life by chance.
async fn write(engine: Engine, seed: u64, first: u64, stories: Stories, go: Arc<AtomicBool>, calls: Arc<AtomicU64>) {
    let mut random = Random::new(seed);
    let mut number = first;
    let tell = |task, change: &dyn Fn(&mut Story)| change(stories.lock().unwrap().entry(task).or_default());
    while go.load(Ordering::Relaxed) {
        number += WRITERS;
        calls.fetch_add(1, Ordering::Relaxed);
        let (held, is_durable) = (random.below(100), random.once_in(3));
        let made = task(number);
        let at = if is_durable { made.at() } else { transient(number) };
        if engine.reserve(reservation(at, amounts(held, held))).await.is_err() {
            continue;
        }
        if random.once_in(8) {
            tell(at, &|story| story.given_back = true);
            engine.give_back(at).await.unwrap();
            continue;
        }
        let secured = if is_durable { engine.submit(made).await.is_ok() } else { engine.secure(at).await.is_ok() };
        if !secured {
            continue;
        }
        tell(at, &|story| story.secured = held);
        if random.once_in(3) {
            engine.top_up(at, amounts(5, 5), NOW).await.unwrap();
        }
        if random.once_in(6) {
            continue;
        }
        if is_durable {
            let ending = ending();
            tell(at, &|story| story.used = Some(ending.usage.cost.0));
            engine.end(leased(at.log(), 1, 0, Vec::new()), ending).await.unwrap();
        } else {
            let cost = random.below(120);
            tell(at, &|story| story.used = Some(cost));
            let settlement = Settlement { task: at, at: NOW, usage: used(cost, cost), deployment: None };
            assert!(engine.settle(settlement).await.unwrap());
        }
    }
}

/// What must be true of a book whenever it is opened.
async fn demand_sound(engine: &Engine, before: &BTreeMap<TaskRef, Story>, after: &BTreeMap<TaskRef, Story>) {
    let balance = engine.balance();
    assert!(balance.adds_up(), "{balance:?}");
    let query = UsageQuery { tenant: None, from_day: 0, to_day: u32::MAX };
    let rows = engine.usage(query).await.unwrap();
    let sum = rows.iter().fold(Totals::default(), |sum, row| sum.plus(row.totals));
    assert_eq!(sum, engine.totals(TENANT).await.unwrap());
    assert_eq!(
        Amounts { requests: sum.tasks, ..Amounts::of(&sum.usage) },
        balance.settled,
        "every task held something"
    );
    // What the account has left is what the balance says.
    let probe = transient(u64::MAX);
    let left = engine.reserve(reservation(probe, Amounts::default())).await.unwrap().cost.unwrap();
    engine.give_back(probe).await.unwrap();
    assert_eq!(BUDGET - left.remaining, balance.settled.cost.0 + balance.outstanding.cost.0);
    // Nothing that was secured is forgotten.
    let least = |(task, story): (&TaskRef, &Story)| {
        let later = after.get(task).copied().unwrap_or_default();
        if later.given_back { 0 } else { story.secured.min(later.used.unwrap_or(u64::MAX)) }
    };
    let least: u64 = before.iter().map(least).sum();
    let known = balance.settled.cost.0 + balance.outstanding.cost.0;
    assert!(known >= least, "{known} is known, and {least} was secured");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_it_crashes_the_book_adds_up_and_nothing_secured_is_forgotten() {
    let number = |name, otherwise| std::env::var(name).map_or(otherwise, |text: String| text.parse().unwrap());
    let (crashes, seed) = (number("TIDEWIRE_TEST_LEDGER_CRASHES", 6), number("TIDEWIRE_TEST_SEED", 1));
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let mut directory = given::empty();
    let stories = Stories::default();
    for crash in 0..crashes {
        let mode = if crash % 2 == 0 { Mode::Write } else { Mode::Fsync };
        let (engine, recovered) = open_with(Config { mode, ..Config::new(directory.path()) });
        assert!(recovered.damaged.is_empty(), "{recovered:?}");
        let (go, calls) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let first = crash * 1_000_000 + writer;
            writers.spawn(write(engine.clone(), random.bits(), first, stories.clone(), go.clone(), calls.clone()));
        }
        let until = 20 + random.below(300);
        while calls.load(Ordering::Relaxed) < until {
            tokio::task::yield_now().await;
        }
        let before = stories.lock().unwrap().clone();
        let left = copied(directory.path());
        let after = stories.lock().unwrap().clone();
        go.store(false, Ordering::Relaxed);
        writers.join_all().await;
        let whole = stories.lock().unwrap().clone();
        demand_sound(&engine, &whole, &whole).await;
        close(engine).await;

        let (engine, recovered) = open(&left);
        assert!(recovered.damaged.is_empty(), "{recovered:?}");
        demand_sound(&engine, &before, &after).await;
        // Of transient tasks nothing is held any more, and of durable ones what those hold that are there.
        for (task, story) in &after {
            let holds = engine.secure(*task).await.is_ok();
            let lives = engine.get(*task).await.unwrap().is_some_and(|task| !task.state.is_ended());
            assert_eq!(holds, lives && !story.given_back, "{task:?}");
        }
        close(engine).await;
        let report = tidewire_engines::embedded::check(left.path(), &mut |_| ()).unwrap();
        assert!(report.findings.iter().all(|finding| !finding.is_damage()), "{:?}", report.findings);
        // On from what the crash left.
        *stories.lock().unwrap() = before.into_iter().filter(|(task, _)| !after[task].given_back).collect();
        for (task, story) in stories.lock().unwrap().iter_mut() {
            story.used = after[task].used;
        }
        directory = left;
    }
}

#[tokio::test]
async fn what_a_full_disk_refused_is_settled_once_when_it_has_room_again() {
    let directory = given::empty();
    let full = Arc::new(AtomicBool::new(false));
    let hook = {
        let full = full.clone();
        move || if full.load(Ordering::SeqCst) { Err(Error::from(ErrorKind::StorageFull)) } else { Ok(()) }
    };
    let config = Config { before_commit: Some(Arc::new(hook) as BeforeCommit), ..Config::new(directory.path()) };
    let (engine, _) = open_with(config);
    for task in [transient(1), transient(2), task(3).at()] {
        engine.reserve(reservation(task, amounts(10, 10))).await.unwrap();
        engine.secure(task).await.unwrap();
    }
    engine.submit(task(3)).await.unwrap();

    full.store(true, Ordering::SeqCst);
    let settlement =
        |number, cost| Settlement { task: transient(number), at: NOW, usage: used(cost, cost), deployment: None };
    assert!(engine.settle(settlement(1, 4)).await.unwrap(), "decided before anybody knew of the disk");
    engine.reserve(reservation(transient(4), amounts(7, 7))).await.unwrap();
    let ended = engine.end(leased(task(3).at().log(), 1, 0, Vec::new()), ending());
    let (ended, secured) = tokio::join!(ended, engine.secure(transient(4)));
    assert!(ended.is_err() && secured.is_err());
    assert!(engine.give_back(transient(4)).await.unwrap(), "as a caller must");
    let refused = engine.reserve(reservation(transient(5), amounts(1, 1))).await;
    assert!(matches!(refused, Err(ReserveError::Unavailable(_))), "{refused:?}");
    assert!(engine.settle(settlement(2, 3)).await.is_err());

    full.store(false, Ordering::SeqCst);
    let well = async {
        while engine.health().is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, well).await.unwrap();
    let balance = engine.balance();
    assert!(balance.adds_up());
    assert_eq!((balance.reservations, balance.outstanding.cost), (2, Money(20)), "the end was refused: it holds still");
    assert!(engine.settle(settlement(2, 3)).await.unwrap());
    assert!(!engine.settle(settlement(1, 4)).await.unwrap());
    engine.end(leased(task(3).at().log(), 1, 0, Vec::new()), ending()).await.unwrap();
    let balance = engine.balance();
    assert!(balance.adds_up());
    assert_eq!(balance.settled, amounts(4, 4).plus(amounts(3, 3)).plus(Amounts::of(&ending().usage)));
    let totals = engine.totals(TENANT).await.unwrap();
    assert_eq!((totals.tasks, Amounts { requests: 3, ..Amounts::of(&totals.usage) }), (3, balance.settled));
    close(engine).await;
    let (engine, found) = open(&directory);
    assert_eq!((engine.balance(), found.reservations_settled), (balance, 0));
    assert_eq!(engine.totals(TENANT).await.unwrap(), totals);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transient_tasks_reservation_waits_for_no_sync_and_one_comes_by_itself() {
    let directory = given::empty();
    let (asked, may) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let hook = {
        let (asked, may) = (asked.clone(), may.clone());
        move || {
            asked.fetch_add(1, Ordering::SeqCst);
            while !may.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            Ok(())
        }
    };
    let config = Config { before_sync: Some(Arc::new(hook) as BeforeCommit), ..Config::new(directory.path()) };
    let (engine, _) = open_with(config);
    engine.reserve(reservation(transient(1), amounts(1, 1))).await.unwrap();
    tokio::time::timeout(PATIENCE, engine.secure(transient(1))).await.expect("it waits for the disk").unwrap();
    let synced = async {
        while asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, synced).await.expect("nobody syncs what was written");
    // One that is decided meanwhile survives as soon as the system has it: after the sync that is under way.
    may.store(true, Ordering::SeqCst);
    engine.reserve(reservation(transient(2), amounts(1, 1))).await.unwrap();
    engine.secure(transient(2)).await.unwrap();
    close(engine).await;
}

#[tokio::test]
async fn names_that_fit_into_no_key_are_refused() {
    let directory = given::empty();
    let (engine, _) = open(&directory);
    let long: Arc<str> = Arc::from("x".repeat(70_000));
    let asked = reservation(transient(1), amounts(1, 1));
    let by_long = Reservation { payer: Payer { key: None, user: Some(long.clone()) }, ..asked.clone() };
    let over_long = Reservation { route: long.clone(), ..asked.clone() };
    let from_long =
        Reservation { accounts: Arc::from([(Account::User(TENANT, long), Limits::default())]), ..asked.clone() };
    for asked in [by_long, over_long, from_long] {
        assert!(matches!(engine.reserve(asked).await, Err(ReserveError::Unavailable(_))));
    }
    engine.reserve(asked).await.unwrap();
    close(engine).await;
}
