//! The suite for the port `Bus`.

use crate::Harness;
use crate::given::task_ref;
use futures_util::StreamExt;
use tidewire_core::port::{Bus, Signal, Subscription};
use tidewire_core::{Durability, Offset};

crate::suite::suite!(
    "Bus",
    [Bus],
    [
        a_subscriber_gets_what_is_published_after_it_subscribed,
        every_subscriber_gets_every_signal,
        a_signal_without_subscribers_goes_nowhere,
        a_subscriber_that_fell_behind_loses_the_oldest_and_holds_nobody_up,
    ]
);

fn signal(durability: Durability, number: u64) -> Signal {
    Signal::Grew { log: task_ref(durability, number % 5).log(), tail: Offset(number) }
}

async fn next_tail(subscription: &mut Subscription) -> u64 {
    match subscription.next().await {
        Some(Signal::Grew { tail, .. }) => tail.0,
        other => panic!("expected that a log grew, and got {other:?}"),
    }
}

async fn a_subscriber_gets_what_is_published_after_it_subscribed<H: Harness<Engine: Bus>>(h: &H) {
    let engine = h.open().await;
    engine.publish(signal(h.durability(), 0));
    let mut subscription = engine.subscribe();
    for number in 1..100 {
        engine.publish(signal(h.durability(), number));
    }
    engine.publish(Signal::Stop(task_ref(h.durability(), 3)));
    for number in 1..100 {
        assert_eq!(subscription.next().await, Some(signal(h.durability(), number)), "signals come in order");
    }
    assert_eq!(subscription.next().await, Some(Signal::Stop(task_ref(h.durability(), 3))));
}

async fn every_subscriber_gets_every_signal<H: Harness<Engine: Bus>>(h: &H) {
    let engine = h.open().await;
    let mut subscriptions: Vec<Subscription> = (0..5).map(|_| engine.subscribe()).collect();
    drop(subscriptions.pop());
    engine.publish(signal(h.durability(), 1));
    engine.publish(signal(h.durability(), 2));
    for subscription in &mut subscriptions {
        assert_eq!((next_tail(subscription).await, next_tail(subscription).await), (1, 2));
    }
}

async fn a_signal_without_subscribers_goes_nowhere<H: Harness<Engine: Bus>>(h: &H) {
    let engine = h.open().await;
    drop(engine.subscribe());
    engine.publish(signal(h.durability(), 1));
    let mut subscription = engine.subscribe();
    engine.publish(signal(h.durability(), 2));
    assert_eq!(next_tail(&mut subscription).await, 2);
}

async fn a_subscriber_that_fell_behind_loses_the_oldest_and_holds_nobody_up<H: Harness<Engine: Bus>>(h: &H) {
    // More than any bus may hold for one subscriber.
    const LAST: u64 = 200_000;
    let engine = h.open().await;
    let mut slow = engine.subscribe();
    for number in 0..=LAST {
        engine.publish(signal(h.durability(), number));
    }
    let mut last = next_tail(&mut slow).await;
    assert!(last > 0, "a bus must not keep {LAST} signals for one subscriber");
    while last != LAST {
        let next = next_tail(&mut slow).await;
        assert!(next > last, "{next} after {last}");
        last = next;
    }
}
