//! What a crash leaves of the book.

use super::{a_day, a_minute, amounts, over, reservation, settle, tenant, used};
use crate::Harness;
use crate::given::{NOW, TENANT, task_ref};
use tidewire_core::Durability;
use tidewire_core::port::{Amounts, Ledger, Totals, UsageQuery};

pub(super) async fn what_was_secured_is_not_outstanding_for_ever_after_a_crash<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    for number in 0..3 {
        let task = task_ref(h.durability(), number);
        engine.reserve(reservation(task, NOW, amounts(10, 20, 30), &tenant(a_day(1000)))).await.unwrap();
        engine.secure(task).await.unwrap();
    }
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    let balance = engine.balance();
    let all = Amounts { requests: 3, ..amounts(30, 60, 90) };
    assert_eq!((balance.reserved, balance.outstanding, balance.reservations), (all, Amounts::default(), 0));
    assert!(balance.adds_up());
    let totals = engine.totals(TENANT).await.unwrap();
    match h.durability() {
        // It was never submitted, so nobody did any work for it.
        Durability::Durable => assert_eq!((balance.released, totals), (all, Totals::default())),
        // It may have been running, and nobody knows what it used.
        Durability::Transient => {
            assert_eq!((balance.settled, totals.tasks, totals.usage.output_tokens), (all, 3, 60));
            assert!(totals.usage.estimated);
        }
    }
}

pub(super) async fn what_was_spent_stays_spent_after_a_crash<H: Harness<Engine: Ledger>>(h: &H) {
    let mut engine = h.open().await;
    let limits = tenant(a_day(100));
    for number in 0..3 {
        let task = task_ref(h.durability(), number);
        engine.reserve(reservation(task, NOW, amounts(1, 1, 30), &limits)).await.unwrap();
        engine.secure(task).await.unwrap();
        settle(&engine, task, NOW, used(1, 1, 30)).await;
        let before = engine.balance();
        let Some(reopened) = h.crash_and_reopen(engine).await else { return };
        engine = reopened;
        assert_eq!(engine.balance(), before);
    }
    let more = reservation(task_ref(h.durability(), 9), NOW, amounts(1, 1, 11), &limits);
    // An engine that settles an estimate does so on the day of its own clock.
    if h.durability() == Durability::Durable {
        assert_eq!(over(engine.reserve(more).await).remaining, 10);
    }
    assert_eq!(engine.totals(TENANT).await.unwrap().tasks, 3);
}

pub(super) async fn what_was_taken_from_a_bucket_stays_taken_after_a_crash<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    let limits = tenant(a_minute(60));
    let task = task_ref(h.durability(), 1);
    engine.reserve(reservation(task, NOW, amounts(1, 50, 1), &limits)).await.unwrap();
    engine.secure(task).await.unwrap();
    settle(&engine, task, NOW, used(1, 50, 1)).await;
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    let next = reservation(task_ref(h.durability(), 2), NOW, amounts(1, 20, 1), &limits);
    let refused = over(engine.reserve(next).await);
    assert_eq!((refused.remaining, refused.retry_after.map(|wait| wait.as_secs())), (10, Some(10)));
}

pub(super) async fn rows_of_usage_survive_a_crash<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    for number in 0..4 {
        let task = task_ref(h.durability(), number);
        if number > 1 {
            engine.reserve(reservation(task, NOW, amounts(1, 1, 1), &[])).await.unwrap();
        }
        settle(&engine, task, NOW, used(1, 1, 1)).await;
    }
    let query = UsageQuery { tenant: None, from_day: 0, to_day: u32::MAX };
    let before = engine.usage(query.clone()).await.unwrap();
    assert_eq!(before.len(), 2);
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    assert_eq!(engine.usage(query).await.unwrap(), before);
}
