//! Makes the model's calls on an engine, and compares all that can be read of it.

use super::log::Log;
use super::tasks::has_lapsed;
use super::{Answer, Expecting, Model, Op, ReadFrom, used};
use crate::given::{self, NOW, STRANGER, TENANT};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{
    Allowance, Amounts, AppendError, Balance, Cursor, Directory, EventLog, Expect, FeedPosition, Filter, LeaseError,
    Ledger, Left, LogKeeping, PutError, ReadError, RecordName, RemoveError, RemoveRecordError, Reservation,
    ReserveError, Settlement, Shelf, SubmitError, TaskStore, Totals, TrimError, UpdateError, UsageQuery, Watch,
};
use tidewire_core::{Durability, Epoch, KeyId, LogRef, Offset, Payer, State, Task, TaskId, TaskRef, Timestamp};

/// The ports of an engine under test, or of several that are used as one.
#[derive(Clone)]
pub struct Engines {
    /// The logs.
    pub logs: Arc<dyn EventLog>,
    /// What becomes of them.
    pub keeping: Arc<dyn LogKeeping>,
    /// The tasks.
    pub tasks: Arc<dyn TaskStore>,
    /// The accounts.
    pub ledger: Arc<dyn Ledger>,
    /// Named records.
    pub directory: Arc<dyn Directory>,
}

/// An engine under test: how it is opened, closed and made to fail.
pub trait Subject: Sized + 'static {
    /// An empty one. Its clock stands where a `HandClock` begins.
    fn open() -> impl Future<Output = (Self, Engines)>;

    /// Whether it can be opened again and made to fail.
    const SURVIVES: bool = false;

    /// Closes it, with no call under way, and opens it again.
    fn reopen(&mut self) -> impl Future<Output = Engines> {
        async { unreachable!("it does not survive") }
    }

    /// From now on every commit fails, until it is opened again.
    fn fail(&self) -> impl Future<Output = ()> {
        async {}
    }

    /// The durability of the task or log with this number.
    fn durability(_number: u64) -> Durability {
        Durability::Durable
    }
}

/// A subject as it runs.
pub(super) struct Playing<S> {
    subject: S,
    engines: Option<Engines>,
    epochs: BTreeMap<LogRef, Epoch>,
    /// A watch on each log since it was made, or since the engine was opened again.
    watches: BTreeMap<LogRef, Watch>,
    /// Versions of named records, in the order in which they were given.
    versions: Vec<u64>,
}

const SHELF: Shelf = Shelf::Files;

fn record(name: u8) -> RecordName {
    RecordName { tenant: TENANT, shelf: SHELF, name: name.to_string() }
}

/// An answer of the engine, where it was not away.
macro_rules! answer {
    ($kind:ident, $unavailable:pat, $asked:expr) => {
        match $asked {
            Err($unavailable) => Answer::Unavailable,
            answered => Answer::$kind(answered),
        }
    };
}

impl<S: Subject> Playing<S> {
    pub(super) async fn open() -> Self {
        let (subject, engines) = S::open().await;
        Self {
            subject,
            engines: Some(engines),
            epochs: BTreeMap::new(),
            watches: BTreeMap::new(),
            versions: Vec::new(),
        }
    }

    fn on(&self) -> &Engines {
        self.engines.as_ref().expect("it is open")
    }

    pub(super) async fn make(&mut self, op: &Op) -> Answer {
        match op {
            Op::Reopen => {
                self.reopen().await;
                Answer::Done
            }
            Op::Fail(op) => {
                self.subject.fail().await;
                let answer = self.ask(op).await;
                self.reopen().await;
                answer
            }
            op => self.ask(op).await,
        }
    }

    async fn reopen(&mut self) {
        self.engines = None;
        self.watches.clear();
        self.engines = Some(self.subject.reopen().await);
        for log in self.epochs.keys().copied().collect::<Vec<_>>() {
            self.watch(log).await;
        }
    }

    async fn watch(&mut self, log: LogRef) {
        if !self.watches.contains_key(&log) {
            let watch = self.on().logs.watch(log).await.expect("the log is there");
            self.watches.insert(log, watch);
        }
    }

    async fn ask(&mut self, op: &Op) -> Answer {
        let on = self.on().clone();
        match op {
            Op::Create(log) => self.create(*log).await,
            Op::Append(append) => answer!(Appended, AppendError::Unavailable(_), on.logs.append(append.clone()).await),
            Op::End(append, outcome) => {
                let ended = on.logs.end(append.clone(), given::ending(*outcome)).await;
                answer!(Appended, AppendError::Unavailable(_), ended)
            }
            Op::Read(log, from) => self.read(*log, *from).await,
            Op::Submit(task) => self.submit(task).await,
            Op::RequestStop(task) => answer!(Stopped, UpdateError::Unavailable(_), on.tasks.request_stop(*task).await),
            Op::Lease(task, leasing) => {
                answer!(Leased, LeaseError::Unavailable(_), on.tasks.lease(*task, leasing.clone()).await)
            }
            Op::Renew(leases, until) => match on.tasks.renew(leases, *until).await {
                Ok(renewals) => Answer::Renewed(renewals),
                Err(_) => Answer::Unavailable,
            },
            Op::Release(lease, release) => {
                answer!(Updated, UpdateError::Unavailable(_), on.tasks.release(lease, *release).await)
            }
            Op::Finish(task, outcome) => {
                let finished = on.tasks.finish(*task, NOW, given::ending(*outcome)).await;
                answer!(Updated, UpdateError::Unavailable(_), finished)
            }
            Op::Settle(task, tokens) => {
                let settlement = Settlement { task: *task, at: NOW, usage: used(*tokens), deployment: None };
                on.ledger.settle(settlement).await.map_or(Answer::Unavailable, Answer::Settled)
            }
            Op::Reserve(task, at, amounts, key) => self.reserve(*task, *at, *amounts, *key).await,
            Op::TopUp(task, at, more) => self.top_up(*task, *at, *more).await,
            Op::GiveBack(task) => on.ledger.give_back(*task).await.map_or(Answer::Unavailable, Answer::GivenBack),
            Op::Trim(log, upto) => {
                answer!(Kept, TrimError::Unavailable(_), on.keeping.trim(*log, *upto, given::snapshot()).await)
            }
            Op::Erase(log) => answer!(Kept, TrimError::Unavailable(_), on.keeping.erase(*log).await),
            Op::Remove(log) => {
                let removed = on.keeping.remove(*log).await;
                if removed.is_ok() {
                    self.epochs.remove(log);
                    self.watches.remove(log);
                }
                answer!(Removed, RemoveError::Unavailable(_), removed)
            }
            Op::Put(name, value, expect) => self.put(*name, *value, *expect).await,
            Op::Forget(name, expect) => self.forget(*name, *expect).await,
            Op::Reopen | Op::Fail(_) => unreachable!("they are made, not asked"),
        }
    }

    /// As the edge does it for a task that is not to be waited for: reserved, and then secured.
    async fn reserve(&self, task: TaskRef, at: Timestamp, amounts: Amounts, key: bool) -> Answer {
        let accounts = super::ledger::accounts(key);
        let payer = Payer { key: Some(KeyId(1)), user: None };
        let asked = Reservation { task, at, payer, route: "small".into(), amounts, accounts };
        let remaining = |left: Left| {
            let remaining = |allowance: Option<Allowance>| allowance.map(|allowance| allowance.remaining);
            let always = |allowance| remaining(allowance).expect("the tenant has this limit");
            (always(left.requests), remaining(left.output_tokens), always(left.cost))
        };
        match self.on().ledger.reserve(asked).await {
            Ok(left) => match self.on().ledger.secure(task).await {
                Ok(()) => Answer::Reserved(Ok(remaining(left))),
                Err(_) => Answer::Unavailable,
            },
            Err(ReserveError::Over(over)) => Answer::Reserved(Err(remaining(over.left))),
            Err(ReserveError::Unavailable(_)) => Answer::Unavailable,
        }
    }

    async fn top_up(&self, task: TaskRef, at: Timestamp, more: Amounts) -> Answer {
        let before = self.on().ledger.balance();
        match self.on().ledger.top_up(task, more, at).await {
            Ok(()) if self.on().ledger.balance() == before => Answer::ToppedUp(true),
            Ok(()) if self.on().ledger.secure(task).await.is_ok() => Answer::ToppedUp(true),
            Err(ReserveError::Over(_)) => Answer::ToppedUp(false),
            _ => Answer::Unavailable,
        }
    }

    /// The balance, and the rows of usage against the totals.
    async fn compare_accounts(&self, model: &Model) {
        let accounts = &model.accounts;
        let expected = Balance {
            reserved: accounts.reserved,
            overage: accounts.overage,
            settled: accounts.settled,
            released: accounts.released,
            outstanding: accounts.outstanding(),
            reservations: accounts.reservations(),
        };
        same("the balance", &self.on().ledger.balance(), &expected);
        assert!(expected.adds_up(), "{expected:?}");
        let query = UsageQuery { tenant: None, from_day: 0, to_day: u32::MAX };
        let rows = self.on().ledger.usage(query).await.expect("usage is told");
        let sum = rows.iter().fold(Totals::default(), |sum, row| sum.plus(row.totals));
        same("the sum of all rows", &sum, &model.totals);
    }

    async fn create(&mut self, log: LogRef) -> Answer {
        let Ok(epoch) = self.on().logs.create(log).await else { return Answer::Unavailable };
        let known = *self.epochs.entry(log).or_insert(epoch);
        assert_eq!(epoch, known, "{log:?} exists, and got another epoch");
        self.watch(log).await;
        Answer::Done
    }

    async fn submit(&mut self, task: &Task) -> Answer {
        let submitted = self.on().tasks.submit(task.clone()).await;
        if let Ok(submitted) = &submitted
            && self.create(submitted.task.at().log()).await == Answer::Unavailable
        {
            return Answer::Unavailable;
        }
        let submitted = submitted.map(|submitted| (submitted.task, submitted.fresh));
        answer!(Submitted, SubmitError::Unavailable(_), submitted)
    }

    async fn read(&self, log: LogRef, from: ReadFrom) -> Answer {
        let epoch = self.epochs.get(&log).copied().unwrap_or_default();
        let cursor = Cursor { epoch: Epoch(epoch.0 ^ u32::from(!from.right_epoch)), next: from.next };
        let read = match self.on().logs.read(log, cursor, from.max_bytes).await {
            Ok(page) => Ok((page.events, page.tail, page.ended)),
            Err(ReadError::EpochChanged { epoch: told }) => {
                assert_eq!(told, epoch, "the refusal of another epoch names the log's own");
                Err(ReadError::EpochChanged { epoch: Epoch(0) })
            }
            Err(other) => Err(other),
        };
        answer!(Read, ReadError::Unavailable(_), read)
    }

    /// A version by the order in which it was given.
    fn place(&self, version: u64) -> usize {
        self.versions.iter().position(|given| *given == version).expect("a version that was given")
    }

    fn expecting(&self, expect: Expecting) -> Expect {
        match expect {
            Expecting::Anything => Expect::Anything,
            Expecting::Absent => Expect::Absent,
            Expecting::Given(place) => Expect::Version(self.versions.get(place).copied().unwrap_or(u64::MAX)),
        }
    }

    async fn put(&mut self, name: u8, value: u8, expect: Expecting) -> Answer {
        let value = Bytes::from(vec![value]);
        match self.on().directory.put(record(name), value, self.expecting(expect)).await {
            Ok(version) => {
                let last = self.versions.last().copied().unwrap_or(0);
                assert!(version > last, "version {version} after {last}");
                self.versions.push(version);
                Answer::Put(Ok(self.versions.len() - 1))
            }
            Err(PutError::Conflict { found }) => Answer::Put(Err(found.map(|found| self.place(found)))),
            Err(_) => Answer::Unavailable,
        }
    }

    async fn forget(&mut self, name: u8, expect: Expecting) -> Answer {
        match self.on().directory.remove(&record(name), self.expecting(expect)).await {
            Ok(removed) => Answer::Forgot(Ok(removed)),
            Err(RemoveRecordError::Conflict { found }) => Answer::Forgot(Err(found.map(|found| self.place(found)))),
            Err(RemoveRecordError::Unavailable(_)) => Answer::Unavailable,
        }
    }

    /// Compares all that can be read.
    pub(super) async fn compare(&self, model: &Model) {
        for (log, kept) in model.logs.all() {
            self.compare_log(*log, kept).await;
        }
        self.compare_lists(model).await;
        self.compare_tasks(model).await;
        let totals = self.on().ledger.totals(TENANT).await;
        same("the totals", &totals, &Ok(model.totals));
        self.compare_accounts(model).await;
        same("a stranger's totals", &self.on().ledger.totals(STRANGER).await, &Ok(Totals::default()));
        let records = self.on().directory.list(TENANT, SHELF, None, 100).await.expect("records are listed");
        let records: Vec<_> = records
            .into_iter()
            .map(|(name, record)| (name, record.value.to_vec(), self.place(record.version)))
            .collect();
        let expected: Vec<_> =
            model.named.all().map(|(name, value, version)| (name.to_string(), vec![value], version)).collect();
        same("the named records", &records, &expected);
        let count = self.on().directory.count(TENANT, SHELF).await;
        same("their count", &count, &Ok(expected.len() as u64));
    }

    async fn compare_log(&self, log: LogRef, kept: &Log) {
        let state = self.on().logs.state(log).await.expect("the log is there");
        let stands = (state.epoch, state.first, state.tail, state.fence, state.ended);
        let epoch = self.epochs[&log];
        same("where the log stands", &stands, &(epoch, kept.first(), kept.tail(), kept.fence(), kept.ended));
        let whole = ReadFrom { next: kept.first(), max_bytes: usize::MAX, right_epoch: true };
        let expected = Answer::Read(Ok((kept.events.clone(), kept.tail(), kept.ended)));
        same("the whole log", &self.read(log, whole).await, &expected);
        let growth = self.watches[&log].now();
        same("what a watch says", &(growth.tail, growth.over), &(kept.tail(), kept.ended));
        let theirs = self.on().logs.state(given::strangers(log)).await;
        same("a stranger's view of the log", &theirs, &Err(ReadError::Unknown));
    }

    async fn compare_lists(&self, model: &Model) {
        let logs = self.on().keeping.list(TENANT, None, 100).await.expect("logs are listed");
        let expected: Vec<_> = model.logs.of(TENANT).into_iter().map(|log| log.log).collect();
        same("the list of logs", &logs, &expected);
        // Of durable logs only, and of those that are there.
        let counts = |log: &LogRef| log.log.durability() == Durability::Durable && model.logs.get(*log).is_some();
        let feed = self.on().keeping.feed(FeedPosition::default(), 10_000).await.expect("the feed is read");
        assert!(feed.is_sorted_by_key(|entry| entry.position), "positions rise");
        let told: Vec<(LogRef, Offset, Offset)> =
            feed.iter().filter(|entry| counts(&entry.log)).map(|entry| (entry.log, entry.from, entry.to)).collect();
        let expected: Vec<_> = model.logs.feed().iter().filter(|(log, _, _)| counts(log)).copied().collect();
        same("the feed", &told, &expected);
    }

    async fn compare_tasks(&self, model: &Model) {
        for task in model.tasks.all() {
            same("the record", &self.on().tasks.get(task.at()).await, &Ok(Some(task.clone())));
        }
        let any = Filter { limit: 2, ..Filter::default() };
        self.compare_list(model, any.clone(), |_| true).await;
        let running = Filter { states: vec![State::Running], ..any.clone() };
        self.compare_list(model, running, |task| task.state == State::Running).await;
        let over = Filter { states: vec![State::Done, State::Stopped], ..any.clone() };
        self.compare_list(model, over, |task| matches!(task.state, State::Done | State::Stopped)).await;
        let moment = NOW.plus(Duration::from_secs(7));
        let lapsed = Filter { lapsed_before: Some(moment), ..any };
        self.compare_list(model, lapsed, |task| has_lapsed(task, moment)).await;
    }

    /// A list, page by page.
    async fn compare_list(&self, model: &Model, mut filter: Filter, matches: impl Fn(&Task) -> bool) {
        let mut listed: Vec<TaskId> = Vec::new();
        loop {
            let page = TaskStore::list(&*self.on().tasks, &filter).await.expect("tasks are listed");
            assert!(page.tasks.len() <= filter.limit && (page.next.is_none() || !page.tasks.is_empty()));
            listed.extend(page.tasks.iter().map(|task| task.id));
            match page.next {
                Some(next) => filter.before = Some(next),
                None => break,
            }
        }
        let expected: Vec<TaskId> = model.tasks.all().filter(|task| matches(task)).map(|task| task.id).collect();
        same("a list of tasks", &listed, &expected);
    }
}

pub(super) fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) {
    assert!(found == expected, "{what} differs\n   engine: {found:?}\n    model: {expected:?}");
}
