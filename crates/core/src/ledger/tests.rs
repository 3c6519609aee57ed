//! The book, by hand and by chance.

use super::*;
use crate::port::{Account, Amounts, Left, Limited, Limits, Over, Reservation, ReserveError};
use crate::{Durability, KeyId, Money, Payer, TaskId, TaskRef, TenantId, Timestamp};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// 2025-06-15, 15:06:40: 8 h 53 min 20 s before midnight, 15 days more before the month ends.
const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);
const TENANT: TenantId = TenantId(7);

fn after(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

fn task(number: u64) -> TaskRef {
    TaskRef { tenant: TENANT, task: TaskId::new(NOW, u128::from(number), Durability::Durable) }
}

fn amounts(input_tokens: u64, output_tokens: u64, cost: u64) -> Amounts {
    Amounts { requests: 1, input_tokens, output_tokens, cost: Money(cost) }
}

fn reservation(number: u64, at: Timestamp, amounts: Amounts, accounts: &[(Account, Limits)]) -> Reservation {
    let payer = Payer { key: Some(KeyId(3)), user: None };
    Reservation { task: task(number), at, payer, route: Arc::from("route"), amounts, accounts: accounts.into() }
}

fn output(limit: u64) -> Limits {
    Limits { output_tokens_per_minute: Some(limit), ..Limits::default() }
}

fn over(refused: Result<Left, ReserveError>) -> Over {
    match refused {
        Err(ReserveError::Over(over)) => over,
        other => panic!("not refused for want of room: {other:?}"),
    }
}

#[test]
fn a_refusal_names_the_limit_that_lasts_longest_and_takes_nothing() {
    let mut book = Book::new(Bounds::default());
    let day = Limits { cost_per_day: Some(Money(100)), ..Limits::default() };
    let accounts = [(Account::Tenant(TENANT), day), (Account::Key(TENANT, KeyId(3)), output(100))];
    book.reserve(reservation(1, NOW, amounts(0, 60, 10), &accounts)).unwrap();
    let before = book.balance();

    let bucket = over(book.reserve(reservation(2, NOW, amounts(0, 50, 10), &accounts)));
    assert_eq!((bucket.what, bucket.limit, bucket.asked, bucket.remaining), (Limited::OutputTokens, 100, 50, 40));
    assert_eq!(bucket.account, accounts[1].0);
    assert_eq!(bucket.retry_after, Some(Duration::from_secs(6)), "ten of a hundred a minute");
    assert_eq!(bucket.left.cost.map(|left| left.remaining), Some(90));

    let both = over(book.reserve(reservation(2, NOW, amounts(0, 50, 95), &accounts)));
    assert_eq!((both.what, both.remaining), (Limited::CostPerDay, 90));
    assert_eq!(both.retry_after, Some(Duration::from_secs(8 * 3600 + 53 * 60 + 20)));

    let never = over(book.reserve(reservation(2, NOW, amounts(0, 101, 95), &accounts)));
    assert_eq!((never.what, never.retry_after), (Limited::OutputTokens, None));

    assert_eq!(book.balance(), before);
    book.reserve(reservation(2, NOW, amounts(0, 40, 90), &accounts)).expect("what is left is there");
    book.reserve(reservation(3, after(6), amounts(0, 10, 0), &accounts)).expect("there is room when it said");
}

#[test]
fn what_is_left_is_told_of_the_tightest_account() {
    let mut book = Book::new(Bounds::default());
    let user = Account::User(TENANT, Arc::from("ada"));
    let month = Limits { cost_per_month: Some(Money(40)), requests_per_minute: Some(5), ..output(1000) };
    let day = Limits { cost_per_day: Some(Money(50)), requests_per_minute: Some(3), ..Limits::default() };
    let accounts = [(Account::Tenant(TENANT), month), (user, day)];
    let left = book.reserve(reservation(1, NOW, amounts(9, 100, 10), &accounts)).unwrap();
    let requests = left.requests.unwrap();
    assert_eq!((requests.limit, requests.remaining, requests.reset), (3, 2, Duration::from_secs(20)));
    let tokens = left.output_tokens.unwrap();
    assert_eq!((tokens.limit, tokens.remaining, tokens.reset), (1000, 900, Duration::from_secs(6)));
    assert_eq!(left.cost.map(|cost| (cost.limit, cost.remaining)), Some((40, 30)));
    assert_eq!(left.input_tokens, None);
}

#[test]
fn what_was_not_used_is_there_again_and_what_was_used_beyond_is_a_debt() {
    let mut book = Book::new(Bounds::default());
    let accounts = [(Account::Tenant(TENANT), output(100))];
    book.reserve(reservation(1, NOW, amounts(0, 100, 0), &accounts)).unwrap();
    book.settle(task(1), amounts(0, 30, 0), NOW).unwrap();
    let left = book.reserve(reservation(2, NOW, amounts(0, 0, 0), &accounts)).unwrap();
    assert_eq!(left.output_tokens.map(|left| left.remaining), Some(70));

    // 30 used, and 170 more: 100 beyond what the bucket holds.
    book.top_up(task(2), amounts(0, 70, 0), NOW).unwrap();
    book.settle(task(2), amounts(0, 170, 0), NOW).unwrap();
    let debt = over(book.reserve(reservation(3, NOW, amounts(0, 1, 0), &accounts)));
    assert_eq!((debt.remaining, debt.retry_after), (0, Some(Duration::from_millis(60_600))));
    let balance = book.balance();
    assert_eq!((balance.overage.output_tokens, balance.released.output_tokens), (100, 70));
    assert!(balance.adds_up());
}

#[test]
fn a_minute_later_nothing_is_put_back_because_it_has_flowed_back() {
    let mut book = Book::new(Bounds::default());
    let accounts = [(Account::Tenant(TENANT), output(100))];
    book.reserve(reservation(1, NOW, amounts(0, 100, 0), &accounts)).unwrap();
    book.reserve(reservation(2, after(60), amounts(0, 100, 0), &accounts)).unwrap();
    book.settle(task(1), amounts(0, 0, 0), after(60)).unwrap();
    let full = over(book.reserve(reservation(3, after(60), amounts(0, 1, 0), &accounts)));
    assert_eq!(full.remaining, 0, "two hundred tokens within a moment of a limit of a hundred a minute");
    book.settle(task(2), amounts(0, 0, 0), after(61)).unwrap();
    book.reserve(reservation(3, after(61), amounts(0, 100, 0), &accounts)).unwrap();
}

#[test]
fn a_budget_is_whole_again_at_midnight_except_for_what_is_held() {
    let mut book = Book::new(Bounds::default());
    let limits = Limits { cost_per_day: Some(Money(100)), cost_per_month: Some(Money(150)), ..Limits::default() };
    let accounts = [(Account::Tenant(TENANT), limits)];
    book.reserve(reservation(1, NOW, amounts(0, 0, 60), &accounts)).unwrap();
    book.reserve(reservation(2, NOW, amounts(0, 0, 40), &accounts)).unwrap();
    book.settle(task(1), amounts(0, 0, 60), NOW).unwrap();
    let refused = over(book.reserve(reservation(3, NOW, amounts(0, 0, 1), &accounts)));
    let midnight = NOW.plus(refused.retry_after.unwrap());
    let early = Timestamp::from_micros(midnight.as_micros() - 1);
    assert_eq!(over(book.reserve(reservation(3, early, amounts(0, 0, 1), &accounts))).what, Limited::CostPerDay);
    let left = book.reserve(reservation(3, midnight, amounts(0, 0, 20), &accounts)).unwrap().cost.unwrap();
    assert_eq!(left.remaining, 30, "of the month: 60 spent, 40 and 20 held");
    let month = over(book.reserve(reservation(4, midnight, amounts(0, 0, 31), &accounts)));
    assert_eq!(month.what, Limited::CostPerMonth);
    let july = midnight.plus(month.retry_after.unwrap());
    // 40 and 20 are held still.
    book.reserve(reservation(4, july, amounts(0, 0, 40), &accounts)).unwrap();
    assert_eq!(over(book.reserve(reservation(5, july, amounts(0, 0, 1), &accounts))).what, Limited::CostPerDay);
}

#[test]
fn an_account_is_forgotten_when_it_is_full_again_and_has_spent_nothing_this_month() {
    let mut book = Book::new(Bounds { accounts: 3, reservations: 100 });
    let user = |name: &str| Account::User(TENANT, Arc::from(name));
    let limits = Limits { cost_per_month: Some(Money(1000)), ..output(60) };
    let reserve = |book: &mut Book, number, seconds, name: &str| {
        book.reserve(reservation(number, after(seconds), amounts(0, 30, 5), &[(user(name), limits)]))
    };
    for (number, name) in ["ada", "bob", "eve"].into_iter().enumerate() {
        reserve(&mut book, number as u64, 0, name).unwrap();
    }
    let full = reserve(&mut book, 3, 1, "mia");
    assert!(matches!(full, Err(ReserveError::Unavailable(_))), "{full:?}");
    assert!(book.balance().adds_up());
    assert_eq!(book.reserved().get(&TENANT).copied().unwrap_or_default(), book.balance().outstanding.cost);
    book.settle(task(0), amounts(0, 30, 5), after(2)).unwrap();
    book.settle(task(1), amounts(0, 30, 0), after(2)).unwrap();
    // Bob spent nothing, and his bucket is full again after thirty seconds. Ada spent, Eve's task runs.
    assert!(reserve(&mut book, 3, 29, "mia").is_err());
    reserve(&mut book, 3, 31, "mia").unwrap();
    assert!(book.standing(&user("bob")).is_none() && book.standing(&user("ada")).is_some());
    // Next month nothing is to be remembered of Ada either.
    reserve(&mut book, 4, 40 * 86_400, "zoe").unwrap();
    assert!(book.standing(&user("ada")).is_none() && book.standing(&user("eve")).is_some());
}

#[test]
fn so_many_reservations_and_no_more() {
    let mut book = Book::new(Bounds { accounts: 9, reservations: 2 });
    for number in 0..2 {
        book.reserve(reservation(number, NOW, amounts(1, 1, 1), &[])).unwrap();
    }
    assert!(matches!(book.reserve(reservation(2, NOW, amounts(1, 1, 1), &[])), Err(ReserveError::Unavailable(_))));
    assert!(book.give_back(task(0)));
    book.reserve(reservation(2, NOW, amounts(1, 1, 1), &[])).unwrap();
    assert_eq!(book.balance().reservations, 2);
}

#[test]
fn what_was_written_down_makes_the_same_book() {
    let mut book = Book::new(Bounds::default()).writes_down();
    let accounts = [(Account::Tenant(TENANT), Limits { cost_per_day: Some(Money(500)), ..output(100) })];
    for number in 0..3 {
        book.reserve(reservation(number, NOW, amounts(5, 20, 30), &accounts)).unwrap();
    }
    book.settle(task(0), amounts(4, 25, 31), NOW).unwrap();
    let settled = book.settle(task(1), amounts(4, 10, 31), NOW).unwrap();
    let changed = book.take_changed();
    assert!(book.take_changed().is_empty());
    assert_eq!(changed.accounts.len(), 1, "a busy account is written once");
    book.note_again(changed);
    book.unsettle(task(1), settled);
    let changed = book.take_changed();
    let reservations: HashMap<_, _> = changed.reservations.into_iter().collect();
    let held: Vec<_> = reservations.into_iter().filter_map(|(task, held)| Some((task, held?))).collect();
    assert_eq!(held.len(), 2);
    let standings: HashMap<_, _> = changed.accounts.into_iter().collect();
    let standings: Vec<_> =
        standings.into_iter().filter_map(|(account, standing)| Some((account, standing?))).collect();
    let stored = serde_json::to_vec(&standings).unwrap();
    let mut again = Book::new(Bounds::default());
    again.restore(serde_json::from_slice(&stored).unwrap(), held, changed.balance);
    assert_eq!(again.balance(), book.balance());
    let asked = |book: &mut Book| book.reserve(reservation(9, after(1), amounts(0, 1, 1), &accounts)).unwrap();
    assert_eq!(asked(&mut again), asked(&mut book));
    assert!(again.balance().adds_up());
    assert_eq!(again.reserved().get(&TENANT).copied().unwrap_or_default(), again.balance().outstanding.cost);
}

/// A call by chance.
#[derive(Clone, Debug)]
enum Call {
    Reserve(u64, Amounts, usize),
    TopUp(u64, Amounts),
    Settle(u64, Amounts),
    GiveBack(u64),
    Pass(u64),
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let some = || (0..40u64, 0..40u64, 0..40u64).prop_map(|(input, output, cost)| amounts(input, output, cost));
    let call = prop_oneof![
        4 => (0..12u64, some(), 0..4usize).prop_map(|(task, asked, accounts)| Call::Reserve(task, asked, accounts)),
        1 => (0..12u64, some()).prop_map(|(task, more)| Call::TopUp(task, more)),
        3 => (0..12u64, some()).prop_map(|(task, used)| Call::Settle(task, used)),
        1 => (0..12u64).prop_map(Call::GiveBack),
        2 => prop_oneof![1..50u64, 1000..90_000u64, Just(31 * 86_400)].prop_map(Call::Pass),
    ];
    prop::collection::vec(call, 0..80)
}

const LIMITS: Limits = Limits {
    requests_per_minute: Some(8),
    input_tokens_per_minute: Some(90),
    output_tokens_per_minute: Some(70),
    cost_per_day: Some(Money(120)),
    cost_per_month: Some(Money(300)),
};

/// One, two or three accounts, all with the same limits: what passes none of one's passes none of any.
fn accounts(which: usize) -> Vec<(Account, Limits)> {
    let all = [Account::Tenant(TENANT), Account::Key(TENANT, KeyId(1)), Account::Route(Arc::from("r"))];
    all.into_iter().take(which).map(|account| (account, LIMITS)).collect()
}

proptest! {
    #[test]
    fn it_adds_up_and_no_reservation_passes_a_limit(calls in calls()) {
        let mut book = Book::new(Bounds::default());
        let mut sheet = Sheet::default();
        let (mut now, mut settled) = (NOW, Amounts::default());
        for call in calls {
            let before = book.balance();
            match call {
                Call::Reserve(number, asked, which) => {
                    let accounts = accounts(which);
                    let known = book.held(task(number)).is_some();
                    let reserved = book.reserve(reservation(number, now, asked, &accounts));
                    prop_assert!(reserved.is_ok() || book.balance() == before, "a refusal took something");
                    if reserved.is_ok() && !known {
                        for (account, _) in &accounts {
                            let (day, month, held) = book.standing(account).unwrap().money();
                            // Overage may have passed it before; a reservation of something may not.
                            if asked.cost > Money::ZERO {
                                prop_assert!(day.plus(held).0 <= 120 && month.plus(held).0 <= 300);
                            }
                        }
                    }
                }
                Call::TopUp(number, more) => drop(book.top_up(task(number), more, now)),
                Call::Settle(number, used) => {
                    if let Some(done) = book.settle(task(number), used, now) {
                        let usage = crate::Usage {
                            input_tokens: used.input_tokens,
                            output_tokens: used.output_tokens,
                            cost: used.cost,
                            ..crate::Usage::default()
                        };
                        let settlement = crate::port::Settlement { task: task(number), at: now, usage, deployment: None };
                        sheet.add(Row::of(&settlement, Some(&done.held)), crate::port::Totals::of(usage));
                        settled = settled.plus(used);
                    }
                }
                Call::GiveBack(number) => drop(book.give_back(task(number))),
                Call::Pass(seconds) => now = now.plus(Duration::from_secs(seconds)),
            }
            let balance = book.balance();
            prop_assert!(balance.adds_up(), "{:?}", balance);
            let held = book.holders().fold(Amounts::default(), |sum, (_, held)| sum.plus(held.amounts));
            prop_assert_eq!(balance.outstanding, held);
            prop_assert_eq!(book.reserved().get(&TENANT).copied().unwrap_or_default(), held.cost);
            prop_assert_eq!(balance.settled, settled);
            let query = crate::port::UsageQuery { tenant: None, from_day: 0, to_day: u32::MAX };
            let rows = sheet.find(&query).into_iter().fold(crate::port::Totals::default(), |sum, row| sum.plus(row.totals));
            prop_assert_eq!(Amounts { requests: rows.tasks, ..Amounts::of(&rows.usage) }, settled);
        }
    }

    #[test]
    fn within_a_minute_no_more_is_let_out_than_a_full_bucket_and_what_flows_in(
        asks in prop::collection::vec((0..40u64, 0..20_000u64), 1..60),
    ) {
        // Reservations alone: what is let out in any stretch of time is a bucket and what flowed into it meanwhile.
        let mut book = Book::new(Bounds::default());
        let mut let_out: Vec<(Timestamp, u64)> = Vec::new();
        let mut now = NOW;
        for (number, (asked, millis)) in asks.into_iter().enumerate() {
            now = now.plus(Duration::from_millis(millis));
            let accounts = [(Account::Tenant(TENANT), output(70))];
            if book.reserve(reservation(number as u64, now, amounts(0, asked, 0), &accounts)).is_ok() {
                let_out.push((now, asked));
            }
        }
        for (place, (from, _)) in let_out.iter().enumerate() {
            let mut sum = 0;
            for (to, asked) in &let_out[place..] {
                sum += asked;
                let flowed = u128::from(sum).saturating_sub(70) * 60_000_000;
                prop_assert!(flowed <= to.since(*from).as_micros() * 70);
            }
        }
    }
}
