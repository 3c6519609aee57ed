//! What people think of answers goes with the tasks that it is about.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

#[allow(dead_code, reason = "made for the tests of streams")]
#[path = "durable_streams/given.rs"]
mod given;
#[allow(dead_code, reason = "made for the tests of streams")]
#[path = "durable_streams/mortal.rs"]
mod mortal;

use bytes::Bytes;
use given::World;
use std::time::Duration;
use tidewire_core::port::{Clock, Directory, Expect, RecordName, Shelf, TaskStore};
use tidewire_core::{Durability, Spec, Task, TaskId, TenantId};

fn name(task: TaskId) -> RecordName {
    RecordName { tenant: TenantId::DEFAULT, shelf: Shelf::Feedback, name: task.to_string() }
}

#[tokio::test]
async fn feedback_is_forgotten_with_its_task_and_not_before() {
    let world = World::new();
    let task =
        |durability| Task::new(world.clock.task_id(durability), TenantId::DEFAULT, Spec::default(), world.clock.now());
    let (there, gone) = (task(Durability::Durable), task(Durability::Durable));
    world.engine.submit(there.clone()).await.unwrap();
    for task in [&there, &gone] {
        world.engine.put(name(task.id), Bytes::from_static(b"[]"), Expect::Absent).await.unwrap();
    }
    let keeping = tokio::spawn(tidewire_edge::keep_feedback(world.edge()));
    world.until_somebody_sleeps().await;
    world.clock.advance(Duration::from_mins(10));
    world.until_somebody_sleeps().await;
    let kept: &dyn Directory = &*world.engine;
    assert!(kept.get(&name(gone.id)).await.unwrap().is_none());
    assert!(kept.get(&name(there.id)).await.unwrap().is_some());
    world.edge().closing.cancel();
    keeping.await.unwrap();
}
