use super::*;

fn turned(second: u64, cost: Money) -> Turned {
    Turned { at: Timestamp::from_millis(second * 1000), waiting: 3, running: 2, cost }
}

fn acks(live: &Live, millis: impl Iterator<Item = u64>) {
    millis.for_each(|millis| live.record(Measurement::Ack(Duration::from_millis(millis))));
}

fn near(value: f64, expected: f64) {
    assert!((value - expected).abs() <= expected * 0.01, "{value}, where {expected} was expected");
}

#[test]
fn percentiles_are_of_the_last_minute_and_exact_to_a_hundredth() {
    let live = Live::default();
    acks(&live, 1..=1000);
    let seen = live.latencies()["ack"];
    assert_eq!(seen.count, 1000);
    near(seen.p50_ms, 500.0);
    near(seen.p95_ms, 950.0);
    near(seen.p99_ms, 990.0);
    for slot in 1..6 {
        live.turn(&turned(slot * 10, Money::ZERO));
        acks(&live, std::iter::once(7));
    }
    assert_eq!(live.latencies()["ack"].count, 1005);
    live.turn(&turned(60, Money::ZERO));
    near(live.latencies()["ack"].p99_ms, 7.0);
    assert_eq!(live.latencies().len(), 1, "what has no sample is not there");
    // What is longer than anything counts as the longest, and what took no time as no time.
    live.record(Measurement::Total(Duration::from_hours(10)));
    live.record(Measurement::PerToken(Duration::ZERO));
    near(live.latencies()["total"].p50_ms, 600_000.0);
    assert!(live.latencies()["tpot"].p50_ms <= 0.001);
}

#[test]
fn points_are_of_their_own_ten_seconds_and_an_hour_of_them_is_kept() {
    let live = Live::default();
    live.begin(Money::from_dollars(5.0));
    assert_eq!(live.rates(), None);
    acks(&live, std::iter::once(100));
    live.record(Measurement::OutputTokens(50));
    live.turn(&turned(10, Money::from_dollars(5.1)));
    live.turn(&turned(20, Money::from_dollars(5.1)));
    let history = live.history();
    assert_eq!((history.step_ms, history.end, history.series.len()), (10_000, 20_000, 17));
    let series = |name: &str| history.series[name].clone();
    near(series("ack_p99")[0].unwrap(), 100.0);
    assert_eq!(series("ack_p99")[1], None);
    assert_eq!(series("tokens_per_second"), [Some(5.0), Some(0.0)]);
    near(series("cost_usd_per_hour")[0].unwrap(), 36.0);
    assert_eq!(series("cost_usd_per_hour")[1], Some(0.0));
    assert_eq!(series("waiting"), [Some(3.0), Some(3.0)]);
    let new = live.points_after(10_000);
    assert_eq!((new.len(), new[0].at, new[0].values["running"]), (1, 20_000, Some(2.0)));
    for slot in 3..1000 {
        live.turn(&turned(slot * 10, Money::ZERO));
    }
    assert!(live.history().series.values().all(|series| series.len() == POINTS));
}

#[test]
fn refusals_and_answers_are_told_apart() {
    let live = Live::default();
    live.record(Measurement::OverLimit(Limited::CostPerDay));
    live.record(Measurement::OverLimit(Limited::CostPerMonth));
    live.record(Measurement::OverLimit(Limited::OutputTokens));
    live.record(Measurement::QueueFull);
    live.record(Measurement::Connected);
    live.record(Measurement::Connected);
    live.record(Measurement::Disconnected);
    let seen = live.refusals();
    assert_eq!((seen.queue_full, seen.rate_limited, seen.budget_exceeded, seen.retries), (1, 1, 2, 0));
    assert_eq!(live.connections(), 1);
}
