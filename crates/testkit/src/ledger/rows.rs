//! Usage by day, tenant, key, user, route and deployment.

use super::{amounts, reservation, settle, used};
use crate::Harness;
use crate::given::{NOW, STRANGER, TENANT, task_ref};
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::port::{Amounts, Ledger, Reservation, Settlement, Totals, UsageQuery, UsageRow};
use tidewire_core::{KeyId, Payer};

/// The day of NOW.
const TODAY: u32 = 20_254;

fn all_days(tenant: Option<tidewire_core::TenantId>) -> UsageQuery {
    UsageQuery { tenant, from_day: 0, to_day: u32::MAX }
}

pub(super) async fn usage_is_counted_by_all_that_names_it<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    let ada = Payer { key: Some(KeyId(1)), user: Some(Arc::from("ada")) };
    let bob = Payer { user: Some(Arc::from("bob")), ..ada.clone() };
    let other_key = Payer { key: Some(KeyId(2)), ..ada.clone() };
    let tomorrow = NOW.plus(Duration::from_hours(24));
    let (small, large) = ("small", "large");
    // Each but the first two differs from the first in one thing.
    let all = [
        (NOW, ada.clone(), small, Some("gpu"), TENANT),
        (NOW, ada.clone(), small, Some("gpu"), TENANT),
        (NOW, bob, small, Some("gpu"), TENANT),
        (NOW, other_key, small, Some("gpu"), TENANT),
        (NOW, ada.clone(), large, Some("gpu"), TENANT),
        (NOW, ada.clone(), small, None, TENANT),
        (NOW, ada.clone(), small, Some("gpu"), STRANGER),
        (tomorrow, ada.clone(), small, Some("gpu"), TENANT),
    ];
    for (number, (at, payer, route, deployment, tenant)) in all.into_iter().enumerate() {
        let mut task = task_ref(h.durability(), number as u64);
        task.tenant = tenant;
        let asked = reservation(task, at, amounts(1, 1, 1), &[]);
        engine.reserve(Reservation { payer, route: Arc::from(route), ..asked }).await.unwrap();
        let deployment = deployment.map(Arc::from);
        assert!(engine.settle(Settlement { task, at, usage: used(1, 2, 3), deployment }).await.unwrap());
    }
    let rows = engine.usage(all_days(None)).await.unwrap();
    assert_eq!(rows.len(), 7, "{rows:?}");
    assert!(rows.is_sorted_by_key(|row| row.day), "the oldest first");
    let row = UsageRow {
        day: TODAY,
        tenant: TENANT,
        payer: ada,
        route: Arc::from(small),
        deployment: Some(Arc::from("gpu")),
        totals: Totals { tasks: 2, usage: used(2, 4, 6) },
    };
    assert!(rows.contains(&row), "{rows:?}");
    let of_stranger = engine.usage(all_days(Some(STRANGER))).await.unwrap();
    assert_eq!(of_stranger, [UsageRow { tenant: STRANGER, totals: Totals { tasks: 1, usage: used(1, 2, 3) }, ..row }]);
    let count = |from_day, to_day| engine.usage(UsageQuery { tenant: None, from_day, to_day });
    assert_eq!(count(TODAY, TODAY).await.unwrap().len(), 6);
    assert_eq!(count(TODAY + 1, TODAY + 9).await.unwrap().len(), 1);
    assert_eq!(count(0, TODAY - 1).await.unwrap(), []);
}

pub(super) async fn a_task_that_held_nothing_is_counted_and_is_not_in_the_balance<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    let task = task_ref(h.durability(), 1);
    assert!(settle(&engine, task, NOW, used(1, 2, 3)).await);
    assert_eq!(engine.balance(), tidewire_core::port::Balance::default());
    let row = UsageRow {
        day: TODAY,
        tenant: TENANT,
        payer: Payer::default(),
        route: Arc::from(""),
        deployment: None,
        totals: Totals { tasks: 1, usage: used(1, 2, 3) },
    };
    assert_eq!(engine.usage(all_days(Some(TENANT))).await.unwrap(), [row]);
    assert_eq!(engine.balance().reserved, Amounts::default());
}

pub(super) async fn the_rows_add_up_to_the_totals<H: Harness<Engine: Ledger>>(h: &H) {
    let engine = h.open().await;
    for number in 0..20 {
        let task = task_ref(h.durability(), number);
        let at = NOW.plus(Duration::from_hours(number));
        if number % 3 > 0 {
            engine.reserve(reservation(task, at, amounts(9, 9, 9), &[])).await.unwrap();
        }
        settle(&engine, task, at, used(number, number % 5, number % 7)).await;
    }
    let rows = engine.usage(all_days(Some(TENANT))).await.unwrap();
    let sum = rows.iter().fold(Totals::default(), |sum, row| sum.plus(row.totals));
    assert_eq!(sum, engine.totals(TENANT).await.unwrap());
    assert_eq!(sum.tasks, 20);
}
