//! Traces over real interfaces: the context that comes with a request goes on to the model and back to the caller, the log
//! tells the story, and a collector gets it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;
use support::collector::Collector;
use support::keyed::{say, try_connect};
use support::{PATIENCE, Server, ask, scripted};
use tidewire_testkit::upstream::{Break, Fault, Script, Upstream};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn context(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

fn headers(flags: &str) -> String {
    format!("content-type: application/json\r\ntraceparent: {}\r\ntracestate: congo=t61, rojo=1\r\n", context(flags))
}

/// A server in front of an upstream.
fn before(upstream: &Upstream, further: &str) -> Server {
    let url = upstream.url();
    Server::start(&format!(
        "{further}[[deployment]]\nname = \"d\"\nbackend = \"openai\"\nmodel = \"m\"\nserves = \"chat\"\nurl = \"{url}\"\n"
    ))
}

fn chat() -> Value {
    json!({ "model": "chat", "messages": [{ "role": "user", "content": "Why is the sea salty?" }] })
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

async fn json_of(server: &Server, path: &str) -> Value {
    let (status, _, body) = ask(server, "GET", path, "", "").await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// A task's story, once it has ended.
async fn story(server: &Server, task: &str) -> Value {
    server.http().text(task, Some(PATIENCE)).await.unwrap();
    json_of(server, &format!("/v1/tasks/{task}/trace")).await
}

fn part<'a>(story: &'a Value, name: &str) -> &'a Value {
    let spans = story["spans"].as_array().unwrap();
    spans.iter().find(|span| span["part"] == name).unwrap_or_else(|| panic!("{name} in {story:#}"))
}

/// The story's ids are those that the caller was told and the upstream was sent.
async fn belongs(server: &Server, upstream: &Upstream, task: &str, told: Option<&str>) {
    let story = story(server, task).await;
    assert_eq!((&story["trace_id"], &story["parent_id"]), (&json!(TRACE), &json!(CALLER)), "{story}");
    let (root, attempt) = (part(&story, "task"), part(&story, "attempt"));
    assert_eq!(root["parent"], CALLER);
    if let Some(told) = told {
        assert_eq!(told, format!("00-{TRACE}-{}-01", root["id"].as_str().unwrap()));
    }
    let sent = format!("00-{TRACE}-{}-01", attempt["id"].as_str().unwrap());
    let call = upstream.calls().into_iter().find(|call| call.header("traceparent") == Some(&sent));
    let call = call.unwrap_or_else(|| panic!("{sent} was not sent: {:?}", upstream.calls()));
    assert_eq!(call.header("tracestate"), Some("congo=t61,rojo=1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_of_a_request_goes_on_to_the_model_and_back_to_the_caller_on_every_face() {
    let upstream = Upstream::start(Script::tokens(2));
    let server = before(&upstream, "");
    let native = json!({ "input": chat() });
    for (path, body) in [
        ("/v1/chat/completions", chat()),
        ("/v1/chat/completions", json!({ "stream": true, "model": "chat", "messages": chat()["messages"] })),
        ("/v1/tasks", native.clone()),
    ] {
        let (status, head, answer) = ask(&server, "POST", path, &headers("01"), &body.to_string()).await;
        assert!(status == 200 || status == 202, "{path}: {answer}");
        let told = header(&head, "traceresponse").unwrap_or_else(|| panic!("no trace in {head}"));
        belongs(&server, &upstream, header(&head, "tidewire-task").unwrap(), Some(told)).await;
    }
    let batch = json!({ "tasks": [native] }).to_string();
    let (_, _, answer) = ask(&server, "POST", "/v1/tasks/batch", &headers("01"), &batch).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    belongs(&server, &upstream, answer["tasks"][0].as_str().unwrap(), None).await;
    let mut socket = try_connect(&server, "/v1/ws", None).await.unwrap();
    let task = json!({ "input": chat(), "traceparent": context("01"), "tracestate": "congo=t61,rojo=1" });
    let ack = say(&mut socket, json!({ "op": "submit", "task": task })).await;
    belongs(&server, &upstream, ack["task"].as_str().unwrap(), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_trace_that_can_be_read_a_new_one_begins() {
    let upstream = Upstream::start(Script::tokens(2));
    let server = before(&upstream, "");
    for wrong in ["", "traceparent: 00-00000000000000000000000000000000-00f067aa0ba902b7-01\r\ntracestate: a=1\r\n"] {
        let (_, head, _) = ask(&server, "POST", "/v1/chat/completions", wrong, &chat().to_string()).await;
        let told = header(&head, "traceresponse").unwrap();
        let story = story(&server, header(&head, "tidewire-task").unwrap()).await;
        assert_eq!(story.get("parent_id"), None);
        let (trace, root) = (story["trace_id"].as_str().unwrap(), part(&story, "task")["id"].as_str().unwrap());
        assert_eq!(told, format!("00-{trace}-{root}-00"));
        let call = upstream.calls().pop().unwrap();
        // Nobody records it here, and nothing is decided for the upstream, which may trace by itself.
        assert_eq!((call.header("traceparent"), call.header("tracestate")), (None, None));
    }
    // A repeated submit in another span is the same request.
    let body = json!({ "input": chat(), "idempotency_key": "k", "traceparent": context("01") });
    let (first, _, _) = ask(&server, "POST", "/v1/tasks", "", &body.to_string()).await;
    let body = json!({ "input": chat(), "idempotency_key": "k", "traceparent": context("00").replace(CALLER, "00f067aa0ba902b8") });
    let (second, head, answer) = ask(&server, "POST", "/v1/tasks", "", &body.to_string()).await;
    assert_eq!((first, second), (202, 200), "{answer}");
    assert!(header(&head, "traceresponse").unwrap().ends_with("-01"), "the trace of the task that there is: {head}");
    // A child belongs to its parent's trace, below it.
    let parent = json!({ "input": chat(), "delay_ms": 60_000, "traceparent": context("01") });
    let (_, _, parent) = ask(&server, "POST", "/v1/tasks", "", &parent.to_string()).await;
    let parent: Value = serde_json::from_str(&parent).unwrap();
    let child = json!({ "input": chat(), "parent": parent["id"] }).to_string();
    let (status, _, child) = ask(&server, "POST", "/v1/tasks", "", &child).await;
    assert_eq!(status, 202, "{child}");
    let child: Value = serde_json::from_str(&child).unwrap();
    let (child, parent) = (child["id"].as_str().unwrap(), parent["id"].as_str().unwrap());
    let above = json_of(&server, &format!("/v1/tasks/{parent}/trace")).await;
    let below = json_of(&server, &format!("/v1/tasks/{child}/trace")).await;
    assert_eq!((&below["trace_id"], &below["parent_id"]), (&json!(TRACE), &part(&above, "task")["id"]));
    server.http().stop(parent).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_story_is_told_while_it_goes_on_and_the_command_draws_it() {
    let upstream = Upstream::start(Script::tokens(4).with(Fault::after(2, Break::Stall)));
    upstream.play_once(Script::failing(Fault::status(503)));
    let server = before(&upstream, "[worker]\nbackoff_ms = 20\n");
    let accepted = ask(&server, "POST", "/v1/tasks", "", &json!({ "input": chat() }).to_string()).await.2;
    let accepted: Value = serde_json::from_str(&accepted).unwrap();
    let task = accepted["id"].as_str().unwrap();
    upstream.wait_for_stall().await;
    // The two tokens are in the log shortly after they were sent.
    let mut shown = 0_u64;
    while shown < 5 {
        let path = format!("/v1/tasks/{task}/events?format=json&wait_ms=10000&after={}", shown.saturating_sub(1));
        shown = json_of(&server, &path).await["to"].as_u64().unwrap();
    }
    let story = json_of(&server, &format!("/v1/tasks/{task}/trace")).await;
    assert_eq!(story["state"], "running");
    let spans = story["spans"].as_array().unwrap();
    let outline: Vec<(&str, &str)> =
        spans.iter().map(|span| (span["part"].as_str().unwrap(), span["status"].as_str().unwrap())).collect();
    let running = [
        ("task", "open"),
        ("queue", "ok"),
        ("attempt", "error"),
        ("first_token", "error"),
        ("backoff", "ok"),
        ("attempt", "open"),
        ("first_token", "ok"),
        ("streaming", "open"),
    ];
    assert_eq!(outline, running, "{story:#}");
    assert_eq!(spans[2]["attributes"]["error.type"], "upstream_overloaded");
    assert_eq!(spans[5]["attributes"]["gen_ai.request.model"], "m");
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidewire"));
        let output = command.args(["task", "trace", task, "--url", &server.url]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let drawn = command(&[]);
    assert!(drawn.contains("chat m @ d") && drawn.contains('▶') && drawn.contains("upstream_overloaded"), "{drawn}");
    server.http().stop(task).await.unwrap();
    let ended: Value = serde_json::from_str(&command(&["--json"])).unwrap();
    assert_eq!((&ended["state"], &part(&ended, "streaming")["status"]), (&json!("stopped"), &json!("stopped")));
    let ids = |story: &Value| -> BTreeSet<String> {
        story["spans"].as_array().unwrap().iter().map(|span| span["id"].to_string()).collect()
    };
    assert_eq!(ids(&ended), ids(&story), "a span keeps its id");
    for span in ended["spans"].as_array().unwrap() {
        let (start, end) = (span["start_us"].as_u64().unwrap(), span["end_us"].as_u64().expect("nothing is open"));
        assert_eq!(span["duration_us"].as_u64(), Some(end - start), "{span}");
    }
}

/// The value of an attribute of a span, as OTLP has it.
fn attribute<'a>(span: &'a Value, name: &str) -> Option<&'a Value> {
    let all = span["attributes"].as_array().unwrap();
    all.iter().find(|attribute| attribute["key"] == name).map(|attribute| &attribute["value"])
}

fn roots(spans: &[Value]) -> usize {
    spans.iter().filter(|span| span["kind"] == 2).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_the_spans_of_sampled_traces_in_the_protocols_shape() {
    const PROMPT: &str = "canary in the prompt";
    let mut collector = Collector::start(1).await;
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("headers");
    std::fs::write(&file, "authorization=Bearer canary-collector\n").unwrap();
    let otlp = format!("[otlp]\nendpoint = \"{}/\"\nheaders_file = \"{}\"\n", collector.url, file.display());
    let mut server = Server::start(&[scripted(4), otlp].concat());
    let body = json!({ "model": "scripted", "messages": [{ "role": "user", "content": PROMPT }],
        "script": { "tokens": 3, "delay_ms": 0, "seed": "canaryword" } });
    let (_, head, answer) = ask(&server, "POST", "/v1/chat/completions", &headers("01"), &body.to_string()).await;
    assert!(answer.contains("canaryword"), "{answer}");
    let task = header(&head, "tidewire-task").unwrap().to_owned();
    // One that its caller did not sample is not exported, and one that began here is.
    ask(&server, "POST", "/v1/chat/completions", &headers("00"), &body.to_string()).await;
    let (_, own, _) = ask(&server, "POST", "/v1/chat/completions", "", &body.to_string()).await;
    assert!(header(&own, "traceresponse").unwrap().ends_with("-01"), "{own}");
    let story = story(&server, &task).await;
    collector.wait_for("two tasks", |spans| roots(spans) >= 2).await;
    let metrics = server.http().metrics().await.unwrap();
    assert!(metrics.contains("tidewire_otlp_tasks_dropped_total 0"), "{metrics}");
    assert_eq!(server.terminate(), Some(0), "what is left goes out with the end");
    let spans = collector.wait_for("two tasks", |spans| roots(spans) >= 2).await;
    assert_eq!(roots(&spans), 2, "the one that was not sampled was exported");
    let exports = collector.exports();
    for export in &exports {
        assert!(export.head.starts_with("post /v1/traces http/1.1"), "{}", export.head);
        assert!(export.head.contains("content-type: application/json"), "{}", export.head);
        assert!(export.head.contains("authorization: bearer canary-collector"), "{}", export.head);
        let resource = &export.body["resourceSpans"][0];
        let name = json!({ "key": "service.name", "value": { "stringValue": "tidewire" } });
        assert!(resource["resource"]["attributes"].as_array().unwrap().contains(&name), "{resource}");
        assert_eq!(resource["scopeSpans"][0]["scope"]["name"], "tidewire");
        let text = export.body.to_string();
        assert!(!text.contains(PROMPT) && !text.contains("canaryword"), "text that nobody asked for: {text}");
    }
    let of_task: Vec<&Value> = spans.iter().filter(|span| span["traceId"] == TRACE).collect();
    let told = story["spans"].as_array().unwrap();
    assert_eq!(of_task.len(), told.len(), "the same spans as the story's");
    for span in told {
        let sent = of_task.iter().find(|sent| sent["spanId"] == span["id"]).unwrap_or_else(|| panic!("no {span}"));
        let nanos = |name: &str| (span[name].as_u64().unwrap() * 1000).to_string();
        assert_eq!(sent["startTimeUnixNano"], nanos("start_us"), "a number of 64 bits is text in JSON");
        assert_eq!(sent["endTimeUnixNano"], nanos("end_us"));
        assert_eq!(sent["parentSpanId"], span["parent"]);
        assert_eq!((&sent["name"], &sent["flags"]), (&span["name"], &json!(1)));
        assert_eq!(sent["traceState"], "congo=t61,rojo=1");
        let kind = match span["part"].as_str().unwrap() {
            "task" => 2,
            "attempt" => 3,
            _ => 1,
        };
        assert_eq!((&sent["kind"], &sent["status"]["code"]), (&json!(kind), &json!(0)));
    }
    let attempt = of_task.iter().find(|span| span["kind"] == 3).unwrap();
    let told = part(&story, "attempt");
    let tokens = told["attributes"]["gen_ai.usage.output_tokens"].as_u64().unwrap();
    assert_eq!(attribute(attempt, "gen_ai.usage.output_tokens"), Some(&json!({ "intValue": tokens.to_string() })));
    assert_eq!(attribute(attempt, "gen_ai.operation.name"), Some(&json!({ "stringValue": "chat" })));
    assert_eq!(attribute(attempt, "gen_ai.provider.name"), Some(&json!({ "stringValue": "tidewire.scripted" })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_is_exported_only_on_request_and_a_collector_that_is_away_holds_up_nothing() {
    let mut collector = Collector::start(0).await;
    let otlp = format!("[otlp]\nendpoint = \"{}\"\ninclude_text = true\n", collector.url);
    let server = Server::start(&[scripted(4), otlp].concat());
    let body = json!({ "model": "scripted", "messages": [{ "role": "user", "content": "the question" }],
        "script": { "text": "the answer", "delay_ms": 0 } });
    ask(&server, "POST", "/v1/chat/completions", "", &body.to_string()).await;
    let spans = collector.wait_for("a task", |spans| roots(spans) == 1).await;
    let root = spans.iter().find(|span| span["kind"] == 2).unwrap();
    let text = |name: &str| attribute(root, name).unwrap()["stringValue"].as_str().unwrap().to_owned();
    assert!(text("gen_ai.input.messages").contains("the question"), "{root}");
    assert!(text("gen_ai.output.messages").contains("the answer"), "{root}");
    drop(server);

    // Nothing listens there: the port is held and never accepts.
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    drop(held);
    let otlp = format!("[otlp]\nendpoint = \"http://127.0.0.1:{port}\"\n");
    let mut server = Server::start(&[scripted(4), otlp].concat());
    for _ in 0..5 {
        let (status, _, answer) = ask(&server, "POST", "/v1/chat/completions", "", &body.to_string()).await;
        assert_eq!(status, 200, "{answer}");
    }
    let dropped = async {
        loop {
            let metrics = server.http().metrics().await.unwrap();
            if metrics.contains("tidewire_otlp_tasks_dropped_total 5") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, dropped).await.expect("what nobody takes is dropped, and counted");
    assert_eq!(server.terminate(), Some(0));
}
