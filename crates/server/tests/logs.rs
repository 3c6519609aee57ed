//! The server's own log as JSON: what it says of a request and a task names them, and tells nothing of what is said in them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]

mod support;

use serde_json::{Value, json};
use support::{PATIENCE, Server, ask};
use tidewire_testkit::upstream::{Fault, Script, Upstream};

const PROMPT: &str = "quagga-in-the-prompt";
const ANSWER: &str = "quagga-in-the-answer";
const KEY: &str = "sk-quagga-key";

/// A server that logs all that it can, as JSON, into a file.
fn start(upstream: &Upstream) -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, KEY).unwrap();
    let config = format!(
        "[log]\nformat = \"json\"\n[worker]\nbackoff_ms = 1\n[[deployment]]\nname = \"d\"\nbackend = \"openai\"\n\
         model = \"m\"\nurl = \"{}\"\nkey_file = \"{}\"\n",
        upstream.url(),
        key.display()
    );
    // A shell puts stderr into the file, and becomes the server.
    let log = dir.path().join("log").display().to_string();
    let shell = format!("exec \"$@\" 2>'{log}'");
    let wrapper = ["sh", "-c", &shell, "sh", "env", "TIDEWIRE_LOG__FILTER=trace"];
    (Server::start_under(&config, &wrapper), dir)
}

/// Lines of which the innermost or an outer span has this value under this name.
fn in_scope<'a>(lines: &'a [Value], name: &str, value: &str) -> Vec<&'a Value> {
    let of = |line: &&Value| line["spans"].as_array().is_some_and(|spans| spans.iter().any(|span| span[name] == value));
    lines.iter().filter(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_the_log_names_its_request_and_its_task_and_nothing_that_is_said() {
    let upstream = Upstream::start(Script::tokens(3));
    upstream.play_once(Script::failing(Fault::status(503)));
    let (mut server, dir) = start(&upstream);
    let input = json!({ "messages": [{ "role": "user", "content": PROMPT }], "metadata": { "q": ANSWER } });
    let body = json!({ "input": input, "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" });
    let (status, head, answer) =
        ask(&server, "POST", "/v1/tasks", "x-request-id: mine-17\r\n", &body.to_string()).await;
    assert_eq!(status, 202, "{answer}");
    assert!(head.contains("x-request-id: mine-17"), "{head}");
    let task = serde_json::from_str::<Value>(&answer).unwrap()["id"].as_str().unwrap().to_owned();
    server.http().text(&task, Some(PATIENCE)).await.unwrap();
    // One that could forge a line, and one that is too long, get a name made here.
    for wrong in ["a\" b", &"x".repeat(129)] {
        let (_, head, _) = ask(&server, "GET", "/v1/tasks", &format!("x-request-id: {wrong}\r\n"), "").await;
        let made = head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
        assert!(made.len() == 32 && made.bytes().all(|digit| digit.is_ascii_hexdigit()), "{made}");
    }
    assert_eq!(server.terminate(), Some(0));
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect();
    let of_request = in_scope(&lines, "request_id", "mine-17");
    let answered = of_request.iter().find(|line| line["fields"]["message"] == "answered");
    let answered = answered.unwrap_or_else(|| panic!("no line of the request in {log:.3000}"));
    assert_eq!(answered["span"]["task"], task.as_str(), "the request that made a task names it: {answered}");
    let of_task = in_scope(&lines, "task", &task);
    let retried =
        of_task.iter().find(|line| line["fields"]["message"].as_str().unwrap_or_default().contains("another follows"));
    assert!(retried.is_some(), "what the worker says names the task: {of_task:?}");
    assert!(!log.contains("quagga"), "{:?}", log.lines().find(|line| line.contains("quagga")));
}
