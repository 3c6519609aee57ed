//! Routes over real interfaces: providers that fail, refuse, stall and lie are left within their bound and come back; and
//! the configuration is reloaded under an open stream.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use serde_json::{Value, json};
use std::time::Duration;
use support::keyed::{next, say, try_connect};
use support::{PATIENCE, Server, ask, script_text, task};
use tidewire_proto::Submission;
use tidewire_proto::routes::DeploymentView;
use tidewire_testkit::upstream::{Break, Fault, Script, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A deployment of an upstream.
fn deployment(name: &str, upstream: &Upstream, rest: &str) -> String {
    format!(
        "[[deployment]]\nname = \"{name}\"\nbackend = \"openai\"\nmodel = \"m\"\nurl = \"{}\"\n{rest}\n",
        upstream.url()
    )
}

/// A route that asks `bad` first, as long as it is available, and `good` then.
fn route(rest: &str) -> String {
    format!(
        "[[route]]\nname = \"chat\"\ndeployments = [{{ name = \"bad\", weight = 1 }}, {{ name = \"good\", weight = 0 }}]\n{rest}\n"
    )
}

fn chat() -> Submission {
    let input = json!({ "messages": [{ "role": "user", "content": "go" }] });
    Submission {
        model: Some("chat".to_owned()),
        input: Some(serde_json::value::to_raw_value(&input).unwrap()),
        ..Submission::default()
    }
}

/// Runs a task to its end: its `end` event, and the events before it.
async fn run(server: &Server, submission: &Submission) -> (Value, Vec<Value>) {
    let http = server.http();
    let accepted = http.submit(submission).await.unwrap();
    let ended = async {
        http.text(&accepted.id, Some(PATIENCE)).await.unwrap();
        let path = format!("/v1/tasks/{}/events?format=json&window_ms=0", accepted.id);
        let (status, _, body) = ask(server, "GET", &path, "", "").await;
        assert_eq!(status, 200, "{body}");
        let page: Value = serde_json::from_str(&body).unwrap();
        let mut events = page["events"].as_array().unwrap().clone();
        let end = events.pop().unwrap();
        assert_eq!(end["type"], "end");
        (end["data"].clone(), events)
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the task ends")
}

fn of_type<'a>(events: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| event["type"] == kind).map(|event| &event["data"])
}

fn text(events: &[Value]) -> String {
    let mut text = String::new();
    for event in events {
        match event["type"].as_str().unwrap() {
            "text" => text.push_str(event["data"].as_str().unwrap()),
            "rewind" => text.clear(),
            _ => {}
        }
    }
    text
}

async fn state(server: &Server, name: &str) -> DeploymentView {
    let list = server.http().routes().await.unwrap();
    let route = list.routes.iter().find(|route| route.name == "chat").unwrap();
    route.deployments.iter().find(|deployment| deployment.name == name).unwrap().clone()
}

/// Two upstreams behind one route, of which the first is as bad as told.
fn pair(bad: Script, rest: &str) -> (Upstream, Upstream, Server) {
    let (bad, good) = (Upstream::start(bad), Upstream::start(Script::default()));
    let config = [deployment("bad", &bad, ""), deployment("good", &good, ""), route(rest)].concat();
    let server = Server::start(&config);
    (bad, good, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_fails_is_left_after_five_requests_and_comes_back_by_a_probe() {
    let (bad, _good, server) = pair(Script::failing(Fault::status(503)), "");
    for _ in 0..12 {
        let (end, events) = run(&server, &chat()).await;
        assert_eq!((end["state"].as_str(), end["deployment"].as_str()), (Some("done"), Some("good")), "{end}");
        assert_eq!(end["attempts"], 1, "within one attempt");
        assert_eq!(text(&events), script_words(10));
        for retry in of_type(&events, "retry") {
            assert_eq!((retry["deployment"].as_str(), &retry["after_ms"]), (Some("bad"), &json!(0)));
        }
    }
    let seen = bad.calls().len();
    // Five open it; a slow machine may leave it time for a probe or two.
    assert!((5..12).contains(&seen), "it was asked {seen} times of 12");
    let outcomes = state(&server, "bad").await.outcomes;
    assert_eq!(outcomes["upstream_overloaded"], seen as u64);
    bad.play(Script::default());
    let back = async { while run(&server, &chat()).await.0["deployment"] != "bad" {} };
    tokio::time::timeout(PATIENCE, back).await.expect("a probe finds it well again");
    let now = state(&server, "bad").await;
    assert_eq!((now.breaker.as_str(), now.available), ("closed", true));
}

/// The text of the scripted model server.
fn script_words(tokens: u32) -> String {
    Script::tokens(tokens).text()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_asks_for_time_is_not_asked_before_and_a_route_without_others_says_when() {
    let wait = Duration::from_hours(1);
    let (bad, good, server) = pair(Script::failing(Fault::too_many_requests(Some(wait))), "wait_ms = 1000");
    for _ in 0..5 {
        assert_eq!(run(&server, &chat()).await.0["deployment"], "good");
    }
    assert_eq!(bad.calls().len(), 1, "once, and then it is left alone");
    assert!(state(&server, "bad").await.retry_after_ms.is_some_and(|left| left > 100_000));
    good.play(Script::failing(Fault::too_many_requests(Some(wait))));
    let once = Submission { max_attempts: Some(1), ..chat() };
    let (end, _) = run(&server, &once).await;
    assert_eq!(end["error"]["code"], "upstream_rate_limited", "{end}");
    let (end, _) = run(&server, &once).await;
    assert_eq!(end["error"]["code"], "route_unavailable", "it does not hang: {end}");
    assert!(end["error"]["retry_after_ms"].as_u64().unwrap() > 100_000);
    let body = r#"{"model":"chat","messages":[{"role":"user","content":"go"}]}"#;
    let (status, head, body) =
        ask(&server, "POST", "/v1/chat/completions", "content-type: application/json\r\n", body).await;
    assert_eq!(status, 503, "{body}");
    assert!(head.contains("retry-after: ") && body.contains("route_unavailable"), "{head}{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_breaks_in_the_middle_is_never_a_clean_end_and_the_next_one_goes_on_or_starts_over() {
    let (bad, _good, server) = pair(Script::default(), "first_token_ms = 20000\nbetween_tokens_ms = 300");
    for how in [Break::Stall, Break::Cut, Break::Malformed, Break::Error, Break::Early] {
        bad.play_once(Script::tokens(10).with(Fault::after(4, how)));
        let (end, events) = run(&server, &chat()).await;
        assert_eq!((end["state"].as_str(), end["deployment"].as_str()), (Some("done"), Some("good")), "{how:?}: {end}");
        assert_eq!(text(&events), script_words(10), "{how:?}: whole, with no word twice");
        let started: Vec<&str> = of_type(&events, "started").filter_map(|data| data["deployment"].as_str()).collect();
        assert_eq!(started, ["bad", "good"], "{how:?}");
        assert_eq!(of_type(&events, "retry").count(), 1, "{how:?}");
        assert!(
            end["usage"]["output_tokens"].as_u64().unwrap() >= 14,
            "{how:?}: what was said twice is counted twice: {end}"
        );
    }
    // A stalled upstream is left, not only ignored.
    bad.wait_for_cancel().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_did_wrong_stays_with_it() {
    let (bad, good, server) = pair(Script::failing(Fault::status(400)), "");
    for _ in 0..8 {
        let (end, _) = run(&server, &chat()).await;
        assert_eq!((end["state"].as_str(), &end["error"]["code"]), (Some("failed"), &json!("invalid_input")), "{end}");
    }
    assert_eq!((bad.calls().len(), good.calls().len()), (8, 0), "nobody else is asked the same");
    assert_eq!(state(&server, "bad").await.breaker, "closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_that_is_too_long_goes_to_the_route_with_the_larger_context() {
    let (small, large) =
        (Upstream::start(Script::failing(Fault::context_too_long())), Upstream::start(Script::default()));
    let config = [
        deployment("small", &small, "context_tokens = 8192"),
        deployment("twin", &small, "context_tokens = 8192"),
        deployment("large", &large, "context_tokens = 200000"),
        "[[route]]\nname = \"chat\"\ndeployments = [\"small\", \"twin\"]\nfallbacks = [\"large\"]\n".to_owned(),
    ];
    let server = Server::start(&config.concat());
    let (end, _) = run(&server, &chat()).await;
    assert_eq!((end["state"].as_str(), end["deployment"].as_str()), (Some("done"), Some("large")), "{end}");
    assert_eq!(small.calls().len(), 1, "its twin has the same context");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_region_is_asked_only_while_the_preferred_one_is_away() {
    let (eu, us) = (Upstream::start(Script::default()), Upstream::start(Script::default()));
    let config = [
        deployment("eu", &eu, "region = \"eu\"\nhealth_ms = 50"),
        deployment("us", &us, "region = \"us\""),
        "[[route]]\nname = \"chat\"\ndeployments = [\"us\", \"eu\"]\nprefer = [\"eu\"]\n".to_owned(),
    ];
    let server = Server::start(&config.concat());
    for _ in 0..5 {
        assert_eq!(run(&server, &chat()).await.0["deployment"], "eu");
    }
    eu.down();
    until(async || state(&server, "eu").await.down).await;
    assert_eq!(run(&server, &chat()).await.0["deployment"], "us");
    let in_eu = Submission { needs: Some(vec!["eu".to_owned()]), deadline_ms: Some(300), ..chat() };
    assert_eq!(run(&server, &in_eu).await.0["error"]["code"], "deadline_exceeded", "what must stay in the region does");
    eu.up().unwrap();
    until(async || !state(&server, "eu").await.down).await;
    assert_eq!(run(&server, &chat()).await.0["deployment"], "eu");
}

async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes to be so");
}

fn rewrite(server: &Server, config: &str) {
    std::fs::write(server.dir.path().join("tidewire.toml"), config).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_changes_routes_under_an_open_stream_and_a_bad_file_changes_nothing() {
    let scripted =
        |slots: u32| format!("[[deployment]]\nname = \"scripted\"\nbackend = \"scripted\"\nslots = {slots}\n");
    let server = Server::start(&scripted(2));
    let http = server.http();
    let (session, open) =
        (server.session().await, task(json!({ "tokens": 40, "delay_ms": 10_000, "first_delay_ms": 0 })));
    drop(session);
    let running = http.submit(&open).await.unwrap();
    until(async || http.task(&running.id).await.unwrap().state == "running").await;

    rewrite(&server, "[[deployment]]\nname = \"x\"\n");
    let (status, _, body) = ask(&server, "POST", "/v1/admin/reload", "", "").await;
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("nothing has changed"), "{body}");
    assert_eq!(http.routes().await.unwrap().routes[0].name, "scripted");

    let other = "[limits]\nconnections = 77\n[[deployment]]\nname = \"other\"\nbackend = \"scripted\"\n\
                 [[route]]\nname = \"chat\"\ndeployments = [\"scripted\", \"other\"]\n";
    rewrite(&server, &[other, &scripted(2)].concat());
    let reloaded = http.reload().await.unwrap();
    assert_eq!(reloaded.changed, ["deployment.other", "route.chat"]);
    assert_eq!(reloaded.needs_restart, ["limits.connections"]);
    let list = http.routes().await.unwrap();
    assert_eq!(list.routes.iter().map(|route| route.name.as_str()).collect::<Vec<_>>(), ["chat"]);
    assert_eq!(http.task(&running.id).await.unwrap().state, "running", "what ran goes on");
    let quick = Submission { model: Some("chat".to_owned()), ..task(json!({ "tokens": 3, "delay_ms": 0 })) };
    let (end, _) = run(&server, &quick).await;
    assert_eq!(end["state"], "done");
    let (_, _, metrics) = ask(&server, "GET", "/metrics", "", "").await;
    assert!(metrics.contains("tidewire_deployment_breaker{route=\"chat\",deployment=\"other\"} 0"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"));
    assert_eq!(http.stop(&running.id).await.unwrap().state, "stopped");
    assert!(http.text(&running.id, None).await.unwrap().starts_with(&script_text("w", 1)));

    rewrite(&server, &scripted(5));
    let hung_up = std::process::Command::new("kill").arg("-HUP").arg(server.pid().to_string()).status().unwrap();
    assert!(hung_up.success());
    until(async || http.routes().await.unwrap().routes[0].name == "scripted").await;
}

/// Reads a connection on until it has said this, or has ended.
async fn reads_until(stream: &mut tokio::net::TcpStream, heard: &mut Vec<u8>, word: &str) {
    let read = async {
        while !String::from_utf8_lossy(heard).contains(word) {
            assert!(stream.read_buf(heard).await.unwrap() > 0, "it ended: {}", String::from_utf8_lossy(heard));
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("no {word:?} came"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_leaves_open_sse_and_websocket_connections_as_they_are_and_both_hear_the_rest() {
    let upstream = Upstream::start(Script::tokens(20).with(Fault::after(5, Break::Stall)));
    let config = |strategy: &str, slots: u32| {
        let rest = format!("slots = {slots}\nhealth_ms = 60000");
        let route = format!("[[route]]\nname = \"chat\"\nstrategy = \"{strategy}\"\ndeployments = [\"up\"]\n");
        [deployment("up", &upstream, &rest), route].concat()
    };
    let server = Server::start(&config("weighted", 8));
    let running = server.http().submit(&chat()).await.unwrap();

    let mut sse = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let (host, id) = (server.address(), &running.id);
    let request = format!("GET /v1/tasks/{id}/events?format=sse&window_ms=0 HTTP/1.1\r\nhost: {host}\r\n\r\n");
    sse.write_all(request.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    reads_until(&mut sse, &mut heard, "w4 ").await;
    let mut socket = try_connect(&server, "/v1/ws", None).await.unwrap();
    let follow = json!({ "op": "follow", "log": running.id, "window_ms": 0 });
    assert_eq!(say(&mut socket, follow).await["op"], "following");
    upstream.wait_for_stall().await;

    // By the API and by the signal; each time something is really exchanged.
    rewrite(&server, &config("cheapest", 4));
    let reloaded = server.http().reload().await.unwrap();
    assert_eq!(reloaded.changed, ["deployment.up", "route.chat"]);
    let strategy = async || server.http().routes().await.unwrap().routes[0].strategy.clone();
    rewrite(&server, &config("fastest", 2));
    let hung_up = std::process::Command::new("kill").arg("-HUP").arg(server.pid().to_string()).status().unwrap();
    assert!(hung_up.success());
    until(async || strategy().await == "fastest").await;

    // The rest comes only now, so it comes over connections that were open before.
    assert!(!String::from_utf8_lossy(&heard).contains("w5 "));
    upstream.resume();
    reads_until(&mut sse, &mut heard, "event: end").await;
    assert!(String::from_utf8_lossy(&heard).contains("w19 "));
    let mut said = String::new();
    loop {
        let frame = next(&mut socket).await.expect("the connection stays open");
        let events = frame["events"].as_array().cloned().unwrap_or_default();
        said += &text(&events);
        if events.iter().any(|event| event["type"] == "end") {
            break;
        }
    }
    assert_eq!(said, script_words(20));
    upstream.play(Script::default());
    let again = json!({ "op": "submit", "task": { "prompt": "go", "model": "chat" } });
    assert_eq!(say(&mut socket, again).await["op"], "ack", "and it takes new work");
}
