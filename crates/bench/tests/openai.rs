//! Loads the scripted model server, directly and as the control of itself, well and badly.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]

use std::time::Duration;
use tidewire_bench::openai::{Length, Load, Options, Report, Target, run};
use tidewire_testkit::upstream::{Break, Fault, Script, State, Upstream};

fn target(upstream: &Upstream) -> Target {
    Target { base: upstream.url().parse().unwrap(), key: Some("sk-test".to_owned()) }
}

fn options(upstream: &Upstream) -> Options {
    Options {
        target: target(upstream),
        direct: None,
        model: "scripted".to_owned(),
        prompt: "Hi".to_owned(),
        tokens: Some(5),
        stream: true,
        load: Load::Closed { concurrency: 3 },
        length: Length::Requests(12),
        slice: Duration::from_millis(20),
        limit: Duration::from_mins(1),
        saturate: false,
        pid: None,
    }
}

/// The run's requests, without those that warmed the connections up.
fn counted(report: &Report, upstream: &Upstream) -> (u64, u64) {
    const WARM_UP: u64 = 50;
    (report.server.requests.all(), upstream.counts().calls - WARM_UP)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_reported_is_what_the_upstream_counted() {
    for stream in [true, false] {
        let upstream = Upstream::start(Script::tokens(50));
        let report = run(Options { stream, ..options(&upstream) }).await.unwrap();
        assert!(report.is_clean(), "{report}");
        assert_eq!(counted(&report, &upstream), (12, 12), "{report}");
        // `max_tokens` of the request shortened the script.
        assert_eq!(report.server.tokens, 12 * 5, "{report}");
        assert_eq!(report.server.latency_ms.first_token.is_some(), stream);
        let total = report.server.latency_ms.total.unwrap();
        assert!(total.p50 > 0.0 && total.max >= total.p99, "{report}");
        let call = &upstream.calls()[0];
        assert_eq!((call.header("authorization"), call.stream), (Some("Bearer sk-test"), stream));
        // The upstream is this process.
        assert_eq!(report.server.cost.unwrap().pid, Some(std::process::id()));
        assert!(!format!("{:?}", options(&upstream)).contains("sk-test"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_gets_as_many_requests_in_turns() {
    let (server, direct) = (Upstream::start(Script::tokens(5)), Upstream::start(Script::tokens(5)));
    let report = run(Options { direct: Some(target(&direct)), ..options(&server) }).await.unwrap();
    assert!(report.is_clean(), "{report}");
    let control = report.direct.as_ref().unwrap();
    assert_eq!((report.server.requests.done, control.requests.done), (12, 12), "{report}");
    let added = report.added.unwrap();
    assert!(added.total_p50_ms.is_some() && added.requests_ratio.unwrap() > 0.0);
    // In turns: the control's first counted call came before the server's last one.
    let (ours, theirs) = (server.calls(), direct.calls());
    assert!(theirs[50].began < ours.last().unwrap().began);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["direct"]["requests"]["done"], 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_asks_on_schedule_and_counts_from_it() {
    // Each answer takes longer than the time between two requests: a closed loop of one would fall behind.
    let upstream = Upstream::start(Script::tokens(1).paced(Duration::from_millis(50), Duration::ZERO));
    let load = Load::Open { per_second: 200.0 };
    let length = Length::Time(Duration::from_millis(200));
    let report = run(Options { load, length, slice: Duration::from_millis(200), ..options(&upstream) }).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(counted(&report, &upstream), (40, 40), "{report}");
    assert!(report.server.latency_ms.total.unwrap().p50 >= 50.0, "{report}");
    assert!(upstream.counts().most_running > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_fail_has_its_name_and_refusals_stand_apart() {
    let upstream = Upstream::start(Script::tokens(5));
    for _ in 0..50 {
        upstream.play_once(Script::tokens(5));
    }
    let faults = [
        Fault::too_many_requests(None),
        Fault::status(503),
        Fault::Reset,
        Fault::after(2, Break::Cut),
        Fault::after(2, Break::Error),
        Fault::after(2, Break::Early),
        Fault::after(2, Break::Malformed),
    ];
    for fault in faults {
        upstream.play_once(Script::tokens(5).with(fault));
    }
    let load = Load::Closed { concurrency: 1 };
    let report = run(Options { load, length: Length::Requests(9), ..options(&upstream) }).await.unwrap();
    let requests = report.server.requests;
    // A connection that is reset before it answers is asked again on a fresh one, as a pool would.
    assert_eq!((requests.refused, requests.failed, requests.done), (1, 5, 3), "{report}");
    assert!(!report.is_clean() && report.server.latency_ms.refused.is_some());
    let names: Vec<_> = report.server.reasons.keys().map(String::as_str).collect();
    let expected = ["connection_cut", "no_finish_reason", "rate_limit_exceeded", "server_error", "unreadable"];
    assert_eq!(names, expected, "{report}");
    assert_eq!(report.server.reasons["server_error"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_an_end_is_given_up_and_the_upstream_sees_it() {
    let upstream = Upstream::start(Script::tokens(5));
    for _ in 0..50 {
        upstream.play_once(Script::tokens(5));
    }
    upstream.play(Script::tokens(5).with(Fault::after(2, Break::Stall)));
    let load = Load::Closed { concurrency: 1 };
    let limit = Duration::from_millis(300);
    let given = Options { load, limit, length: Length::Requests(1), ..options(&upstream) };
    let report = run(given).await.unwrap();
    assert_eq!(report.server.reasons["no_end"], 1, "{report}");
    let cancel = upstream.wait_for_cancel().await;
    assert_eq!((cancel.tokens, cancel.state), (2, State::Cancelled));
}

#[tokio::test(flavor = "multi_thread")]
async fn saturation_is_looked_for_and_named() {
    // 20 ms an answer: one client gets 50 a second, and more get more.
    let upstream = Upstream::start(Script::tokens(1).paced(Duration::from_millis(20), Duration::ZERO));
    let load = Load::Closed { concurrency: 4 };
    let slice = Duration::from_millis(100);
    let report = run(Options { load, slice, saturate: true, ..options(&upstream) }).await.unwrap();
    let saturation = report.saturation.as_ref().unwrap();
    let tried: Vec<_> = saturation.tried.iter().map(|(clients, _)| *clients).collect();
    assert_eq!(tried, [1, 2, 4], "{report}");
    assert!(saturation.concurrency >= 1 && report.to_string().contains("saturated by"), "{report}");
}
