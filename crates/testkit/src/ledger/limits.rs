//! Buckets and budgets. The checks turn the time by hand: it comes with each call.

use super::{a_day, a_minute, amounts, over, reservation, settle, tenant, used};
use crate::Harness;
use crate::given::{NOW, TENANT, task_ref};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Account, Allowance, Ledger, Limited, Limits};
use tidewire_core::{KeyId, Money};

pub(super) async fn what_is_used_beyond_a_reservation_is_a_debt<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    let task = |number| task_ref(h.durability(), number);
    let limits = tenant(Limits { output_tokens_per_minute: Some(60), ..a_day(100) });
    engine.reserve(reservation(task(1), NOW, amounts(1, 60, 10), &limits)).await.unwrap();
    settle(&engine, task(1), NOW, used(1, 90, 10)).await;
    // 30 below zero: thirty seconds to nothing, one more to one.
    let refused = over(engine.reserve(reservation(task(2), NOW, amounts(1, 1, 1), &limits)).await);
    assert_eq!((refused.what, refused.retry_after), (Limited::OutputTokens, Some(Duration::from_secs(31))));
    let later = NOW.plus(Duration::from_secs(31));
    engine.reserve(reservation(task(2), later, amounts(1, 1, 1), &limits)).await.unwrap();
    settle(&engine, task(2), later, used(1, 1, 95)).await;
    let broke = over(engine.reserve(reservation(task(3), later, amounts(1, 0, 1), &limits)).await);
    assert_eq!((broke.what, broke.remaining), (Limited::CostPerDay, 0));
}

pub(super) async fn what_is_not_used_is_free_again<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    let limits =
        tenant(Limits { input_tokens_per_minute: Some(100), cost_per_month: Some(Money(100)), ..a_minute(100) });
    for number in 0..10 {
        let task = task_ref(h.durability(), number);
        engine.reserve(reservation(task, NOW, amounts(90, 90, 90), &limits)).await.expect("most is free again");
        settle(&engine, task, NOW, used(1, 1, 1)).await;
    }
    let refused =
        over(engine.reserve(reservation(task_ref(h.durability(), 10), NOW, amounts(91, 1, 1), &limits)).await);
    assert_eq!((refused.what, refused.remaining), (Limited::InputTokens, 90));
}

pub(super) async fn a_bucket_fills_evenly_and_there_is_room_when_it_says<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    let limits = tenant(Limits { requests_per_minute: Some(7), ..Limits::default() });
    let (mut now, mut reserved) = (NOW, 0);
    for number in 0..40 {
        let asked = reservation(task_ref(h.durability(), number), now, amounts(0, 0, 0), &limits);
        match engine.reserve(asked.clone()).await {
            Ok(_) => reserved += 1,
            refused => {
                let wait = over(refused).retry_after.expect("one fits");
                // A seventh of a minute: the next full microsecond.
                assert!(wait <= Duration::from_micros(8_571_429), "{wait:?}");
                let early = now.plus(wait).minus(Duration::from_micros(1));
                assert!(engine.reserve(tidewire_core::port::Reservation { at: early, ..asked.clone() }).await.is_err());
                now = now.plus(wait);
                engine.reserve(tidewire_core::port::Reservation { at: now, ..asked }).await.expect("it said so");
                reserved += 1;
            }
        }
    }
    assert_eq!(reserved, 40);
    assert_eq!(now.since(NOW).as_secs(), 33 * 60 / 7, "seven at once, and the others one by one");
}

pub(super) async fn a_budget_is_whole_again_at_midnight<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    let task = |number| task_ref(h.durability(), number);
    let limits = tenant(a_day(100));
    engine.reserve(reservation(task(1), NOW, amounts(1, 1, 100), &limits)).await.unwrap();
    settle(&engine, task(1), NOW, used(1, 1, 100)).await;
    let refused = over(engine.reserve(reservation(task(2), NOW, amounts(1, 1, 1), &limits)).await);
    // NOW is 15:06:40.
    assert_eq!(refused.retry_after, Some(Duration::from_secs(8 * 3600 + 53 * 60 + 20)));
    let midnight = NOW.plus(refused.retry_after.unwrap());
    engine.reserve(reservation(task(2), midnight, amounts(1, 1, 100), &limits)).await.expect("another day");
    let held = over(engine.reserve(reservation(task(3), midnight, amounts(1, 1, 1), &limits)).await);
    assert_eq!(held.retry_after, Some(Duration::from_hours(24)), "what is held counts as well");
}

pub(super) async fn a_month_s_budget_is_whole_again_when_the_month_is_over<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    let task = |number| task_ref(h.durability(), number);
    let limits = tenant(Limits { cost_per_month: Some(Money(100)), ..a_day(60) });
    let mut now = NOW;
    for number in 0..2 {
        engine.reserve(reservation(task(number), now, amounts(1, 1, 50), &limits)).await.unwrap();
        settle(&engine, task(number), now, used(1, 1, 50)).await;
        now = now.plus(Duration::from_hours(24));
    }
    let refused = over(engine.reserve(reservation(task(2), now, amounts(1, 1, 1), &limits)).await);
    assert_eq!((refused.what, refused.limit, refused.remaining), (Limited::CostPerMonth, 100, 0));
    let july = now.plus(refused.retry_after.unwrap());
    // NOW is in the middle of June: 1751328000 is the 1st of July, 2025.
    assert_eq!(july.as_millis(), 1_751_328_000_000);
    engine.reserve(reservation(task(2), july, amounts(1, 1, 50), &limits)).await.expect("another month");
}

pub(super) async fn of_each_limit_the_tightest_account_is_told<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    let wide = Limits { requests_per_minute: Some(60), cost_per_month: Some(Money(1000)), ..a_minute(600) };
    let narrow = Limits { requests_per_minute: Some(600), ..a_day(50) };
    let accounts = [(Account::Tenant(TENANT), wide), (Account::User(TENANT, Arc::from("ada")), narrow)];
    let task = task_ref(h.durability(), 1);
    let left = engine.reserve(reservation(task, NOW, amounts(5, 60, 10), &accounts)).await.unwrap();
    let allowance = |limit, remaining, reset| Some(Allowance { limit, remaining, reset: Duration::from_secs(reset) });
    assert_eq!(left.requests, allowance(60, 59, 1));
    assert_eq!(left.input_tokens, None, "none has such a limit");
    assert_eq!(left.output_tokens, allowance(600, 540, 6));
    assert_eq!(left.cost, allowance(50, 40, 8 * 3600 + 53 * 60 + 20));
}

pub(super) async fn each_account_counts_for_itself<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    let key = |number| Account::Key(TENANT, KeyId(number));
    let accounts = |number| [(Account::Route(Arc::from("small")), a_minute(100)), (key(number), a_minute(40))];
    let task = |number| task_ref(h.durability(), number);
    engine.reserve(reservation(task(1), NOW, amounts(0, 40, 0), &accounts(1))).await.unwrap();
    let one = over(engine.reserve(reservation(task(2), NOW, amounts(0, 1, 0), &accounts(1))).await);
    assert_eq!((one.account, one.remaining), (key(1), 0));
    engine.reserve(reservation(task(2), NOW, amounts(0, 40, 0), &accounts(2))).await.unwrap();
    let all = over(engine.reserve(reservation(task(3), NOW, amounts(0, 30, 0), &accounts(3))).await);
    assert_eq!((all.account, all.remaining), (Account::Route(Arc::from("small")), 20));
}
