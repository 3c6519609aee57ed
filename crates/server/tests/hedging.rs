//! Hedging over real interfaces: a late first word is answered by a second deployment, the one that is not heard is left, both
//! are charged to the token, and a budget bounds it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;
use support::{PATIENCE, Server, ask};
use tidewire_testkit::upstream::{Break, Call, Fault, Script, State, Upstream};

/// As many first words as a route must have heard before it calls one late.
const KNOWN: usize = 20;

/// What the tokenizer of this model counts of the one request that the tests make: what a truthful upstream counts as well.
const MODEL: &str = "gpt-4o-mini";

/// A route that asks `slow` first, and hedges with `quick`. Their input costs a dollar and two a million tokens, output three
/// and four.
fn start(slow: &Upstream, quick: &Upstream, hedge: &str) -> Server {
    start_with(slow, quick, hedge, "")
}

/// The same with further configuration.
fn start_with(slow: &Upstream, quick: &Upstream, hedge: &str, further: &str) -> Server {
    let mut config = String::from("[worker]\nbackoff_ms = 1\n");
    for (name, upstream, input, output) in [("slow", slow, 1, 3), ("quick", quick, 2, 4)] {
        let _ = write!(
            config,
            "[[deployment]]\nname = \"{name}\"\nbackend = \"openai\"\nmodel = \"{MODEL}\"\nurl = \"{}\"\n\
             price_input = {input}.0\nprice_output = {output}.0\n",
            upstream.url()
        );
    }
    let members = "deployments = [{ name = \"slow\", weight = 1 }, { name = \"quick\", weight = 0 }]";
    let _ = write!(config, "[[route]]\nname = \"chat\"\n{members}\nhedge = {{ {hedge} }}\n{further}");
    Server::start(&config)
}

/// What came of a task: its `end`, its `started` events, its text.
struct Ran {
    id: String,
    end: Value,
    started: Vec<Value>,
    text: String,
}

async fn run(server: &Server) -> Ran {
    let id = submit(server).await;
    let (status, _, text) = ask(server, "GET", &format!("/v1/tasks/{id}/text?wait_ms=60000"), "", "").await;
    assert_eq!(status, 200);
    let (_, _, page) = ask(server, "GET", &format!("/v1/tasks/{id}/events?format=json"), "", "").await;
    let page: Value = serde_json::from_str(&page).unwrap();
    let mut events = page["events"].as_array().unwrap().clone();
    let end = events.pop().unwrap()["data"].clone();
    let started = events.iter().filter(|event| event["type"] == "started").map(|event| event["data"].clone()).collect();
    Ran { id, end, started, text }
}

async fn submit(server: &Server) -> String {
    let body = json!({ "model": "chat", "prompt": "go", "max_attempts": 1 }).to_string();
    let (status, _, body) = ask(server, "POST", "/v1/tasks", "", &body).await;
    assert_eq!(status, 202, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["id"].as_str().unwrap().to_owned()
}

/// Lets the route hear as many first words as it needs.
async fn warm(server: &Server) {
    for _ in 0..KNOWN {
        assert_eq!(run(server).await.end["state"], "done");
    }
}

async fn metric(server: &Server, outcome: &str) -> u64 {
    let (_, _, metrics) = ask(server, "GET", "/metrics", "", "").await;
    let name = format!("tidewire_hedges_total{{route=\"chat\",outcome=\"{outcome}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(name.as_str()));
    line.unwrap_or_else(|| panic!("no {name}: {metrics}")).parse().unwrap()
}

/// Waits until the server has heard a refusal of the quick one: the upstream knows of it earlier.
async fn refused_once(server: &Server) {
    let heard = async {
        loop {
            let (_, _, body) = ask(server, "GET", "/v1/routes", "", "").await;
            let routes: Value = serde_json::from_str(&body).unwrap();
            let deployments =
                routes["routes"].as_array().unwrap().iter().flat_map(|route| route["deployments"].as_array().unwrap());
            let quick = deployments.filter(|deployment| deployment["name"] == "quick").map(|quick| &quick["outcomes"]);
            if quick
                .filter_map(Value::as_object)
                .any(|outcomes| outcomes.keys().any(|name| !["ok", "cut"].contains(&&**name)))
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(support::PATIENCE, heard).await.expect("the refusal is heard");
}

/// What both deployments' usage comes to, as a settlement has it: input and output tokens, nanodollars.
fn charged(end: &Value) -> (u64, u64, u64) {
    let usage = |name: &str| end["usage"][name].as_u64().unwrap_or_default();
    (usage("input_tokens"), usage("output_tokens"), usage("cost_nanousd"))
}

/// What the upstream says that the request has. The server's own tokenizer must come to the same for the one it left.
fn script() -> Script {
    Script { input_tokens: 8, ..Script::tokens(10) }
}

async fn left(upstream: &Upstream) -> Call {
    tokio::time::timeout(PATIENCE, upstream.wait_for_cancel()).await.expect("the one that is not heard is left")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_first_word_is_answered_by_another_deployment_and_both_are_charged() {
    let (slow, quick) = (Upstream::start(script()), Upstream::start(script()));
    let server = start(&slow, &quick, "after = 0.9, min_ms = 400, budget = 0.5");
    warm(&server).await;
    let input = run(&server).await.end["usage"]["input_tokens"].as_u64().unwrap();
    assert_eq!(input, 8);
    let quick_before = quick.counts().calls;
    slow.play_once(script().with(Fault::Silent));
    let ran = run(&server).await;
    assert_eq!((&ran.end["state"], &ran.end["deployment"]), (&json!("done"), &json!("quick")), "{}", ran.end);
    assert_eq!(ran.text, script().text());
    let lost = left(&slow).await;
    assert_eq!((lost.tokens, quick.counts().calls - quick_before), (0, 1));
    // What the one read that was left, by the tokenizer; what the other one counted itself.
    assert_eq!(charged(&ran.end), (8 + 8, 10, 8 * 1000 + 8 * 2000 + 10 * 4000), "{}", ran.end);
    assert_eq!(ran.end["usage"]["estimated"], true);
    let names: Vec<_> = ran.started.iter().map(|started| started["deployment"].as_str().unwrap()).collect();
    assert_eq!(names, ["slow", "quick"], "{:?}", ran.started);
    let hedge = &ran.started[1]["hedge"];
    assert_eq!(
        (&hedge["deployment"], &hedge["won"], &hedge["usage"]["input_tokens"]),
        (&json!("slow"), &json!(true), &json!(8))
    );
    assert!(hedge["after_ms"].as_u64().unwrap() >= 400);
    assert_eq!((metric(&server, "won").await, metric(&server, "lost").await), (1, 0));
    let state = slow.calls().iter().filter(|call| call.state == State::Done).count();
    assert_eq!(state, KNOWN + 1, "all others were whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_one_is_heard_where_it_speaks_first_after_all_and_one_that_fails_leaves_the_other() {
    let (slow, quick) = (Upstream::start(script()), Upstream::start(script()));
    let server = start(&slow, &quick, "after = 0.9, min_ms = 400, budget = 0.5");
    warm(&server).await;
    // Both are silent; the first one is let go on.
    slow.play_once(script().with(Fault::Silent));
    quick.play_once(script().with(Fault::Silent));
    let id = submit(&server).await;
    quick.wait_for_stall().await;
    slow.resume();
    let (_, _, text) = ask(&server, "GET", &format!("/v1/tasks/{id}/text?wait_ms=60000"), "", "").await;
    assert_eq!(text, script().text());
    assert_eq!(left(&quick).await.tokens, 0);
    let (_, _, task) = ask(&server, "GET", &format!("/v1/tasks/{id}"), "", "").await;
    let end = serde_json::from_str::<Value>(&task).unwrap()["end"].clone();
    assert_eq!(end["deployment"], "slow");
    assert_eq!(charged(&end), (16, 10, 8 * 1000 + 8 * 2000 + 10 * 3000), "{end}");
    assert_eq!(metric(&server, "lost").await, 1);

    // The second one refuses: that costs nothing, and the first one is waited for.
    slow.play_once(script().with(Fault::Silent));
    quick.play_once(Script::failing(Fault::status(503)));
    let id = submit(&server).await;
    refused_once(&server).await;
    slow.resume();
    let (_, _, text) = ask(&server, "GET", &format!("/v1/tasks/{id}/text?wait_ms=60000"), "", "").await;
    assert_eq!(text, script().text());
    let (_, _, task) = ask(&server, "GET", &format!("/v1/tasks/{id}"), "", "").await;
    let end = serde_json::from_str::<Value>(&task).unwrap()["end"].clone();
    assert_eq!(charged(&end), (8, 10, 8 * 1000 + 10 * 3000), "{end}");

    // The first one breaks while the second one is out: that one's answer is whole.
    slow.play_once(script().with(Fault::after(0, Break::Stall)));
    quick.play_once(script().with(Fault::Silent));
    let id = submit(&server).await;
    quick.wait_for("the second", |calls| (calls.last()?.state == State::Stalled).then_some(())).await;
    slow.down();
    quick.resume();
    let (_, _, text) = ask(&server, "GET", &format!("/v1/tasks/{id}/text?wait_ms=60000"), "", "").await;
    assert_eq!(text, script().text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_bounds_hedges_and_a_stop_in_the_middle_leaves_both() {
    let (slow, quick) = (Upstream::start(script()), Upstream::start(script()));
    // A twentieth of the requests, and one to begin with.
    let server = start(&slow, &quick, "after = 0.9, min_ms = 400, budget = 0.05");
    warm(&server).await;
    let mut hedged = 0;
    for _ in 0..5 {
        slow.play_once(script().with(Fault::Silent));
        let before = slow.calls().len();
        let id = submit(&server).await;
        slow.wait_for("the call", |calls| (calls.get(before)?.state == State::Stalled).then_some(())).await;
        let denied = metric(&server, "denied").await;
        let decided = async {
            loop {
                let (won, denied_now) = (metric(&server, "won").await, metric(&server, "denied").await);
                if won > hedged || denied_now > denied {
                    return won;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        hedged = tokio::time::timeout(PATIENCE, decided).await.expect("late is late");
        slow.resume();
        let (_, _, text) = ask(&server, "GET", &format!("/v1/tasks/{id}/text?wait_ms=60000"), "", "").await;
        assert_eq!(text, script().text());
    }
    // One at first, and one for the twenty that came before.
    assert_eq!((hedged, metric(&server, "denied").await), (2, 3));

    let generous = start(&slow, &quick, "after = 0.9, min_ms = 400, budget = 0.5");
    warm(&generous).await;
    let (slow_left, quick_left) = (slow.counts().cancelled, quick.counts().cancelled);
    slow.play_once(script().with(Fault::Silent));
    quick.play_once(script().with(Fault::Silent));
    let id = submit(&generous).await;
    quick.wait_for("the second", |calls| calls.iter().any(|call| call.state == State::Stalled).then_some(())).await;
    let (_, _, task) = ask(&generous, "POST", &format!("/v1/tasks/{id}/stop"), "", "").await;
    let task: Value = serde_json::from_str(&task).unwrap();
    assert_eq!(task["state"], "stopped", "{task}");
    let both = || slow.counts().cancelled > slow_left && quick.counts().cancelled > quick_left;
    quick.wait_for("both are left", |_| both().then_some(())).await;
    // The first one is charged as it was estimated before its run, the second one by the tokenizer.
    let (input, output, cost) = charged(&task["end"]);
    let first = input - 8;
    assert!((8..=10).contains(&first), "both had read it: {task}");
    assert_eq!((output, cost), (0, first * 1000 + 8 * 2000), "{task}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_masked_stays_masked_whichever_deployment_is_heard() {
    let (slow, quick) = (Upstream::start(script()), Upstream::start(script()));
    // Over the border of two pieces.
    let guard = "[[guard]]\nname = \"pair\"\npattern = \"w5 w6\"\n";
    let server = start_with(&slow, &quick, "after = 0.9, min_ms = 400, budget = 0.5", guard);
    let masked = script().text().replace("w5 w6", "[pair]");
    let log = async |ran: &Ran| {
        let id = ran.id.as_str();
        ask(&server, "GET", &format!("/v1/tasks/{id}/events?format=json"), "", "").await.2
    };
    warm(&server).await;
    let first = run(&server).await;
    slow.play_once(script().with(Fault::Silent));
    let second = run(&server).await;
    for (ran, deployment) in [(&first, "slow"), (&second, "quick")] {
        assert_eq!((&ran.end["deployment"], &ran.text), (&json!(deployment), &masked), "{}", ran.end);
        let log = log(ran).await;
        assert!(!log.contains("w5") && !log.contains("w6"), "{log}");
    }
    assert_eq!(metric(&server, "won").await, 1);
}
