//! The suite for the port `Ledger`.

use crate::Harness;
use crate::given::{NOW, STRANGER, TENANT, USAGE, task_ref};
use std::sync::Arc;
use tidewire_core::port::{
    Account, Amounts, Ledger, Left, Limits, Over, Reservation, ReserveError, Settlement, Totals,
};
use tidewire_core::{Durability, KeyId, Money, Payer, TaskRef, Timestamp, Usage};
use tokio::task::JoinSet;

mod crashes;
mod limits;
mod reservations;
mod rows;

crate::suite::suite!(
    "Ledger",
    [Ledger],
    [
        a_task_is_settled_once,
        of_settlements_at_once_one_is_the_first,
        totals_are_the_sums_of_the_settlements,
        an_estimate_in_one_settlement_shows_in_the_totals,
        tenants_pay_for_their_own_tasks,
        a_settlement_survives_a_crash,
        reservations::a_reservation_is_held_until_its_task_is_settled,
        reservations::a_task_has_one_reservation,
        reservations::a_task_that_is_settled_is_not_reserved_for_again,
        reservations::a_reservation_is_settled_once_whoever_asks_at_once,
        reservations::a_refused_reservation_takes_nothing_and_smaller_ones_find_the_room,
        reservations::of_many_callers_at_once_as_many_win_as_there_is_room_for,
        reservations::callers_at_once_pass_no_budget,
        reservations::a_top_up_is_held_like_a_reservation_and_refused_like_one,
        reservations::a_top_up_without_a_reservation_holds_nothing,
        reservations::what_is_given_back_is_free_again_and_given_back_once,
        reservations::nothing_is_secure_that_is_not_reserved,
        limits::what_is_used_beyond_a_reservation_is_a_debt,
        limits::what_is_not_used_is_free_again,
        limits::a_bucket_fills_evenly_and_there_is_room_when_it_says,
        limits::a_budget_is_whole_again_at_midnight,
        limits::a_month_s_budget_is_whole_again_when_the_month_is_over,
        limits::of_each_limit_the_tightest_account_is_told,
        limits::each_account_counts_for_itself,
        rows::usage_is_counted_by_all_that_names_it,
        rows::a_task_that_held_nothing_is_counted_and_is_not_in_the_balance,
        rows::the_rows_add_up_to_the_totals,
        crashes::what_was_secured_is_not_outstanding_for_ever_after_a_crash,
        crashes::what_was_spent_stays_spent_after_a_crash,
        crashes::what_was_taken_from_a_bucket_stays_taken_after_a_crash,
        crashes::rows_of_usage_survive_a_crash,
    ]
);

fn settlement(durability: Durability, number: u64, usage: Usage) -> Settlement {
    Settlement { task: task_ref(durability, number), at: NOW, usage, deployment: None }
}

/// Amounts of one task.
pub(crate) fn amounts(input_tokens: u64, output_tokens: u64, cost: u64) -> Amounts {
    Amounts { requests: 1, input_tokens, output_tokens, cost: Money(cost) }
}

/// Usage of so much.
pub(crate) fn used(input_tokens: u64, output_tokens: u64, cost: u64) -> Usage {
    Usage { input_tokens, output_tokens, cost: Money(cost), ..Usage::default() }
}

/// A reservation by the checks' key, for the checks' user.
pub(crate) fn reservation(
    task: TaskRef,
    at: Timestamp,
    amounts: Amounts,
    accounts: &[(Account, Limits)],
) -> Reservation {
    let payer = Payer { key: Some(KeyId(3)), user: Some(Arc::from("ada")) };
    Reservation { task, at, payer, route: Arc::from("small"), amounts, accounts: accounts.into() }
}

/// The checks' tenant, with these limits.
pub(crate) fn tenant(limits: Limits) -> [(Account, Limits); 1] {
    [(Account::Tenant(TENANT), limits)]
}

/// So many nanodollars a day.
pub(crate) fn a_day(limit: u64) -> Limits {
    Limits { cost_per_day: Some(Money(limit)), ..Limits::default() }
}

/// So many tokens written a minute.
pub(crate) fn a_minute(limit: u64) -> Limits {
    Limits { output_tokens_per_minute: Some(limit), ..Limits::default() }
}

/// Why there was no room.
pub(crate) fn over(reserved: Result<Left, ReserveError>) -> Over {
    match reserved {
        Err(ReserveError::Over(over)) => over,
        other => panic!("not refused for want of room: {other:?}"),
    }
}

/// Settles a task.
async fn settle(engine: &impl Ledger, task: TaskRef, at: Timestamp, usage: Usage) -> bool {
    engine.settle(Settlement { task, at, usage, deployment: None }).await.unwrap()
}

async fn a_task_is_settled_once<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    assert_eq!(engine.totals(TENANT).await.unwrap(), Totals::default());
    assert!(engine.settle(settlement(h.durability(), 1, USAGE)).await.unwrap());
    assert!(!engine.settle(settlement(h.durability(), 1, USAGE)).await.unwrap());
    assert!(!engine.settle(settlement(h.durability(), 1, USAGE.plus(USAGE))).await.unwrap());
    assert_eq!(engine.totals(TENANT).await.unwrap(), Totals { tasks: 1, usage: USAGE });
}

async fn of_settlements_at_once_one_is_the_first<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = Arc::new(h.open().await);
    let durability = h.durability();
    let mut settling = JoinSet::new();
    for number in 0..40 {
        let engine = engine.clone();
        settling.spawn(async move { engine.settle(settlement(durability, number % 4, USAGE)).await.unwrap() });
    }
    let first = settling.join_all().await.into_iter().filter(|first| *first).count();
    assert_eq!(first, 4, "each of four tasks is settled once");
    let usage = USAGE.plus(USAGE).plus(USAGE).plus(USAGE);
    assert_eq!(engine.totals(TENANT).await.unwrap(), Totals { tasks: 4, usage });
}

async fn totals_are_the_sums_of_the_settlements<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    let mut usage = Usage::default();
    for number in 0..10 {
        let used = Usage {
            input_tokens: number,
            cached_tokens: number / 2,
            cache_write_tokens: number / 4,
            output_tokens: number * 100,
            reasoning_tokens: number * 10,
            estimated: false,
            cost: tidewire_core::Money(number * 7),
            saved: tidewire_core::Money(number * 3),
        };
        usage = usage.plus(used);
        engine.settle(settlement(h.durability(), number, used)).await.unwrap();
    }
    assert_eq!(engine.totals(TENANT).await.unwrap(), Totals { tasks: 10, usage });
}

async fn an_estimate_in_one_settlement_shows_in_the_totals<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    engine.settle(settlement(h.durability(), 1, Usage { estimated: true, ..USAGE })).await.unwrap();
    engine.settle(settlement(h.durability(), 2, USAGE)).await.unwrap();
    assert!(engine.totals(TENANT).await.unwrap().usage.estimated);
}

async fn tenants_pay_for_their_own_tasks<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    engine.settle(settlement(h.durability(), 1, USAGE)).await.unwrap();
    let mut theirs = settlement(h.durability(), 2, USAGE.plus(USAGE));
    theirs.task.tenant = STRANGER;
    engine.settle(theirs).await.unwrap();
    assert_eq!(engine.totals(TENANT).await.unwrap(), Totals { tasks: 1, usage: USAGE });
    assert_eq!(engine.totals(STRANGER).await.unwrap(), Totals { tasks: 1, usage: USAGE.plus(USAGE) });
}

async fn a_settlement_survives_a_crash<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    engine.settle(settlement(h.durability(), 1, USAGE)).await.unwrap();
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    assert_eq!(engine.totals(TENANT).await.unwrap(), Totals { tasks: 1, usage: USAGE });
    assert!(!engine.settle(settlement(h.durability(), 1, USAGE)).await.unwrap(), "it is settled already");
}
