//! What is held, by whom, and how it is let go of.

use super::{a_day, amounts, over, reservation, settle, tenant, used};
use crate::Harness;
use crate::given::{NOW, TENANT, task_ref};
use std::sync::Arc;
use tidewire_core::Money;
use tidewire_core::port::{Amounts, Ledger, Limits, ReserveError, Totals};
use tokio::task::JoinSet;

pub(super) async fn a_reservation_is_held_until_its_task_is_settled<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    let task = task_ref(h.durability(), 1);
    engine.reserve(reservation(task, NOW, amounts(10, 20, 30), &[])).await.unwrap();
    engine.secure(task).await.unwrap();
    let held = engine.balance();
    assert_eq!((held.reserved, held.outstanding, held.reservations), (amounts(10, 20, 30), amounts(10, 20, 30), 1));
    assert!(held.adds_up());
    assert!(settle(&engine, task, NOW, used(10, 25, 3)).await);
    let balance = engine.balance();
    assert_eq!((balance.outstanding, balance.reservations), (Amounts::default(), 0));
    assert_eq!(balance.settled, amounts(10, 25, 3));
    assert_eq!(balance.overage, Amounts { output_tokens: 5, ..Amounts::default() });
    assert_eq!(balance.released, Amounts { cost: Money(27), ..Amounts::default() });
    assert!(balance.adds_up());
    assert_eq!(engine.totals(TENANT).await.unwrap(), Totals { tasks: 1, usage: used(10, 25, 3) });
}

pub(super) async fn a_task_has_one_reservation<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    let task = task_ref(h.durability(), 1);
    let accounts = tenant(a_day(100));
    for _ in 0..3 {
        engine.reserve(reservation(task, NOW, amounts(1, 1, 60), &accounts)).await.unwrap();
    }
    assert_eq!(engine.balance().outstanding, amounts(1, 1, 60));
    assert!(settle(&engine, task, NOW, used(1, 1, 60)).await);
    assert!(!settle(&engine, task, NOW, used(1, 1, 60)).await);
    let balance = engine.balance();
    assert_eq!((balance.reserved, balance.settled, balance.reservations), (amounts(1, 1, 60), amounts(1, 1, 60), 0));
}

pub(super) async fn a_task_that_is_settled_is_not_reserved_for_again<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    let task = task_ref(h.durability(), 1);
    settle(&engine, task, NOW, used(1, 1, 1)).await;
    let again = engine.reserve(reservation(task, NOW, amounts(1, 1, 60), &[])).await;
    assert!(matches!(again, Err(ReserveError::Unavailable(_))), "it would be held for ever: {again:?}");
    assert_eq!(engine.balance().reservations, 0);
}

pub(super) async fn a_reservation_is_settled_once_whoever_asks_at_once<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = Arc::new(h.open().await);
    let task = task_ref(h.durability(), 1);
    engine.reserve(reservation(task, NOW, amounts(10, 20, 30), &tenant(a_day(100)))).await.unwrap();
    let mut settling = JoinSet::new();
    for _ in 0..8 {
        let engine = engine.clone();
        settling.spawn(async move { settle(&*engine, task, NOW, used(10, 20, 30)).await });
    }
    assert_eq!(settling.join_all().await.into_iter().filter(|first| *first).count(), 1);
    let balance = engine.balance();
    assert_eq!((balance.settled, balance.outstanding), (amounts(10, 20, 30), Amounts::default()));
    assert!(balance.adds_up());
    let other = reservation(task_ref(h.durability(), 2), NOW, amounts(1, 1, 70), &tenant(a_day(100)));
    engine.reserve(other).await.expect("it was spent once");
}

pub(super) async fn a_refused_reservation_takes_nothing_and_smaller_ones_find_the_room<H: Harness<Engine: Ledger>>(
    h: &H,
) {
    let engine = h.open().await;
    let limits = Limits { output_tokens_per_minute: Some(1000), ..a_day(100) };
    let accounts = tenant(limits);
    let before = engine.balance();
    for _ in 0..5 {
        let large = reservation(task_ref(h.durability(), 1), NOW, amounts(1, 900, 101), &accounts);
        let refused = over(engine.reserve(large).await);
        assert_eq!((refused.asked, refused.remaining, refused.retry_after), (101, 100, None));
    }
    assert_eq!(engine.balance(), before);
    for number in 2..12 {
        let small = reservation(task_ref(h.durability(), number), NOW, amounts(1, 100, 10), &accounts);
        engine.reserve(small).await.expect("a tenant with money left is served");
    }
    let last = reservation(task_ref(h.durability(), 12), NOW, amounts(1, 0, 1), &accounts);
    assert_eq!(over(engine.reserve(last).await).remaining, 0);
}

pub(super) async fn of_many_callers_at_once_as_many_win_as_there_is_room_for<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = Arc::new(h.open().await);
    let limits = Limits { requests_per_minute: Some(20), ..Limits::default() };
    let durability = h.durability();
    let mut asking = JoinSet::new();
    for number in 0..64 {
        let engine = engine.clone();
        asking.spawn(async move {
            let task = task_ref(durability, number);
            engine.reserve(reservation(task, NOW, amounts(1, 1, 1), &tenant(limits))).await.is_ok()
        });
    }
    assert_eq!(asking.join_all().await.into_iter().filter(|won| *won).count(), 20);
    let balance = engine.balance();
    assert_eq!((balance.outstanding.requests, balance.reservations), (20, 20));
    assert!(balance.adds_up());
}

pub(super) async fn callers_at_once_pass_no_budget<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = Arc::new(h.open().await);
    let durability = h.durability();
    let mut asking = JoinSet::new();
    for caller in 0..8 {
        let engine = engine.clone();
        asking.spawn(async move {
            for number in 0..16 {
                let task = task_ref(durability, caller * 100 + number);
                let reserved = engine.reserve(reservation(task, NOW, amounts(1, 1, 9), &tenant(a_day(100)))).await;
                if reserved.is_ok() {
                    engine.secure(task).await.unwrap();
                    settle(&*engine, task, NOW, used(1, 1, 5)).await;
                }
            }
        });
    }
    asking.join_all().await;
    // Each spends 5, and is refused where fewer than 9 are left.
    let balance = engine.balance();
    assert_eq!((balance.settled.cost, balance.outstanding), (Money(95), Amounts::default()));
    assert!(balance.adds_up());
    assert_eq!(engine.totals(TENANT).await.unwrap().usage.cost, Money(95));
}

pub(super) async fn a_top_up_is_held_like_a_reservation_and_refused_like_one<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    let task = task_ref(h.durability(), 1);
    engine.reserve(reservation(task, NOW, amounts(1, 10, 40), &tenant(a_day(100)))).await.unwrap();
    let more = Amounts { requests: 0, ..amounts(0, 10, 40) };
    engine.top_up(task, more, NOW).await.unwrap();
    assert_eq!(engine.balance().outstanding, amounts(1, 20, 80));
    let refused = engine.top_up(task, more, NOW).await;
    assert!(matches!(&refused, Err(ReserveError::Over(over)) if over.remaining == 20), "{refused:?}");
    assert_eq!(engine.balance().outstanding, amounts(1, 20, 80));
    settle(&engine, task, NOW, used(1, 20, 70)).await;
    let balance = engine.balance();
    assert_eq!((balance.overage, balance.released.cost), (Amounts::default(), Money(10)));
    assert!(balance.adds_up());
}

pub(super) async fn a_top_up_without_a_reservation_holds_nothing<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    let before = engine.balance();
    engine.top_up(task_ref(h.durability(), 1), amounts(1, 1, 1), NOW).await.unwrap();
    assert_eq!(engine.balance(), before);
}

pub(super) async fn what_is_given_back_is_free_again_and_given_back_once<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    let task = task_ref(h.durability(), 1);
    let limits = Limits { requests_per_minute: Some(1), ..a_day(100) };
    engine.reserve(reservation(task, NOW, amounts(1, 1, 100), &tenant(limits))).await.unwrap();
    assert!(engine.give_back(task).await.unwrap());
    assert!(!engine.give_back(task).await.unwrap());
    let balance = engine.balance();
    assert_eq!((balance.released, balance.outstanding), (amounts(1, 1, 100), Amounts::default()));
    assert!(balance.adds_up());
    let other = task_ref(h.durability(), 2);
    engine.reserve(reservation(other, NOW, amounts(1, 1, 100), &tenant(limits))).await.expect("there is room again");
    assert_eq!(engine.totals(TENANT).await.unwrap(), Totals::default(), "nothing was used");
}

pub(super) async fn nothing_is_secure_that_is_not_reserved<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    let task = task_ref(h.durability(), 1);
    assert!(engine.secure(task).await.is_err());
    engine.reserve(reservation(task, NOW, amounts(1, 1, 1), &[])).await.unwrap();
    engine.secure(task).await.unwrap();
    engine.secure(task).await.expect("and stays so");
    engine.give_back(task).await.unwrap();
    assert!(engine.secure(task).await.is_err());
}
