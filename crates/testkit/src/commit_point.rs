//! The suite for an engine that keeps logs, tasks and the ledger together: the `end` event of a task's log is
//! the commit point of the task.

use crate::Harness;
use crate::given::{NOW, TENANT, USAGE, cursor, ending, leased, read_from, task, texts};
use crate::ledger::{a_day, over, reservation, tenant};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Amounts, AppendError, EventLog, Leasing, Ledger, Settlement, TaskStore, Totals};
use tidewire_core::task::Lease;
use tidewire_core::{Epoch, Fence, Kind, Money, Offset, Outcome, State, TaskRef, WorkerId};

crate::suite::suite!(
    "commit point",
    [EventLog, TaskStore, Ledger],
    [
        a_task_that_is_there_has_its_log,
        an_end_finishes_the_task_and_settles_it,
        whoever_sees_the_end_finds_the_task_finished_and_settled,
        an_end_settles_once_whoever_settles_again,
        an_end_that_is_refused_finishes_nothing,
        a_seized_lease_shuts_the_old_worker_out_of_the_log,
        a_fence_that_wrote_is_not_given_again_after_a_crash,
        the_end_the_task_and_the_settlement_survive_a_crash_together,
        an_end_settles_what_its_task_holds,
        what_a_live_task_holds_survives_a_crash_and_its_end_settles_it,
    ]
);

/// What a task holds: three times what it will use of each, and one token of those it writes.
async fn reserve<E: Ledger>(engine: &E, task: TaskRef) -> Amounts {
    let amounts = Amounts { requests: 1, input_tokens: 33, output_tokens: 1, cost: Money(210) };
    let accounts = tenant(a_day(300));
    engine.reserve(reservation(task, NOW, amounts, &accounts)).await.unwrap();
    amounts
}

fn leasing(now_millis: u64) -> Leasing {
    let now = NOW.plus(Duration::from_millis(now_millis));
    let until = now.plus(Duration::from_secs(10));
    Leasing { worker: WorkerId(Arc::from("worker")), now, until, seize: false }
}

/// A running task: its address, its lease, and its log's epoch.
async fn running<E: EventLog + TaskStore>(engine: &E, task: tidewire_core::Task) -> (TaskRef, Lease, Epoch) {
    let at = task.at();
    let epoch = engine.create(at.log()).await.unwrap();
    engine.submit(task).await.unwrap();
    let (_, lease) = engine.lease(at, leasing(0)).await.unwrap();
    (at, lease, epoch)
}

async fn assert_finished<E: TaskStore + Ledger>(engine: &E, task: TaskRef) {
    let record = engine.get(task).await.unwrap().unwrap();
    assert_eq!(record.state, State::Done, "the log has ended and the task has not");
    assert_eq!(record.ended.map(|(_, ending)| ending), Some(ending(Outcome::Done)));
    let totals = engine.totals(TENANT).await.unwrap();
    assert_eq!(totals, Totals { tasks: 1, usage: USAGE }, "the log has ended and the task is not settled");
}

// Whoever looks through all tasks, as the reaper does, may find a task and run it before its submitter goes on.
async fn a_task_that_is_there_has_its_log<H: Harness<Engine: EventLog + TaskStore + Ledger>>(h: &H) {
    let engine = h.open().await;
    let task = task(h.durability(), 1);
    let at = task.at();
    engine.submit(task).await.unwrap();
    let (_, lease) = engine.lease(at, leasing(0)).await.unwrap();
    let first = engine.append(leased(at.log(), lease.fence.0, Offset(0), texts(0, 1))).await;
    assert_eq!(first.unwrap().to, Offset(1), "the task is there and its log is not");
    let epoch = engine.create(at.log()).await.unwrap();
    assert_eq!(engine.state(at.log()).await.unwrap().epoch, epoch, "its submitter is told of another log");
}

async fn an_end_finishes_the_task_and_settles_it<H: Harness<Engine: EventLog + TaskStore + Ledger>>(h: &H) {
    let engine = h.open().await;
    let (task, lease, _) = running(&engine, task(h.durability(), 1)).await;
    engine.append(leased(task.log(), lease.fence.0, Offset(0), texts(0, 2))).await.unwrap();
    assert_eq!(engine.get(task).await.unwrap().unwrap().state, State::Running);
    engine.end(leased(task.log(), lease.fence.0, Offset(2), Vec::new()), ending(Outcome::Done)).await.unwrap();
    assert_finished(&engine, task).await;
}

async fn whoever_sees_the_end_finds_the_task_finished_and_settled<H: Harness<Engine: EventLog + TaskStore + Ledger>>(
    h: &H,
) {
    let engine = Arc::new(h.open().await);
    let (task, lease, epoch) = running(&*engine, task(h.durability(), 1)).await;
    let writing = engine.clone();
    let mut writer = tokio::task::JoinSet::new();
    writer.spawn(async move {
        let append = leased(task.log(), lease.fence.0, Offset(0), texts(0, 1));
        writing.end(append, ending(Outcome::Done)).await.unwrap();
    });
    let mut watch = engine.watch(task.log()).await.unwrap();
    while !engine.read(task.log(), cursor(epoch, 0), 1000).await.unwrap().ended {
        watch.grown(Offset(0)).await;
    }
    assert_finished(&*engine, task).await;
    writer.join_all().await;
}

async fn an_end_settles_once_whoever_settles_again<H: Harness<Engine: EventLog + TaskStore + Ledger>>(h: &H) {
    let engine = h.open().await;
    let (task, lease, _) = running(&engine, task(h.durability(), 1)).await;
    engine.end(leased(task.log(), lease.fence.0, Offset(0), Vec::new()), ending(Outcome::Done)).await.unwrap();
    let again = Settlement { task, at: NOW, usage: USAGE, deployment: None };
    assert!(!engine.settle(again).await.unwrap(), "the end settled it");
    engine.finish(task, NOW, ending(Outcome::Failed)).await.unwrap();
    assert_finished(&engine, task).await;
}

async fn an_end_that_is_refused_finishes_nothing<H: Harness<Engine: EventLog + TaskStore + Ledger>>(h: &H) {
    let engine = h.open().await;
    let (task, lease, _) = running(&engine, task(h.durability(), 1)).await;
    engine.append(leased(task.log(), lease.fence.0, Offset(0), texts(0, 2))).await.unwrap();
    let moved = engine.end(leased(task.log(), lease.fence.0, Offset(1), Vec::new()), ending(Outcome::Done)).await;
    assert_eq!(moved, Err(AppendError::TailMoved { tail: Offset(2) }));
    assert_eq!(engine.get(task).await.unwrap().unwrap().state, State::Running);
    assert_eq!(engine.totals(TENANT).await.unwrap(), Totals::default());
}

async fn a_seized_lease_shuts_the_old_worker_out_of_the_log<H: Harness<Engine: EventLog + TaskStore + Ledger>>(h: &H) {
    let engine = h.open().await;
    let (task, old, epoch) = running(&engine, task(h.durability(), 1)).await;
    engine.append(leased(task.log(), old.fence.0, Offset(0), texts(0, 1))).await.unwrap();
    let (_, new) = engine.lease(task, Leasing { seize: true, ..leasing(1) }).await.unwrap();
    engine.append(leased(task.log(), new.fence.0, Offset(1), Vec::new())).await.unwrap();
    let fenced = Err(AppendError::Fenced { fence: new.fence });
    assert_eq!(engine.append(leased(task.log(), old.fence.0, Offset(1), texts(1, 1))).await, fenced);
    let late = engine.end(leased(task.log(), old.fence.0, Offset(1), Vec::new()), ending(Outcome::Failed)).await;
    assert_eq!(late, fenced);
    engine.end(leased(task.log(), new.fence.0, Offset(1), Vec::new()), ending(Outcome::Done)).await.unwrap();
    assert_finished(&engine, task).await;
    assert_eq!(read_from(&engine, task.log(), epoch, 0).await.len(), 2);
}

async fn a_fence_that_wrote_is_not_given_again_after_a_crash<H: Harness<Engine: EventLog + TaskStore + Ledger>>(h: &H) {
    let engine = h.open().await;
    let (task, first, _) = running(&engine, task(h.durability(), 1)).await;
    engine.append(leased(task.log(), first.fence.0, Offset(0), texts(0, 1))).await.unwrap();
    let mut engine = engine;
    let mut highest: Fence = first.fence;
    for round in 1..4u64 {
        let Some(reopened) = h.crash_and_reopen(engine).await else { return };
        engine = reopened;
        let (_, next) = engine.lease(task, leasing(round * 20_000)).await.unwrap();
        assert!(next.fence > highest, "the fence {:?} after {highest:?} wrote", next.fence);
        highest = next.fence;
        engine.append(leased(task.log(), highest.0, Offset(round), texts(round, 1))).await.unwrap();
    }
}

async fn the_end_the_task_and_the_settlement_survive_a_crash_together<
    H: Harness<Engine: EventLog + TaskStore + Ledger>,
>(
    h: &H,
) {
    let engine = h.open().await;
    let (task, lease, epoch) = running(&engine, task(h.durability(), 1)).await;
    engine.end(leased(task.log(), lease.fence.0, Offset(0), texts(0, 1)), ending(Outcome::Done)).await.unwrap();
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    let events = read_from(&engine, task.log(), epoch, 0).await;
    assert_eq!(events.last().map(|event| event.kind), Some(Kind::End));
    assert_finished(&engine, task).await;
}

async fn an_end_settles_what_its_task_holds<H: Harness<Engine: EventLog + TaskStore + Ledger>>(h: &H) {
    let engine = h.open().await;
    let task = task(h.durability(), 1);
    let held = reserve(&engine, task.at()).await;
    let (task, lease, _) = running(&engine, task).await;
    let refused = engine.end(leased(task.log(), lease.fence.0, Offset(7), Vec::new()), ending(Outcome::Done)).await;
    assert!(refused.is_err());
    assert_eq!(engine.balance().outstanding, held, "an end that is refused settles nothing");
    engine.end(leased(task.log(), lease.fence.0, Offset(0), Vec::new()), ending(Outcome::Done)).await.unwrap();
    assert_finished(&engine, task).await;
    let balance = engine.balance();
    assert_eq!((balance.outstanding, balance.reservations), (Amounts::default(), 0));
    assert_eq!(balance.settled, Amounts::of(&USAGE));
    assert_eq!((balance.overage.output_tokens, balance.released.input_tokens), (4, 22));
    assert!(balance.adds_up());
    let rows = engine.usage(tidewire_core::port::UsageQuery { tenant: None, from_day: 0, to_day: u32::MAX }).await;
    let rows = rows.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((&*rows[0].route, rows[0].totals), ("small", Totals { tasks: 1, usage: USAGE }));
}

async fn what_a_live_task_holds_survives_a_crash_and_its_end_settles_it<
    H: Harness<Engine: EventLog + TaskStore + Ledger>,
>(
    h: &H,
) {
    let engine = h.open().await;
    let task = task(h.durability(), 1);
    let held = reserve(&engine, task.at()).await;
    let (task, ..) = running(&engine, task).await;
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    assert_eq!((engine.balance().reserved, engine.balance().outstanding), (held, held), "the task is there");
    let other = crate::given::task_ref(h.durability(), 2);
    let refused = engine.reserve(reservation(other, NOW, held, &tenant(a_day(300)))).await;
    assert_eq!(over(refused).remaining, 90, "what it holds counts");
    let (_, lease) = engine.lease(task, leasing(20_000)).await.unwrap();
    engine.end(leased(task.log(), lease.fence.0, Offset(0), Vec::new()), ending(Outcome::Done)).await.unwrap();
    let before = engine.balance();
    assert_eq!((before.settled, before.outstanding), (Amounts::of(&USAGE), Amounts::default()));
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    assert_eq!(engine.balance(), before);
    assert_finished(&engine, task).await;
}
