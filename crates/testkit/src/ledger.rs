//! The suite for the port `Ledger`.

use crate::Harness;
use crate::given::{NOW, STRANGER, TENANT, USAGE, task_ref};
use std::sync::Arc;
use tidewire_core::port::{Ledger, Settlement, Totals};
use tidewire_core::{Durability, Usage};
use tokio::task::JoinSet;

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
    ]
);

fn settlement(durability: Durability, number: u64, usage: Usage) -> Settlement {
    Settlement { task: task_ref(durability, number), at: NOW, usage, deployment: None }
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
            output_tokens: number * 100,
            reasoning_tokens: number * 10,
            estimated: false,
            cost: tidewire_core::Money(number * 7),
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
