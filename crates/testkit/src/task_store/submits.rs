//! One submit, one task; one key, one task.

use crate::Harness;
use crate::given::{NOW, STRANGER, ending, task, task_ref};
use crate::task_store::leases::leasing;
use std::sync::Arc;
use tidewire_core::port::{LeaseError, Release, Renewal, SubmitError, TaskStore, UpdateError};
use tidewire_core::task::{Idempotency, Lease};
use tidewire_core::{Durability, Fence, Outcome, State, Task, TaskRef, WorkerId};
use tokio::task::JoinSet;

/// The `number`th task, with an idempotency key.
pub(super) fn keyed(durability: Durability, number: u64, key: &str, body_hash: u64) -> Task {
    let mut task = task(durability, number);
    task.idempotency = Some(Idempotency { key: key.to_owned(), body_hash });
    task
}

pub(super) async fn a_submitted_task_is_there<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    let mut new = keyed(h.durability(), 1, "key", 9);
    new.spec.on_disconnect = tidewire_core::OnDisconnect::Continue;
    let submitted = engine.submit(new.clone()).await.unwrap();
    assert!(submitted.fresh);
    assert_eq!(submitted.task, new);
    assert_eq!(engine.get(new.at()).await.unwrap(), Some(new), "the record is as it was submitted");
}

pub(super) async fn another_tenants_task_is_not_there<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    let mine = task(h.durability(), 1);
    engine.submit(mine.clone()).await.unwrap();
    let theirs = TaskRef { tenant: STRANGER, task: mine.id };
    assert_eq!(engine.get(theirs).await.unwrap(), None);
    assert_eq!(engine.request_stop(theirs).await.err(), Some(UpdateError::Unknown));
    assert_eq!(engine.lease(theirs, leasing(0, 1000)).await.err(), Some(LeaseError::Unknown));
    assert_eq!(engine.finish(theirs, NOW, ending(Outcome::Done)).await, Err(UpdateError::Unknown));
    assert_eq!(engine.get(mine.at()).await.unwrap(), Some(mine), "a stranger changes nothing");
}

pub(super) async fn an_unknown_task_is_told<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    let nobody = task_ref(h.durability(), 1);
    assert_eq!(engine.get(nobody).await.unwrap(), None);
    assert_eq!(engine.request_stop(nobody).await.err(), Some(UpdateError::Unknown));
    assert_eq!(engine.lease(nobody, leasing(0, 1000)).await.err(), Some(LeaseError::Unknown));
    assert_eq!(engine.finish(nobody, NOW, ending(Outcome::Done)).await, Err(UpdateError::Unknown));
    let lease = Lease { task: nobody, fence: Fence(1), attempt: 1, worker: WorkerId(Arc::from("worker")) };
    assert_eq!(engine.renew(std::slice::from_ref(&lease), NOW).await.unwrap(), [Renewal::Lost]);
    assert!(engine.release(&lease, Release::HandBack).await.is_err());
}

pub(super) async fn fifty_submits_with_one_key_make_one_task<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = Arc::new(h.open().await);
    let durability = h.durability();
    let mut submitting = JoinSet::new();
    for number in 0..50 {
        let engine = engine.clone();
        submitting.spawn(async move { engine.submit(keyed(durability, number, "key", 9)).await.unwrap() });
    }
    let submitted = submitting.join_all().await;
    assert_eq!(submitted.iter().filter(|submitted| submitted.fresh).count(), 1, "one submit makes the task");
    let id = submitted[0].task.id;
    assert!(submitted.iter().all(|submitted| submitted.task.id == id), "and all the others get it");
    let mut kept = 0;
    for number in 0..50 {
        kept += usize::from(engine.get(task_ref(durability, number)).await.unwrap().is_some());
    }
    assert_eq!(kept, 1, "the tasks of the others are nowhere");
}

pub(super) async fn a_key_with_another_body_is_refused<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    let first = engine.submit(keyed(h.durability(), 1, "key", 9)).await.unwrap().task;
    let refused = engine.submit(keyed(h.durability(), 2, "key", 10)).await;
    assert_eq!(refused.err(), Some(SubmitError::KeyConflict { task: first.id }));
    assert_eq!(engine.get(task_ref(h.durability(), 2)).await.unwrap(), None);
    assert!(engine.submit(keyed(h.durability(), 3, "other", 10)).await.unwrap().fresh);
}

pub(super) async fn a_key_belongs_to_one_tenant<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    assert!(engine.submit(keyed(h.durability(), 1, "key", 9)).await.unwrap().fresh);
    let mut theirs = keyed(h.durability(), 2, "key", 10);
    theirs.tenant = STRANGER;
    assert!(engine.submit(theirs).await.unwrap().fresh);
}

pub(super) async fn a_repeated_submit_gets_the_task_as_it_is_now<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    let first = engine.submit(keyed(h.durability(), 1, "key", 9)).await.unwrap().task;
    engine.lease(first.at(), leasing(0, 1000)).await.unwrap();
    let again = engine.submit(keyed(h.durability(), 2, "key", 9)).await.unwrap();
    assert!(!again.fresh);
    assert_eq!((again.task.id, again.task.state), (first.id, State::Running));
}

pub(super) async fn a_submitted_task_survives_a_crash<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    let tasks: Vec<Task> = (0..5).map(|number| task(h.durability(), number)).collect();
    for task in &tasks {
        engine.submit(task.clone()).await.unwrap();
    }
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    for task in tasks {
        assert_eq!(engine.get(task.at()).await.unwrap(), Some(task), "an acknowledged task was lost");
    }
}

pub(super) async fn a_key_survives_a_crash<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    let first = engine.submit(keyed(h.durability(), 1, "key", 9)).await.unwrap().task;
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    let again = engine.submit(keyed(h.durability(), 2, "key", 9)).await.unwrap();
    assert!(!again.fresh, "one key, one task");
    assert_eq!(again.task.id, first.id);
    let refused = engine.submit(keyed(h.durability(), 3, "key", 10)).await;
    assert_eq!(refused.err(), Some(SubmitError::KeyConflict { task: first.id }));
}
