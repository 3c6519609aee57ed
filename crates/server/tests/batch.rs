//! Batches over the real faces: progress, stop and retry for the whole or a part, and a crash in the middle.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use serde_json::{Map, Value, json};
use std::collections::HashSet;
use support::{PATIENCE, Server, ask, scripted};
use tidewire_client::{Filter, HttpError};
use tidewire_proto::batch::{BatchPart, BatchSubmission, BatchView};

fn fields(script: &Value) -> Map<String, Value> {
    let input = json!({ "messages": [{ "role": "user", "content": "go" }], "script": script });
    Map::from_iter([("input".to_owned(), input)])
}

fn batch(scripts: impl IntoIterator<Item = Value>) -> BatchSubmission {
    let tasks = scripts.into_iter().map(|script| fields(&script)).collect();
    let defaults = Map::from_iter([("priority".to_owned(), "bulk".into())]);
    BatchSubmission { tasks, defaults: Some(defaults), ..BatchSubmission::default() }
}

fn quick(_: usize) -> Value {
    json!({ "tokens": 3, "delay_ms": 2 })
}

/// Reads a batch's log to its end, over as many pages as it takes: offset, type and data of each event.
async fn log(server: &Server, id: &str) -> Vec<(u64, String, Value)> {
    let mut events: Vec<(u64, String, Value)> = Vec::new();
    let read = async {
        loop {
            let after = events.last().map_or_else(String::new, |(offset, ..)| format!("&after={offset}"));
            let path = format!("/v1/tasks/batch/{id}/events?wait_ms=5000{after}");
            let (status, _, body) = ask(server, "GET", &path, "", "").await;
            assert_eq!(status, 200, "{body}");
            let page: Value = serde_json::from_str(&body).unwrap();
            for event in page["events"].as_array().unwrap() {
                let kind = event["type"].as_str().unwrap().to_owned();
                events.push((event["offset"].as_u64().unwrap(), kind, event["data"].clone()));
            }
            if page["ended"] == true {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the batch ends");
    events
}

/// The log is whole: dense, its tasks once each, and it counts right. Its end.
fn check(events: &[(u64, String, Value)], tasks: &[String]) -> Value {
    let offsets: Vec<u64> = events.iter().map(|(offset, ..)| *offset).collect();
    assert_eq!(offsets, (0..tasks.len() as u64 + 2).collect::<Vec<_>>());
    assert_eq!((events[0].1.as_str(), &events[0].2["tasks"]), ("batch", &json!(tasks)));
    let mut seen = HashSet::new();
    let mut counts = [0u64; 3];
    for (_, kind, data) in &events[1..=tasks.len()] {
        assert_eq!(kind, "progress");
        let index = usize::try_from(data["index"].as_u64().unwrap()).unwrap();
        assert_eq!(data["task"], tasks[index]);
        assert!(seen.insert(index), "task {index} was reported twice");
        let place = ["done", "failed", "stopped"].iter().position(|state| data["state"] == *state).unwrap();
        counts[place] += 1;
        assert_eq!([&data["done"], &data["failed"], &data["stopped"]], counts.map(Value::from).each_ref());
        assert_eq!(data["total"], tasks.len());
    }
    let (_, kind, end) = events.last().unwrap();
    assert_eq!(kind, "end");
    end.clone()
}

fn counts(view: &BatchView) -> (&str, u64, u64, u64, u64) {
    (&view.state, view.done, view.failed, view.stopped, view.live)
}

fn code(error: &HttpError) -> &str {
    match error {
        HttpError::Refused { error, .. } => &error.code,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_tasks_report_into_one_log_and_the_failed_ones_are_tried_again() {
    let server = Server::start(&scripted(8));
    let http = server.http();
    let script = |number: usize| match number % 10 {
        9 => json!({ "tokens": 3, "delay_ms": 1, "fail_at": 1, "fail_attempts": 1, "key": format!("k{number}") }),
        _ => quick(number),
    };
    let mut fifty = batch((0..50).map(script));
    fifty.defaults.as_mut().unwrap().insert("max_attempts".to_owned(), 1.into());
    let accepted = http.submit_batch(&fifty).await.unwrap();
    let end = check(&log(&server, &accepted.id).await, &accepted.tasks);
    assert_eq!((&end["state"], &end["error"]["code"]), (&json!("failed"), &json!("batch_incomplete")));
    assert_eq!(end["usage"]["output_tokens"], 45 * 3 + 5, "the tokens of all, the failed ones' too");
    let view = http.batch(&accepted.id).await.unwrap();
    assert_eq!(counts(&view), ("failed", 45, 5, 0, 0));
    let members = Filter { batch: Some(accepted.id.clone()), state: Some("failed".into()), ..Filter::default() };
    assert_eq!(http.tasks(&members).await.unwrap().tasks.len(), 5);

    let one = BatchPart { tasks: vec![accepted.tasks[9].clone()] };
    let again = http.retry_batch(&accepted.id, &one).await.unwrap();
    assert_eq!(again.tasks.len(), 1);
    let rest = http.retry_batch(&accepted.id, &BatchPart::default()).await.unwrap();
    assert_eq!(rest.tasks.len(), 4, "the fifth is tried again already");
    let end = check(&log(&server, &rest.id).await, &rest.tasks);
    assert_eq!(end["state"], "done");
    assert_eq!(http.batch(&rest.id).await.unwrap().retry_of, Some(accepted.id.clone()));
    let none = http.retry_batch(&accepted.id, &BatchPart::default()).await.unwrap_err();
    assert_eq!(code(&none), "not_dead_letter");
    let all: Vec<String> = http.batches(None, None).await.unwrap().batches.into_iter().map(|batch| batch.id).collect();
    assert_eq!(all, [accepted.id, again.id, rest.id], "oldest first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_stopped_in_part_and_then_as_a_whole() {
    let server = Server::start(&scripted(4));
    let http = server.http();
    let endless = |_| json!({ "tokens": 100_000, "delay_ms": 20 });
    let accepted = http.submit_batch(&batch((0..12).map(endless))).await.unwrap();
    let part = BatchPart { tasks: vec![accepted.tasks[0].clone(), accepted.tasks[11].clone()] };
    http.stop_batch(&accepted.id, &part).await.unwrap();
    let stopped = async {
        while http.batch(&accepted.id).await.unwrap().stopped < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, stopped).await.expect("two of them stop");
    assert_eq!(http.batch(&accepted.id).await.unwrap().state, "running");
    http.stop_batch(&accepted.id, &BatchPart::default()).await.unwrap();
    let end = check(&log(&server, &accepted.id).await, &accepted.tasks);
    assert_eq!(end["state"], "stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_goes_on_over_kills_and_reports_each_task_once() {
    let mut server = Server::start(&scripted(6));
    let slow = |_| json!({ "tokens": 10, "delay_ms": 10 });
    let accepted = server.http().submit_batch(&batch((0..40).map(slow))).await.unwrap();
    for part in [5, 15] {
        let half_way = async {
            loop {
                let view = server.http().batch(&accepted.id).await.unwrap();
                if view.done + view.failed >= part {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, half_way).await.expect("it comes this far");
        server.kill();
        server.restart();
    }
    let end = check(&log(&server, &accepted.id).await, &accepted.tasks);
    assert_eq!(end["state"], "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_is_one_batch_also_over_a_kill() {
    let mut server = Server::start(&scripted(6));
    let keyed = |count| BatchSubmission { idempotency_key: Some("contracts".into()), ..batch((0..count).map(quick)) };
    let first = server.http().submit_batch(&keyed(7)).await.unwrap();
    server.kill();
    server.restart();
    let second = server.http().submit_batch(&keyed(7)).await.unwrap();
    assert_eq!((&second.id, &second.tasks), (&first.id, &first.tasks));
    let other = server.http().submit_batch(&keyed(8)).await.unwrap_err();
    assert_eq!(code(&other), "idempotency_conflict");
    let end = check(&log(&server, &first.id).await, &first.tasks);
    assert_eq!(end["state"], "done");
    assert_eq!(server.http().tasks(&Filter { limit: Some(100), ..Filter::default() }).await.unwrap().tasks.len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_task_refuses_the_whole_batch_and_is_named() {
    let server = Server::start(&format!("{}\n[queue]\nwaiting = 5\n", scripted(1)));
    let http = server.http();
    let mut wrong = batch((0..3).map(quick));
    wrong.tasks[1] = Map::from_iter([("promt".to_owned(), "hi".into())]);
    let refused = http.submit_batch(&wrong).await.unwrap_err();
    assert_eq!(code(&refused), "invalid_request");
    assert!(refused.to_string().contains("tasks[1]") && refused.to_string().contains("`prompt`"), "{refused}");
    assert_eq!(code(&http.submit_batch(&batch([])).await.unwrap_err()), "invalid_request");
    assert_eq!(code(&http.submit_batch(&batch((0..6).map(quick))).await.unwrap_err()), "queue_full");
    assert_eq!(code(&http.batch("log_nonsense").await.unwrap_err()), "unknown_batch");
    assert!(http.tasks(&Filter::default()).await.unwrap().tasks.is_empty(), "nothing of them was kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_has_ended_is_nothing_that_the_check_of_the_data_complains_of() {
    let mut server = Server::start(&scripted(4));
    let accepted = server.http().submit_batch(&batch((0..3).map(quick))).await.unwrap();
    check(&log(&server, &accepted.id).await, &accepted.tasks);
    assert_eq!(server.terminate(), Some(0));
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_tidewire"))
        .args(["data", "check", "--data"])
        .arg(server.dir.path().join("data"))
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
