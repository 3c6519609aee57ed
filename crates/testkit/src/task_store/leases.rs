//! One holder at a time, and each has a higher fence than the one before.

use crate::Harness;
use crate::given::{NOW, task};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{LeaseError, Leasing, Release, Renewal, TaskStore, UpdateError};
use tidewire_core::{State, TaskRef, Timestamp, WorkerId};
use tokio::task::JoinSet;

/// The moment some milliseconds after the checks' now.
pub(super) fn at(millis: u64) -> Timestamp {
    NOW.plus(Duration::from_millis(millis))
}

/// A lease asked for at one moment, until another.
pub(super) fn leasing(now_millis: u64, until_millis: u64) -> Leasing {
    let worker = WorkerId(Arc::from("worker"));
    Leasing { worker, now: at(now_millis), until: at(until_millis), seize: false }
}

fn seizing(now_millis: u64, until_millis: u64) -> Leasing {
    Leasing { seize: true, ..leasing(now_millis, until_millis) }
}

async fn submitted<H: Harness<Engine: TaskStore>>(h: &H) -> (H::Engine, TaskRef) {
    let engine = h.open().await;
    let task = task(h.durability(), 1);
    engine.submit(task.clone()).await.unwrap();
    (engine, task.at())
}

pub(super) async fn each_lease_has_a_higher_fence<H: Harness<Engine: TaskStore>>(h: &H) {
    let (engine, task) = submitted(h).await;
    let mut last = None;
    for attempt in 1..=4 {
        let (record, lease) = engine.lease(task, leasing(0, 1000)).await.unwrap();
        assert_eq!((lease.task, lease.attempt), (task, attempt));
        assert_eq!(lease.worker, WorkerId(Arc::from("worker")));
        assert_eq!((record.state, record.attempts, record.fence), (State::Running, attempt, lease.fence));
        assert_eq!(engine.get(task).await.unwrap(), Some(record), "the lease is in the record");
        assert!(last < Some(lease.fence), "the fence {:?} after {last:?}", lease.fence);
        last = Some(lease.fence);
        engine.release(&lease, Release::Retry { not_before: at(0) }).await.unwrap();
        assert_eq!(engine.get(task).await.unwrap().unwrap().state, State::Queued);
    }
}

pub(super) async fn of_many_leases_at_once_one_wins<H: Harness<Engine: TaskStore>>(h: &H) {
    let (engine, task) = submitted(h).await;
    let engine = Arc::new(engine);
    let mut leases = JoinSet::new();
    for _ in 0..24 {
        let engine = engine.clone();
        leases.spawn(async move { engine.lease(task, leasing(0, 1000)).await });
    }
    let answers = leases.join_all().await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1, "one of two workers at once gets the task");
    assert!(lost.into_iter().all(|answer| answer.err() == Some(LeaseError::Held)));
}

pub(super) async fn a_held_lease_is_refused_until_it_lapses<H: Harness<Engine: TaskStore>>(h: &H) {
    let (engine, task) = submitted(h).await;
    let (_, first) = engine.lease(task, leasing(0, 1000)).await.unwrap();
    assert_eq!(engine.lease(task, leasing(999, 2000)).await.err(), Some(LeaseError::Held));
    let (_, second) = engine.lease(task, leasing(1001, 2000)).await.expect("a lapsed lease is free");
    assert!(second.fence > first.fence);
    assert_eq!(second.attempt, 2);
    assert_eq!(engine.renew(&[first], at(3000)).await.unwrap(), [Renewal::Lost]);
}

pub(super) async fn a_seized_lease_shuts_its_holder_out<H: Harness<Engine: TaskStore>>(h: &H) {
    let (engine, task) = submitted(h).await;
    let (_, held) = engine.lease(task, leasing(0, 1000)).await.unwrap();
    let (record, seized) = engine.lease(task, seizing(1, 1000)).await.expect("it is held, and seized");
    assert!(seized.fence > held.fence);
    assert_eq!(record.attempts, 1, "whoever seizes a lease does not try the task");
    let renewed = engine.renew(&[held.clone(), seized], at(2000)).await.unwrap();
    assert_eq!(renewed, [Renewal::Lost, Renewal::Held { stop_requested: false }]);
    assert_eq!(engine.release(&held, Release::HandBack).await, Err(UpdateError::LeaseLost));
}

pub(super) async fn renewals_are_answered_in_turn<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    let mut leases = Vec::new();
    let mut expected = Vec::new();
    for number in 0..9 {
        let task = task(h.durability(), number);
        engine.submit(task.clone()).await.unwrap();
        let (_, lease) = engine.lease(task.at(), leasing(0, 1000)).await.unwrap();
        expected.push(match number % 3 {
            0 => Renewal::Held { stop_requested: false },
            1 => {
                engine.request_stop(task.at()).await.unwrap();
                Renewal::Held { stop_requested: true }
            }
            _ => {
                engine.release(&lease, Release::HandBack).await.unwrap();
                Renewal::Lost
            }
        });
        leases.push(lease);
    }
    assert_eq!(engine.renew(&leases, at(2000)).await.unwrap(), expected);
    assert!(engine.renew(&[], at(2000)).await.unwrap().is_empty());
}

pub(super) async fn a_renewal_tells_that_a_stop_was_requested<H: Harness<Engine: TaskStore>>(h: &H) {
    let (engine, task) = submitted(h).await;
    let (_, lease) = engine.lease(task, leasing(0, 1000)).await.unwrap();
    let told = engine.request_stop(task).await.unwrap();
    assert!(told.stop_requested && told.state == State::Running, "the worker ends the task, not the request");
    assert!(engine.get(task).await.unwrap().unwrap().stop_requested);
    let renewed = engine.renew(&[lease], at(2000)).await.unwrap();
    assert_eq!(renewed, [Renewal::Held { stop_requested: true }]);
}

pub(super) async fn a_renewed_lease_lasts_longer<H: Harness<Engine: TaskStore>>(h: &H) {
    let (engine, task) = submitted(h).await;
    let (_, lease) = engine.lease(task, leasing(0, 1000)).await.unwrap();
    engine.renew(&[lease], at(5000)).await.unwrap();
    assert_eq!(engine.lease(task, leasing(4999, 9000)).await.err(), Some(LeaseError::Held));
    engine.lease(task, leasing(5001, 9000)).await.expect("and then it lapses");
}

pub(super) async fn a_retried_task_waits_out_its_backoff<H: Harness<Engine: TaskStore>>(h: &H) {
    let (engine, task) = submitted(h).await;
    let (_, lease) = engine.lease(task, leasing(0, 1000)).await.unwrap();
    engine.release(&lease, Release::Retry { not_before: at(500) }).await.unwrap();
    let record = engine.get(task).await.unwrap().unwrap();
    assert_eq!((record.state, record.not_before, record.attempts), (State::Queued, Some(at(500)), 1));
    let early = engine.lease(task, leasing(499, 2000)).await;
    assert_eq!(early.err(), Some(LeaseError::TooEarly { not_before: at(500) }));
    let (_, second) = engine.lease(task, leasing(500, 2000)).await.unwrap();
    assert_eq!(second.attempt, 2);
}

pub(super) async fn a_lease_handed_back_is_no_attempt<H: Harness<Engine: TaskStore>>(h: &H) {
    let (engine, task) = submitted(h).await;
    let (_, first) = engine.lease(task, leasing(0, 1000)).await.unwrap();
    engine.release(&first, Release::HandBack).await.unwrap();
    let record = engine.get(task).await.unwrap().unwrap();
    assert_eq!((record.state, record.attempts), (State::Queued, 0));
    let (_, second) = engine.lease(task, leasing(0, 1000)).await.expect("at once");
    assert_eq!(second.attempt, 1);
    assert!(second.fence > first.fence, "a fence is not given twice");
}

pub(super) async fn a_lost_lease_releases_nothing<H: Harness<Engine: TaskStore>>(h: &H) {
    let (engine, task) = submitted(h).await;
    let (_, first) = engine.lease(task, leasing(0, 1000)).await.unwrap();
    let (held, _) = engine.lease(task, leasing(1001, 2000)).await.unwrap();
    for release in [Release::HandBack, Release::Retry { not_before: at(0) }] {
        assert_eq!(engine.release(&first, release).await, Err(UpdateError::LeaseLost));
    }
    assert_eq!(engine.get(task).await.unwrap(), Some(held));
}
