//! The suites find what they are for: an engine with a known fault fails the check that names it, and the
//! honest one passes them all, the checks of what survives a crash included.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{
    Amounts, Append, AppendError, Appended, Balance, Cursor, Directory, EventLog, Expect, Expired, FeedEntry,
    FeedPosition, Filter, Growth, LeaseError, Leasing, Ledger, Left, Limits, LogKeeping, LogState, Page, PutError,
    ReadError, Record, RecordName, Release, RemoveError, RemoveRecordError, Renewal, Reservation, ReserveError,
    Retention, Settlement, Shelf, SubmitError, Submitted, TaskPage, TaskStore, Totals, TrimError, Unavailable,
    UpdateError, UsageQuery, UsageRow, Watch, Writer,
};
use tidewire_core::task::Lease;
use tidewire_core::{
    Durability, Ending, Entry, Epoch, LogId, LogRef, Money, Offset, Task, TaskRef, TenantId, Timestamp,
};
use tidewire_engines::memory;
use tidewire_testkit::clock::HandClock;
use tidewire_testkit::model::{self, Engines, Subject};
use tidewire_testkit::{Failure, Harness, commit_point, directory, event_log, ledger, log_keeping, task_store};
use tokio::sync::{Mutex, watch};

/// What is wrong with an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    LosesTheLastAppendInACrash,
    KeepsNothingOfAnAppend,
    ServesBeforeItCommits,
    AcceptsAnOldFence,
    SkipsAnOffset,
    ShowsLogsToStrangers,
    WakesNobody,
    BeginsAnEpochWithoutALoss,
    ForgetsALease,
    GivesAFenceAgainAfterACrash,
    ForgetsIdempotencyKeys,
    LosesTheLastSubmitInACrash,
    SettlesAgainAfterACrash,
    BringsTrimmedEventsBack,
    BringsARemovedLogBack,
    PutsWhateverIsExpected,
    GivesAVersionAgain,
    SettlesTwice,
    LosesWhatIsGivenBack,
    ChecksThenTakes,
    KeepsWhatItRefused,
    ForgetsReservationsInACrash,
    HoldsReservationsForEverAfterACrash,
}

/// A call that changes something.
enum Call {
    Create(LogRef),
    Append(Append),
    End(Append, Ending),
    Submit(Box<Task>),
    RequestStop(TaskRef),
    Lease(TaskRef, Leasing),
    Renew(Vec<Lease>, Timestamp),
    Release(Lease, Release),
    Finish(TaskRef, Timestamp, Ending),
    Settle(Settlement),
    Reserve(Reservation),
    TopUp(TaskRef, Amounts, Timestamp),
    GiveBack(TaskRef),
    Trim(LogRef, Offset, Entry),
    Expire(Timestamp, Retention, usize),
    Erase(LogRef),
    Remove(LogRef),
    PutRecord(RecordName, Bytes, Expect),
    RemoveRecord(RecordName, Expect),
}

/// A memory engine that survives a crash: it writes down every call, and makes them again on a fresh engine
/// with the same clock, which comes to the same end.
struct Journaled {
    fault: Fault,
    engine: memory::Engine,
    journal: Mutex<Vec<Call>>,
}

struct Crashing(Fault);

fn fresh(seed: u64) -> memory::Engine {
    memory::Engine::new(memory::Bounds::default(), Arc::new(HandClock::new(seed)))
}

impl Harness for Crashing {
    type Engine = Journaled;

    async fn open(&self) -> Journaled {
        Journaled { fault: self.0, engine: fresh(1), journal: Mutex::default() }
    }

    async fn crash_and_reopen(&self, crashed: Journaled) -> Option<Journaled> {
        let mut journal = crashed.journal.into_inner();
        let lost: Option<fn(&Call) -> bool> = match self.0 {
            Fault::LosesTheLastAppendInACrash => Some(|call| matches!(call, Call::Append(_))),
            Fault::LosesTheLastSubmitInACrash => Some(|call| matches!(call, Call::Submit(_))),
            Fault::BringsTrimmedEventsBack => Some(|call| matches!(call, Call::Trim(..))),
            Fault::BringsARemovedLogBack => Some(|call| matches!(call, Call::Remove(_))),
            Fault::SettlesAgainAfterACrash => Some(|call| matches!(call, Call::Settle(_))),
            Fault::GivesAFenceAgainAfterACrash => Some(|call| matches!(call, Call::Lease(..))),
            _ => None,
        };
        if let Some(place) = lost.and_then(|lost| journal.iter().rposition(lost)) {
            journal.remove(place);
        }
        let seed = if self.0 == Fault::BeginsAnEpochWithoutALoss { 2 } else { 1 };
        let engine = fresh(seed);
        if self.0 == Fault::ForgetsReservationsInACrash {
            journal.retain(|call| !matches!(call, Call::Reserve(_)));
        }
        for call in &journal {
            again(&engine, call).await;
        }
        // What never came to be holds nothing.
        for call in journal.iter().filter(|_| self.0 != Fault::HoldsReservationsForEverAfterACrash) {
            if let Call::Reserve(Reservation { task, .. }) = call
                && TaskStore::get(&engine, *task).await.unwrap().is_none()
            {
                engine.give_back(*task).await.unwrap();
            }
        }
        Some(Journaled { fault: self.0, engine, journal: Mutex::new(journal) })
    }

    fn patience(&self) -> Duration {
        // Some faults hang whoever waits; all else takes milliseconds.
        if self.0 == Fault::Nothing { Duration::from_mins(1) } else { Duration::from_secs(1) }
    }
}

/// Makes a call once more. What was refused is refused again.
async fn again(engine: &memory::Engine, call: &Call) {
    match call {
        Call::Create(log) => drop(engine.create(*log).await),
        Call::Append(append) => drop(engine.append(append.clone()).await),
        Call::End(append, ending) => drop(engine.end(append.clone(), ending.clone()).await),
        Call::Submit(task) => drop(engine.submit(*task.clone()).await),
        Call::RequestStop(task) => drop(engine.request_stop(*task).await),
        Call::Lease(task, leasing) => drop(engine.lease(*task, leasing.clone()).await),
        Call::Renew(leases, until) => drop(engine.renew(leases, *until).await),
        Call::Release(lease, release) => drop(engine.release(lease, *release).await),
        Call::Finish(task, at, ending) => drop(engine.finish(*task, *at, ending.clone()).await),
        Call::Settle(settlement) => drop(engine.settle(settlement.clone()).await),
        Call::Reserve(reservation) => drop(engine.reserve(reservation.clone()).await),
        Call::TopUp(task, more, at) => drop(engine.top_up(*task, *more, *at).await),
        Call::GiveBack(task) => drop(engine.give_back(*task).await),
        Call::Trim(log, upto, snapshot) => drop(engine.trim(*log, *upto, snapshot.clone()).await),
        Call::Expire(now, keep, limit) => drop(engine.expire(*now, *keep, *limit).await),
        Call::Erase(log) => drop(engine.erase(*log).await),
        Call::Remove(log) => drop(LogKeeping::remove(engine, *log).await),
        Call::PutRecord(name, value, expect) => drop(engine.put(name.clone(), value.clone(), *expect).await),
        Call::RemoveRecord(name, expect) => drop(Directory::remove(engine, name, *expect).await),
    }
}

impl Journaled {
    /// Writes a call down and makes it, as one step.
    async fn make<T>(&self, call: Call, making: impl Future<Output = T>) -> T {
        let mut journal = self.journal.lock().await;
        journal.push(call);
        making.await
    }

    /// The log that is meant, whoever asks.
    fn seen(&self, log: LogRef) -> LogRef {
        // The suites' own tenant.
        if self.fault == Fault::ShowsLogsToStrangers { LogRef { tenant: TenantId(7), ..log } } else { log }
    }
}

#[async_trait]
impl EventLog for Journaled {
    async fn create(&self, log: LogRef) -> Result<Epoch, Unavailable> {
        self.make(Call::Create(log), self.engine.create(log)).await
    }

    async fn append(&self, mut append: Append) -> Result<Appended, AppendError> {
        let log = append.log;
        match (self.fault, &mut append.writer) {
            (Fault::KeepsNothingOfAnAppend, Writer::Leased { expect, .. }) if !append.entries.is_empty() => {
                let to = expect.plus(append.entries.len());
                return Ok(Appended { from: *expect, to, repeats: None });
            }
            (Fault::AcceptsAnOldFence, Writer::Leased { fence, .. }) => {
                *fence = self.engine.state(log).await.map_or(*fence, |state| state.fence.max(*fence));
            }
            (Fault::ServesBeforeItCommits, _) => {
                let answer = self.engine.append(append.clone()).await;
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
                self.journal.lock().await.push(Call::Append(append));
                return answer;
            }
            _ => {}
        }
        self.make(Call::Append(append.clone()), self.engine.append(append)).await
    }

    async fn end(&self, append: Append, ending: Ending) -> Result<Appended, AppendError> {
        self.make(Call::End(append.clone(), ending.clone()), self.engine.end(append, ending)).await
    }

    async fn read(&self, log: LogRef, cursor: Cursor, max_bytes: usize) -> Result<Page, ReadError> {
        let mut page = self.engine.read(self.seen(log), cursor, max_bytes).await?;
        if self.fault == Fault::SkipsAnOffset {
            for event in page.events.iter_mut().filter(|event| event.offset > Offset(2)) {
                event.offset = event.offset.plus(1);
            }
        }
        Ok(page)
    }

    async fn state(&self, log: LogRef) -> Result<LogState, ReadError> {
        self.engine.state(self.seen(log)).await
    }

    async fn watch(&self, log: LogRef) -> Result<Watch, ReadError> {
        let honest = self.engine.watch(self.seen(log)).await?;
        if self.fault != Fault::WakesNobody {
            return Ok(honest);
        }
        let (sender, watch) = watch::channel(Growth { tail: honest.now().tail, over: false });
        // Kept for ever, so that the watch is not told that the log is gone.
        std::mem::forget(sender);
        Ok(Watch::new(watch))
    }
}

#[async_trait]
impl LogKeeping for Journaled {
    async fn trim(&self, log: LogRef, upto: Offset, snapshot: Entry) -> Result<(), TrimError> {
        self.make(Call::Trim(log, upto, snapshot.clone()), self.engine.trim(log, upto, snapshot)).await
    }

    async fn expire(&self, now: Timestamp, keep: Retention, limit: usize) -> Result<Expired, Unavailable> {
        self.make(Call::Expire(now, keep, limit), self.engine.expire(now, keep, limit)).await
    }

    async fn erase(&self, log: LogRef) -> Result<(), TrimError> {
        self.make(Call::Erase(log), self.engine.erase(log)).await
    }

    async fn remove(&self, log: LogRef) -> Result<(), RemoveError> {
        self.make(Call::Remove(log), LogKeeping::remove(&self.engine, log)).await
    }

    async fn list(&self, tenant: TenantId, after: Option<LogId>, limit: usize) -> Result<Vec<LogId>, Unavailable> {
        LogKeeping::list(&self.engine, tenant, after, limit).await
    }

    async fn feed(&self, after: FeedPosition, limit: usize) -> Result<Vec<FeedEntry>, Unavailable> {
        self.engine.feed(after, limit).await
    }
}

#[async_trait]
impl TaskStore for Journaled {
    async fn submit(&self, mut task: Task) -> Result<Submitted, SubmitError> {
        if self.fault == Fault::ForgetsIdempotencyKeys {
            task.idempotency = None;
        }
        self.make(Call::Submit(Box::new(task.clone())), self.engine.submit(task)).await
    }

    async fn get(&self, task: TaskRef) -> Result<Option<Task>, Unavailable> {
        TaskStore::get(&self.engine, task).await
    }

    async fn list(&self, filter: &Filter) -> Result<TaskPage, Unavailable> {
        TaskStore::list(&self.engine, filter).await
    }

    async fn request_stop(&self, task: TaskRef) -> Result<Task, UpdateError> {
        self.make(Call::RequestStop(task), self.engine.request_stop(task)).await
    }

    async fn lease(&self, task: TaskRef, leasing: Leasing) -> Result<(Task, Lease), LeaseError> {
        if self.fault == Fault::ForgetsALease {
            let mut record = TaskStore::get(&self.engine, task).await?.ok_or(LeaseError::Unknown)?;
            let lease = record.lease(leasing)?;
            return Ok((record, lease));
        }
        self.make(Call::Lease(task, leasing.clone()), self.engine.lease(task, leasing)).await
    }

    async fn renew(&self, leases: &[Lease], until: Timestamp) -> Result<Vec<Renewal>, Unavailable> {
        self.make(Call::Renew(leases.to_vec(), until), self.engine.renew(leases, until)).await
    }

    async fn release(&self, lease: &Lease, release: Release) -> Result<(), UpdateError> {
        self.make(Call::Release(lease.clone(), release), self.engine.release(lease, release)).await
    }

    async fn finish(&self, task: TaskRef, at: Timestamp, ending: Ending) -> Result<(), UpdateError> {
        self.make(Call::Finish(task, at, ending.clone()), self.engine.finish(task, at, ending)).await
    }
}

#[async_trait]
impl Ledger for Journaled {
    async fn settle(&self, settlement: Settlement) -> Result<bool, Unavailable> {
        let first = self.make(Call::Settle(settlement.clone()), self.engine.settle(settlement.clone())).await?;
        if self.fault != Fault::SettlesTwice || first {
            return Ok(first);
        }
        let journal = self.journal.lock().await;
        let task = tidewire_core::TaskId::new(settlement.at, 1_000 + journal.len() as u128, Durability::Durable);
        self.engine.settle(Settlement { task: TaskRef { task, ..settlement.task }, ..settlement }).await
    }

    async fn totals(&self, tenant: TenantId) -> Result<Totals, Unavailable> {
        self.engine.totals(tenant).await
    }

    async fn reserve(&self, reservation: Reservation) -> Result<Left, ReserveError> {
        let engine = &self.engine;
        if self.fault == Fault::ChecksThenTakes {
            // The room is looked for first, and taken later, however much is left by then.
            engine.reserve(reservation.clone()).await?;
            engine.give_back(reservation.task).await?;
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            return engine.reserve(without_limits(reservation)).await;
        }
        let reserved = self.make(Call::Reserve(reservation.clone()), engine.reserve(reservation.clone())).await;
        if self.fault == Fault::KeepsWhatItRefused && reserved.is_err() {
            let amounts = Amounts { cost: Money::ZERO, ..reservation.amounts };
            return engine.reserve(without_limits(Reservation { amounts, ..reservation })).await.and(reserved);
        }
        reserved
    }

    async fn secure(&self, task: TaskRef) -> Result<(), Unavailable> {
        self.engine.secure(task).await
    }

    async fn top_up(&self, task: TaskRef, more: Amounts, at: Timestamp) -> Result<(), ReserveError> {
        self.make(Call::TopUp(task, more, at), self.engine.top_up(task, more, at)).await
    }

    async fn give_back(&self, task: TaskRef) -> Result<bool, Unavailable> {
        if self.fault == Fault::LosesWhatIsGivenBack {
            return Ok(true);
        }
        self.make(Call::GiveBack(task), self.engine.give_back(task)).await
    }

    async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, Unavailable> {
        self.engine.usage(query).await
    }

    fn balance(&self) -> Balance {
        self.engine.balance()
    }
}

/// The same, by accounts that have all the room there is.
fn without_limits(reservation: Reservation) -> Reservation {
    let all = Some(u64::from(u32::MAX));
    let limits = Limits {
        requests_per_minute: all,
        input_tokens_per_minute: all,
        output_tokens_per_minute: all,
        cost_per_day: Some(Money(u64::MAX)),
        cost_per_month: Some(Money(u64::MAX)),
    };
    let accounts = reservation.accounts.iter().map(|(account, _)| (account.clone(), limits)).collect();
    Reservation { accounts, ..reservation }
}

#[async_trait]
impl Directory for Journaled {
    async fn get(&self, name: &RecordName) -> Result<Option<Record>, Unavailable> {
        let mut record = Directory::get(&self.engine, name).await?;
        if let Some(record) = record.as_mut().filter(|_| self.fault == Fault::GivesAVersionAgain) {
            record.version = 1;
        }
        Ok(record)
    }

    async fn put(&self, name: RecordName, value: Bytes, mut expect: Expect) -> Result<u64, PutError> {
        if self.fault == Fault::PutsWhateverIsExpected {
            expect = Expect::Anything;
        }
        let call = Call::PutRecord(name.clone(), value.clone(), expect);
        let version = self.make(call, self.engine.put(name, value, expect)).await?;
        Ok(if self.fault == Fault::GivesAVersionAgain { 1 } else { version })
    }

    async fn remove(&self, name: &RecordName, expect: Expect) -> Result<bool, RemoveRecordError> {
        self.make(Call::RemoveRecord(name.clone(), expect), Directory::remove(&self.engine, name, expect)).await
    }

    async fn list(
        &self,
        tenant: TenantId,
        shelf: Shelf,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Record)>, Unavailable> {
        Directory::list(&self.engine, tenant, shelf, after, limit).await
    }

    async fn count(&self, tenant: TenantId, shelf: Shelf) -> Result<u64, Unavailable> {
        self.engine.count(tenant, shelf).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_honest_engine_that_survives_crashes_passes_every_check() {
    let honest = Crashing(Fault::Nothing);
    event_log::check(&honest).await;
    log_keeping::check(&honest).await;
    task_store::check(&honest).await;
    ledger::check(&honest).await;
    commit_point::check(&honest).await;
    directory::check(&honest).await;
}

fn assert_names(failures: &[Failure], fault: Fault, expected: &str) {
    let names: Vec<&str> = failures.iter().map(|failure| failure.check).collect();
    assert!(names.contains(&expected), "{fault:?} should fail `{expected}`, and failed {names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_broken_event_log_fails_the_check_that_names_its_fault() {
    for (fault, expected) in [
        (Fault::LosesTheLastAppendInACrash, "what_was_appended_survives_a_crash"),
        (Fault::KeepsNothingOfAnAppend, "an_append_that_returned_can_be_read"),
        (Fault::ServesBeforeItCommits, "what_a_reader_saw_survives_a_crash"),
        (Fault::AcceptsAnOldFence, "a_lower_fence_is_refused"),
        (Fault::SkipsAnOffset, "offsets_are_dense_from_zero"),
        (Fault::ShowsLogsToStrangers, "another_tenants_log_is_unknown"),
        (Fault::WakesNobody, "a_watch_wakes_when_the_log_grows"),
        (Fault::BeginsAnEpochWithoutALoss, "what_was_appended_survives_a_crash"),
    ] {
        assert_names(&event_log::failures(&Crashing(fault)).await, fault, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_broken_task_store_fails_the_check_that_names_its_fault() {
    for (fault, expected) in [
        (Fault::ForgetsALease, "of_many_leases_at_once_one_wins"),
        (Fault::ForgetsIdempotencyKeys, "fifty_submits_with_one_key_make_one_task"),
        (Fault::LosesTheLastSubmitInACrash, "a_submitted_task_survives_a_crash"),
    ] {
        assert_names(&task_store::failures(&Crashing(fault)).await, fault, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_broken_ledger_fails_the_check_that_names_its_fault() {
    for (fault, expected) in [
        (Fault::SettlesTwice, "a_reservation_is_settled_once_whoever_asks_at_once"),
        (Fault::LosesWhatIsGivenBack, "what_is_given_back_is_free_again_and_given_back_once"),
        (Fault::ChecksThenTakes, "of_many_callers_at_once_as_many_win_as_there_is_room_for"),
        (Fault::KeepsWhatItRefused, "a_refused_reservation_takes_nothing_and_smaller_ones_find_the_room"),
        (Fault::ForgetsReservationsInACrash, "what_was_secured_is_not_outstanding_for_ever_after_a_crash"),
        (Fault::HoldsReservationsForEverAfterACrash, "what_was_secured_is_not_outstanding_for_ever_after_a_crash"),
    ] {
        assert_names(&ledger::failures(&Crashing(fault)).await, fault, expected);
    }
    let fault = Fault::ForgetsReservationsInACrash;
    let failures = commit_point::failures(&Crashing(fault)).await;
    assert_names(&failures, fault, "what_a_live_task_holds_survives_a_crash_and_its_end_settles_it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn other_broken_engines_fail_the_check_that_names_their_fault() {
    let fault = Fault::GivesAFenceAgainAfterACrash;
    let failures = commit_point::failures(&Crashing(fault)).await;
    assert_names(&failures, fault, "a_fence_that_wrote_is_not_given_again_after_a_crash");
    let fault = Fault::SettlesAgainAfterACrash;
    assert_names(&ledger::failures(&Crashing(fault)).await, fault, "a_settlement_survives_a_crash");
    let fault = Fault::BringsTrimmedEventsBack;
    assert_names(&log_keeping::failures(&Crashing(fault)).await, fault, "a_trim_and_an_erasure_survive_a_crash");
    let fault = Fault::BringsARemovedLogBack;
    assert_names(&log_keeping::failures(&Crashing(fault)).await, fault, "a_removed_log_stays_away_after_a_crash");
    let fault = Fault::PutsWhateverIsExpected;
    let failures = directory::failures(&Crashing(fault)).await;
    assert_names(&failures, fault, "of_puts_at_once_that_expect_the_same_one_wins");
    assert_names(&failures, fault, "a_counter_by_compare_and_set_loses_nothing");
    let fault = Fault::GivesAVersionAgain;
    assert_names(&directory::failures(&Crashing(fault)).await, fault, "a_version_never_comes_again");
}

/// The faults that show without a crash, by number.
const AGAINST_THE_MODEL: [Fault; 12] = [
    Fault::KeepsNothingOfAnAppend,
    Fault::AcceptsAnOldFence,
    Fault::SkipsAnOffset,
    Fault::ShowsLogsToStrangers,
    Fault::WakesNobody,
    Fault::ForgetsALease,
    Fault::ForgetsIdempotencyKeys,
    Fault::PutsWhateverIsExpected,
    Fault::GivesAVersionAgain,
    Fault::SettlesTwice,
    Fault::LosesWhatIsGivenBack,
    Fault::KeepsWhatItRefused,
];

/// An engine with one of these faults; past the last one, an honest engine.
struct Broken<const FAULT: usize>;

impl<const FAULT: usize> Subject for Broken<FAULT> {
    async fn open() -> (Self, Engines) {
        let fault = AGAINST_THE_MODEL.get(FAULT).copied().unwrap_or(Fault::Nothing);
        let engine = Arc::new(Crashing(fault).open().await);
        let (logs, keeping, tasks) = (engine.clone(), engine.clone(), engine.clone());
        (Self, Engines { logs, keeping, tasks, ledger: engine.clone(), directory: engine })
    }
}

#[test]
fn a_broken_engine_differs_from_the_model_and_an_honest_one_does_not() {
    let found = [
        model::difference::<Broken<0>>(100, 1),
        model::difference::<Broken<1>>(100, 1),
        model::difference::<Broken<2>>(100, 1),
        model::difference::<Broken<3>>(100, 1),
        model::difference::<Broken<4>>(100, 1),
        model::difference::<Broken<5>>(100, 1),
        model::difference::<Broken<6>>(100, 1),
        model::difference::<Broken<7>>(100, 1),
        model::difference::<Broken<8>>(100, 1),
        model::difference::<Broken<9>>(100, 1),
        model::difference::<Broken<10>>(100, 1),
        model::difference::<Broken<11>>(100, 1),
    ];
    for (fault, found) in AGAINST_THE_MODEL.iter().zip(found) {
        assert!(found.is_some(), "{fault:?} goes unseen");
    }
    assert_eq!(model::difference::<Broken<12>>(100, 1), None);
}
