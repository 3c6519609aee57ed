//! Finishing is idempotent, and final.

use super::leases::{at, leasing};
use crate::Harness;
use crate::given::{ending, task};
use std::sync::Arc;
use tidewire_core::port::{LeaseError, Renewal, TaskStore};
use tidewire_core::{Outcome, State};
use tokio::task::JoinSet;

pub(super) async fn an_ended_task_says_how_and_when<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    let outcomes = [Outcome::Done, Outcome::Failed, Outcome::Stopped];
    for (number, outcome) in (0..).zip(outcomes) {
        let task = task(h.durability(), number);
        engine.submit(task.clone()).await.unwrap();
        engine.lease(task.at(), leasing(0, 1000)).await.unwrap();
        engine.finish(task.at(), at(70), ending(outcome)).await.unwrap();
        let record = engine.get(task.at()).await.unwrap().unwrap();
        assert_eq!(record.state, State::from(outcome));
        assert_eq!(record.ended, Some((at(70), ending(outcome))));
        assert_eq!((record.leased_until, record.stop_requested), (None, false));
    }
}

pub(super) async fn the_first_ending_stays<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    let task = task(h.durability(), 1);
    engine.submit(task.clone()).await.unwrap();
    engine.finish(task.at(), at(70), ending(Outcome::Done)).await.expect("a queued task can end too");
    engine.finish(task.at(), at(80), ending(Outcome::Failed)).await.expect("finishing is idempotent");
    let record = engine.get(task.at()).await.unwrap().unwrap();
    assert_eq!(record.ended, Some((at(70), ending(Outcome::Done))));
}

pub(super) async fn an_ended_task_is_not_leased<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    let task = task(h.durability(), 1);
    engine.submit(task.clone()).await.unwrap();
    let (_, lease) = engine.lease(task.at(), leasing(0, 1000)).await.unwrap();
    engine.finish(task.at(), at(70), ending(Outcome::Done)).await.unwrap();
    for seize in [false, true] {
        let mut leasing = leasing(5000, 9000);
        leasing.seize = seize;
        assert_eq!(engine.lease(task.at(), leasing).await.err(), Some(LeaseError::Ended));
    }
    assert_eq!(engine.renew(&[lease], at(9000)).await.unwrap(), [Renewal::Lost]);
}

pub(super) async fn an_ended_task_is_not_stopped<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    let task = task(h.durability(), 1);
    engine.submit(task.clone()).await.unwrap();
    engine.finish(task.at(), at(70), ending(Outcome::Done)).await.unwrap();
    let told = engine.request_stop(task.at()).await.expect("an ended task is answered as it is");
    assert_eq!((told.state, told.stop_requested), (State::Done, false));
}

pub(super) async fn finishes_at_once_agree<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = Arc::new(h.open().await);
    let task = task(h.durability(), 1);
    engine.submit(task.clone()).await.unwrap();
    let mut finishing = JoinSet::new();
    for number in 0..16 {
        let (engine, task) = (engine.clone(), task.at());
        finishing.spawn(async move {
            engine.finish(task, at(number), ending(Outcome::Done)).await.unwrap();
            engine.get(task).await.unwrap().unwrap().ended
        });
    }
    let seen = finishing.join_all().await;
    assert!(seen.iter().all(|ended| ended.is_some() && *ended == seen[0]), "an ending was replaced");
}

pub(super) async fn an_ending_survives_a_crash<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    let task = task(h.durability(), 1);
    engine.submit(task.clone()).await.unwrap();
    engine.finish(task.at(), at(70), ending(Outcome::Failed)).await.unwrap();
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    let record = engine.get(task.at()).await.unwrap().unwrap();
    assert_eq!(record.state, State::Failed);
    assert_eq!(record.ended, Some((at(70), ending(Outcome::Failed))));
}
