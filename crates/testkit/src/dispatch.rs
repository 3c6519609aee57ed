//! The suite for the port `Dispatch`.

use crate::Harness;
use crate::given::task_ref;
use futures_util::FutureExt;
use std::collections::BTreeSet;
use std::sync::Arc;
use tidewire_core::port::Dispatch;
use tokio::task::JoinSet;

crate::suite::suite!(
    "Dispatch",
    [Dispatch],
    [
        tasks_are_claimed_in_the_order_of_their_offers,
        a_task_is_claimed_only_for_its_capability,
        a_claim_waits_for_an_offer,
        a_claim_that_was_dropped_loses_no_task,
        a_task_given_back_goes_to_the_head_of_the_line,
        a_task_given_back_wakes_a_claim_that_waits,
        each_task_is_claimed_once,
        a_claim_that_was_not_dealt_with_is_handed_out_again_after_a_crash,
    ]
);

async fn tasks_are_claimed_in_the_order_of_their_offers<H: Harness<Engine: Dispatch>>(h: &H) {
    let engine = h.open().await;
    for number in 0..20 {
        engine.offer(task_ref(h.durability(), number), "gpu").await.unwrap();
    }
    for number in 0..20 {
        let claim = engine.claim("gpu").await.unwrap();
        assert_eq!(claim.task, task_ref(h.durability(), number));
        assert_eq!(&*claim.capability, "gpu");
        engine.forget(claim).await.unwrap();
    }
}

async fn a_task_is_claimed_only_for_its_capability<H: Harness<Engine: Dispatch>>(h: &H) {
    let engine = h.open().await;
    engine.offer(task_ref(h.durability(), 1), "image").await.unwrap();
    engine.offer(task_ref(h.durability(), 2), "text").await.unwrap();
    let text = engine.claim("text").await.unwrap();
    assert_eq!(text.task, task_ref(h.durability(), 2));
    let image = engine.claim("image").await.unwrap();
    assert_eq!(image.task, task_ref(h.durability(), 1));
    for claim in [text, image] {
        engine.forget(claim).await.unwrap();
    }
}

async fn a_claim_waits_for_an_offer<H: Harness<Engine: Dispatch>>(h: &H) {
    let engine = h.open().await;
    let mut claim = Box::pin(engine.claim("gpu"));
    assert!(claim.as_mut().now_or_never().is_none(), "there is nothing to claim");
    engine.offer(task_ref(h.durability(), 1), "gpu").await.unwrap();
    assert_eq!(claim.await.unwrap().task, task_ref(h.durability(), 1));
}

async fn a_claim_that_was_dropped_loses_no_task<H: Harness<Engine: Dispatch>>(h: &H) {
    let engine = h.open().await;
    for number in 0..20 {
        // Dropped before the offer, and again after it has been told of the offer.
        assert!(engine.claim("gpu").now_or_never().is_none());
        let mut waits = Box::pin(engine.claim("gpu"));
        let mut next = Box::pin(engine.claim("gpu"));
        assert!(waits.as_mut().now_or_never().is_none());
        assert!(next.as_mut().now_or_never().is_none());
        engine.offer(task_ref(h.durability(), number), "gpu").await.unwrap();
        drop(waits);
        let claim = next.await.unwrap();
        assert_eq!(claim.task, task_ref(h.durability(), number));
        engine.forget(claim).await.unwrap();
    }
}

async fn a_task_given_back_goes_to_the_head_of_the_line<H: Harness<Engine: Dispatch>>(h: &H) {
    let engine = h.open().await;
    for number in 0..4 {
        engine.offer(task_ref(h.durability(), number), "gpu").await.unwrap();
    }
    let first = engine.claim("gpu").await.unwrap();
    let second = engine.claim("gpu").await.unwrap();
    engine.forget(second).await.unwrap();
    engine.give_back(first).await.unwrap();
    for number in [0, 2, 3] {
        let claim = engine.claim("gpu").await.unwrap();
        assert_eq!(claim.task, task_ref(h.durability(), number));
        engine.forget(claim).await.unwrap();
    }
}

async fn a_task_given_back_wakes_a_claim_that_waits<H: Harness<Engine: Dispatch>>(h: &H) {
    let engine = h.open().await;
    engine.offer(task_ref(h.durability(), 1), "gpu").await.unwrap();
    let claim = engine.claim("gpu").await.unwrap();
    let mut waits = Box::pin(engine.claim("gpu"));
    assert!(waits.as_mut().now_or_never().is_none());
    engine.give_back(claim).await.unwrap();
    assert_eq!(waits.await.unwrap().task, task_ref(h.durability(), 1));
}

async fn each_task_is_claimed_once<H: Harness<Engine: Dispatch>>(h: &H) {
    const WORKERS: u64 = 8;
    const EACH: u64 = 50;
    let engine = Arc::new(h.open().await);
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let engine = engine.clone();
        workers.spawn(async move {
            let mut mine = Vec::new();
            for _ in 0..EACH {
                let claim = engine.claim("gpu").await.unwrap();
                mine.push(claim.task);
                engine.forget(claim).await.unwrap();
            }
            mine
        });
    }
    for number in 0..WORKERS * EACH {
        engine.offer(task_ref(h.durability(), number), "gpu").await.unwrap();
    }
    let claimed: BTreeSet<_> = workers.join_all().await.into_iter().flatten().collect();
    assert_eq!(claimed.len() as u64, WORKERS * EACH, "a task was handed out twice");
}

async fn a_claim_that_was_not_dealt_with_is_handed_out_again_after_a_crash<H: Harness<Engine: Dispatch>>(h: &H) {
    let engine = h.open().await;
    engine.offer(task_ref(h.durability(), 1), "gpu").await.unwrap();
    engine.offer(task_ref(h.durability(), 2), "gpu").await.unwrap();
    let dealt_with = engine.claim("gpu").await.unwrap();
    engine.forget(dealt_with).await.unwrap();
    let _worker_lost = engine.claim("gpu").await.unwrap();
    let Some(engine) = h.crash_and_reopen(engine).await else { return };
    assert_eq!(engine.claim("gpu").await.unwrap().task, task_ref(h.durability(), 2));
}
