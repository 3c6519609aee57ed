//! Parents and children, budgets, and dead letters that are tried again.

use crate::Harness;
use crate::given::{NOW, USAGE, ending, task, task_ref};
use std::sync::Arc;
use tidewire_core::port::{FamilyError, Filter, SubmitError, Submitted, TaskStore};
use tidewire_core::task::{Budget, Origin, Overspent, Spent};
use tidewire_core::{Durability, Outcome, Task};
use tokio::task::JoinSet;

/// What one task of the checks uses.
const TOKENS: u64 = USAGE.input_tokens + USAGE.output_tokens;

fn root(durability: Durability, number: u64, budget: Budget) -> Task {
    let mut root = task(durability, number);
    root.spec.origin.budget = Some(budget);
    root
}

fn child(durability: Durability, number: u64, parent: u64, root: u64) -> Task {
    let mut child = task(durability, number);
    let id = |number| Some(task_ref(durability, number).task);
    child.spec.origin = Origin { parent: id(parent), root: id(root), depth: 1, ..Origin::default() };
    child
}

fn retry(durability: Durability, number: u64, of: u64) -> Task {
    let mut retry = task(durability, number);
    retry.spec.origin.retry_of = Some(task_ref(durability, of).task);
    retry
}

/// The submit was refused for this.
#[track_caller]
fn refused(submitted: Result<Submitted, SubmitError>, error: FamilyError) {
    assert_eq!(submitted.err(), Some(SubmitError::Family(error)));
}

pub(super) async fn a_child_is_counted_and_charged_to_its_root<H: Harness<Engine: TaskStore>>(h: &H) {
    let (engine, kind) = (h.open().await, h.durability());
    let get = async |number| engine.get(task_ref(kind, number)).await.unwrap().unwrap();
    engine.submit(root(kind, 1, Budget::default())).await.unwrap();
    engine.submit(child(kind, 2, 1, 1)).await.unwrap();
    engine.submit(child(kind, 3, 2, 1)).await.unwrap();
    assert_eq!((get(1).await.children, get(2).await.children), (1, 1), "each counts its own children");
    assert_eq!(get(1).await.spent, Spent { steps: 2, tokens: 0 }, "the root counts all below it");
    engine.finish(task_ref(kind, 3), NOW, ending(Outcome::Failed)).await.unwrap();
    engine.finish(task_ref(kind, 3), NOW, ending(Outcome::Done)).await.unwrap();
    assert_eq!(get(1).await.spent, Spent { steps: 2, tokens: TOKENS }, "a child is charged once");
}

pub(super) async fn a_stopped_or_ended_parent_takes_no_child<H: Harness<Engine: TaskStore>>(h: &H) {
    let (engine, kind) = (h.open().await, h.durability());
    engine.submit(task(kind, 1)).await.unwrap();
    engine.request_stop(task_ref(kind, 1)).await.unwrap();
    refused(engine.submit(child(kind, 2, 1, 1)).await, FamilyError::Ended);
    engine.submit(task(kind, 3)).await.unwrap();
    engine.finish(task_ref(kind, 3), NOW, ending(Outcome::Done)).await.unwrap();
    refused(engine.submit(child(kind, 4, 3, 3)).await, FamilyError::Ended);
    refused(engine.submit(child(kind, 5, 9, 9)).await, FamilyError::Unknown);
    for number in [2, 4, 5] {
        assert_eq!(engine.get(task_ref(kind, number)).await.unwrap(), None, "what was refused is nowhere");
    }
}

pub(super) async fn a_run_that_has_taken_its_steps_takes_no_more<H: Harness<Engine: TaskStore>>(h: &H) {
    let (engine, kind) = (h.open().await, h.durability());
    engine.submit(root(kind, 1, Budget { steps: Some(2), tokens: None })).await.unwrap();
    engine.submit(child(kind, 2, 1, 1)).await.unwrap();
    engine.submit(child(kind, 3, 2, 1)).await.unwrap();
    refused(engine.submit(child(kind, 4, 3, 1)).await, FamilyError::Overspent(Overspent::Steps(2)));
}

pub(super) async fn a_run_that_has_used_its_tokens_takes_no_more<H: Harness<Engine: TaskStore>>(h: &H) {
    let (engine, kind) = (h.open().await, h.durability());
    engine.submit(root(kind, 1, Budget { steps: None, tokens: Some(TOKENS) })).await.unwrap();
    engine.submit(child(kind, 2, 1, 1)).await.unwrap();
    engine.submit(child(kind, 3, 1, 1)).await.unwrap();
    engine.finish(task_ref(kind, 2), NOW, ending(Outcome::Done)).await.unwrap();
    refused(engine.submit(child(kind, 4, 1, 1)).await, FamilyError::Overspent(Overspent::Tokens(TOKENS)));
}

pub(super) async fn of_fifty_children_at_once_as_many_are_taken_as_the_budget_has_steps<
    H: Harness<Engine: TaskStore>,
>(
    h: &H,
) {
    let (engine, kind) = (Arc::new(h.open().await), h.durability());
    engine.submit(root(kind, 1, Budget { steps: Some(7), tokens: None })).await.unwrap();
    let mut submitting = JoinSet::new();
    for number in 0..50 {
        let engine = engine.clone();
        submitting.spawn(async move { engine.submit(child(kind, 2 + number, 1, 1)).await.is_ok() });
    }
    let taken = submitting.join_all().await.into_iter().filter(|taken| *taken).count();
    assert_eq!(taken, 7);
}

pub(super) async fn a_dead_letter_is_retried_once<H: Harness<Engine: TaskStore>>(h: &H) {
    let (engine, kind) = (h.open().await, h.durability());
    engine.submit(task(kind, 1)).await.unwrap();
    engine.finish(task_ref(kind, 1), NOW, ending(Outcome::Failed)).await.unwrap();
    assert!(engine.get(task_ref(kind, 1)).await.unwrap().unwrap().is_dead_letter());
    let first = engine.submit(retry(kind, 2, 1)).await.unwrap();
    let second = engine.submit(retry(kind, 3, 1)).await.unwrap();
    assert!(first.fresh && !second.fresh);
    assert_eq!(second.task.id, first.task.id, "the second retry gets the first");
    let dead = engine.get(task_ref(kind, 1)).await.unwrap().unwrap();
    assert_eq!(dead.retried_as, Some(first.task.id));
    assert!(!dead.is_dead_letter());
    assert_eq!(dead.spec.input, task(kind, 1).spec.input, "it can still be inspected");
}

pub(super) async fn what_did_not_fail_is_not_retried<H: Harness<Engine: TaskStore>>(h: &H) {
    let (engine, kind) = (h.open().await, h.durability());
    engine.submit(task(kind, 1)).await.unwrap();
    refused(engine.submit(retry(kind, 2, 1)).await, FamilyError::NotDead);
    engine.finish(task_ref(kind, 1), NOW, ending(Outcome::Done)).await.unwrap();
    refused(engine.submit(retry(kind, 3, 1)).await, FamilyError::NotDead);
    refused(engine.submit(retry(kind, 4, 9)).await, FamilyError::Unknown);
}

pub(super) async fn families_and_retries_survive_a_crash<H: Harness<Engine: TaskStore>>(h: &H) {
    let (engine, kind) = (h.open().await, h.durability());
    engine.submit(root(kind, 1, Budget { steps: Some(1), tokens: None })).await.unwrap();
    engine.submit(child(kind, 2, 1, 1)).await.unwrap();
    engine.finish(task_ref(kind, 2), NOW, ending(Outcome::Failed)).await.unwrap();
    let retried = engine.submit(retry(kind, 3, 2)).await.unwrap().task;
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    let found = engine.get(task_ref(kind, 1)).await.unwrap().unwrap();
    assert_eq!((found.children, found.spent), (1, Spent { steps: 1, tokens: TOKENS }));
    assert_eq!(engine.get(task_ref(kind, 2)).await.unwrap().unwrap().retried_as, Some(retried.id));
    assert!(engine.submit(child(kind, 4, 1, 1)).await.is_err(), "the budget is still spent");
    let dead = Filter { dead: true, limit: 10, ..Filter::default() };
    assert_eq!(engine.list(&dead).await.unwrap().tasks, [], "a retried letter is dead no longer");
}
