//! Lists: newest first, in pages, and only what matches.

use super::leases::{at, leasing};
use crate::Harness;
use crate::given::{STRANGER, TENANT, ending, task, task_ref};
use tidewire_core::port::{Filter, TaskStore};
use tidewire_core::{Durability, KeyId, Outcome, State, TaskId};

async fn listed(engine: &impl TaskStore, mut filter: Filter) -> Vec<TaskId> {
    let mut all = Vec::new();
    loop {
        let page = engine.list(&filter).await.unwrap();
        assert!(page.tasks.len() <= filter.limit, "a page of {} for {}", page.tasks.len(), filter.limit);
        all.extend(page.tasks.into_iter().map(|task| task.id));
        let Some(next) = page.next else { return all };
        assert!(filter.before.is_none_or(|before| next < before), "a page that leads to itself");
        filter.before = Some(next);
    }
}

fn ids(durability: Durability, numbers: impl IntoIterator<Item = u64>) -> Vec<TaskId> {
    numbers.into_iter().map(|number| task_ref(durability, number).task).collect()
}

pub(super) async fn a_list_is_newest_first_and_pages_to_its_end<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    let all = |limit| Filter { tenant: Some(TENANT), limit, ..Filter::default() };
    assert!(listed(&engine, all(10)).await.is_empty());
    for number in [4, 0, 3, 1, 2, 6, 5] {
        engine.submit(task(h.durability(), number)).await.unwrap();
    }
    for limit in [1, 2, 3, 7, 8, 100] {
        let found = listed(&engine, all(limit)).await;
        assert_eq!(found, ids(h.durability(), (0..7).rev()), "in pages of {limit}");
    }
    let mut from_the_middle = all(2);
    from_the_middle.before = Some(task_ref(h.durability(), 3).task);
    assert_eq!(listed(&engine, from_the_middle).await, ids(h.durability(), [2, 1, 0]));
}

pub(super) async fn a_list_holds_only_what_matches<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    for number in 0..8 {
        let mut task = task(h.durability(), number);
        if number == 2 {
            task.tenant = STRANGER;
        }
        if number % 2 == 1 {
            task.spec.model = "large".into();
        }
        engine.submit(task.clone()).await.unwrap();
        if number >= 4 {
            engine.lease(task.at(), leasing(0, 1000)).await.unwrap();
        }
        if number >= 6 {
            engine.finish(task.at(), at(1), ending(Outcome::Failed)).await.unwrap();
        }
    }
    let any = || Filter { limit: 3, ..Filter::default() };
    let mine = || Filter { tenant: Some(TENANT), ..any() };
    let d = h.durability();
    assert_eq!(listed(&engine, any()).await, ids(d, (0..8).rev()), "an empty filter matches all");
    assert_eq!(listed(&engine, mine()).await, ids(d, [7, 6, 5, 4, 3, 1, 0]));
    assert_eq!(listed(&engine, Filter { tenant: Some(STRANGER), ..any() }).await, ids(d, [2]));
    assert_eq!(listed(&engine, Filter { model: Some("large".into()), ..mine() }).await, ids(d, [7, 5, 3, 1]));
    assert_eq!(listed(&engine, Filter { states: vec![State::Running], ..mine() }).await, ids(d, [5, 4]));
    let live = vec![State::Queued, State::Running];
    assert_eq!(listed(&engine, Filter { states: live, ..mine() }).await, ids(d, [5, 4, 3, 1, 0]));
    let both = Filter { states: vec![State::Failed], model: Some("small".into()), ..mine() };
    assert_eq!(listed(&engine, both).await, ids(d, [6]));
    assert!(listed(&engine, Filter { model: Some("none".into()), ..any() }).await.is_empty());
}

pub(super) async fn dead_letters_children_and_lanes_are_found<H: Harness<Engine: TaskStore>>(h: &H) {
    let (engine, d) = (h.open().await, h.durability());
    for number in 0..6 {
        let mut task = task(d, number);
        if number > 3 {
            task.spec.origin.parent = Some(task_ref(d, 0).task);
            task.spec.origin.root = task.spec.origin.parent;
            task.spec.turn.lane = Some("lane".into());
        }
        engine.submit(task.clone()).await.unwrap();
        let outcome = [Outcome::Stopped, Outcome::Failed, Outcome::Done, Outcome::Failed, Outcome::Failed];
        if let Some(outcome) = (number > 0).then(|| outcome.get(usize::try_from(number - 1).unwrap())).flatten() {
            engine.finish(task.at(), at(1), ending(*outcome)).await.unwrap();
        }
    }
    let any = || Filter { limit: 9, ..Filter::default() };
    assert_eq!(listed(&engine, Filter { dead: true, ..any() }).await, ids(d, [5, 4, 2]));
    let code = |code: &str| Filter { code: Some(code.into()), ..any() };
    assert_eq!(listed(&engine, code("upstream_broken")).await, ids(d, [5, 4, 2]));
    assert!(listed(&engine, code("none")).await.is_empty());
    assert_eq!(listed(&engine, Filter { parent: Some(task_ref(d, 0).task), ..any() }).await, ids(d, [5, 4]));
    assert_eq!(listed(&engine, Filter { lane: Some("lane".into()), ..any() }).await, ids(d, [5, 4]));
}

pub(super) async fn tasks_are_found_by_their_time_their_user_their_key_and_their_id<H: Harness<Engine: TaskStore>>(
    h: &H,
) {
    let (engine, d) = (h.open().await, h.durability());
    // Hours apart, so that where an engine begins and stops to look by the ids matters.
    let hour = |number: u64| at(number * 3_600_000);
    let mut named = Vec::new();
    for number in 0..8 {
        let mut task = task(d, number);
        task.id = TaskId::new(hour(number), u128::from(number), d);
        task.submitted_at = hour(number);
        task.spec.payer.user = Some(if number % 2 == 0 { "even" } else { "odd" }.into());
        task.spec.payer.key = Some(KeyId(number / 4));
        task.spec.turn.lane =
            (number > 2).then(|| format!("{}-{number}", if number < 6 { "chat" } else { "run" }).into());
        engine.submit(task.clone()).await.unwrap();
        if number % 3 == 0 {
            engine.finish(task.at(), at(1), ending(Outcome::Failed)).await.unwrap();
        }
        named.push(task.id);
    }
    let found = async |filter: Filter| {
        let mut numbers = Vec::new();
        for id in listed(&engine, Filter { limit: 2, ..filter }).await {
            numbers.push(named.iter().position(|known| *known == id).unwrap());
        }
        numbers
    };
    let any = Filter::default;
    assert_eq!(found(Filter { since: Some(hour(5)), ..any() }).await, [7, 6, 5]);
    assert_eq!(found(Filter { until: Some(hour(2)), ..any() }).await, [1, 0]);
    assert_eq!(found(Filter { since: Some(hour(2)), until: Some(hour(5)), ..any() }).await, [4, 3, 2]);
    assert!(found(Filter { since: Some(hour(5)), until: Some(hour(2)), ..any() }).await.is_empty());
    let both = Filter { since: Some(hour(3)), before: Some(named[6]), tenant: Some(TENANT), ..any() };
    assert_eq!(found(both).await, [5, 4, 3]);
    assert_eq!(found(Filter { user: Some("odd".into()), ..any() }).await, [7, 5, 3, 1]);
    assert_eq!(found(Filter { payer_key: Some(KeyId(1)), ..any() }).await, [7, 6, 5, 4]);
    assert_eq!(found(Filter { lane_prefix: Some("chat".into()), ..any() }).await, [5, 4, 3]);
    assert_eq!(found(Filter { lane_prefix: Some(String::new()), ..any() }).await, [7, 6, 5, 4, 3]);
    let whole = named[4].to_string();
    assert_eq!(found(Filter { part_of_id: Some(whole[9..].to_owned()), ..any() }).await, [4]);
    assert!(found(Filter { part_of_id: Some("none".into()), ..any() }).await.is_empty());
}

pub(super) async fn a_task_is_found_by_its_key_live_or_ended<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    let d = h.durability();
    for (number, key) in [(0, "a"), (1, "b")] {
        engine.submit(super::submits::keyed(d, number, key, 7)).await.unwrap();
    }
    engine.submit(task(d, 2)).await.unwrap();
    let keyed =
        |tenant, key: &str| Filter { tenant: Some(tenant), key: Some(key.into()), limit: 2, ..Filter::default() };
    assert_eq!(listed(&engine, keyed(TENANT, "b")).await, ids(d, [1]));
    engine.finish(task_ref(d, 1), at(1), ending(Outcome::Failed)).await.unwrap();
    assert_eq!(listed(&engine, keyed(TENANT, "b")).await, ids(d, [1]));
    assert!(listed(&engine, keyed(TENANT, "c")).await.is_empty());
    assert!(listed(&engine, keyed(STRANGER, "a")).await.is_empty());
    let running = Filter { states: vec![State::Running], ..keyed(TENANT, "a") };
    assert!(listed(&engine, running).await.is_empty(), "all of a filter must match");
}

pub(super) async fn pages_of_a_filtered_list_skip_nothing<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    for number in 0..60 {
        let mut task = task(h.durability(), number);
        if number % 7 != 0 {
            task.spec.model = "large".into();
        }
        engine.submit(task).await.unwrap();
    }
    for limit in [1, 2, 4, 50] {
        let filter = Filter { model: Some("small".to_owned()), limit, ..Filter::default() };
        let expected = ids(h.durability(), (0..60).rev().filter(|number| number % 7 == 0));
        assert_eq!(listed(&engine, filter).await, expected, "in pages of {limit}");
    }
}

pub(super) async fn lapsed_leases_are_found<H: Harness<Engine: TaskStore>>(h: &H) {
    let engine = h.open().await;
    for number in 0..6 {
        let task = task(h.durability(), number);
        engine.submit(task.clone()).await.unwrap();
        if number > 0 {
            engine.lease(task.at(), leasing(0, number * 100)).await.unwrap();
        }
        if number == 2 {
            engine.finish(task.at(), at(1), ending(Outcome::Done)).await.unwrap();
        }
    }
    let lapsed = |moment| Filter { lapsed_before: Some(at(moment)), limit: 10, ..Filter::default() };
    assert!(listed(&engine, lapsed(50)).await.is_empty());
    assert_eq!(listed(&engine, lapsed(350)).await, ids(h.durability(), [3, 1]));
    assert_eq!(listed(&engine, lapsed(5000)).await, ids(h.durability(), [5, 4, 3, 1]));
}
