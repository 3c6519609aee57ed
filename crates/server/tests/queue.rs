//! The queue over the real faces: lanes, families, priorities, schedules, delays and dead letters.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use serde_json::{Value, json};
use std::time::Duration;
use support::{PATIENCE, Server, ask, scripted, task};
use tidewire_client::{Filter, HttpError};
use tidewire_proto::http::RetryLetters;
use tidewire_proto::task::BudgetBody;
use tidewire_proto::{Submission, TaskView};

/// A quick server: retries come soon.
fn config(slots: usize) -> String {
    format!("{}\n[worker]\nbackoff_ms = 20\nbackoff_cap_ms = 40\n", scripted(slots))
}

/// Runs until it is stopped.
fn endless() -> Submission {
    task(json!({ "tokens": 100_000, "delay_ms": 20 }))
}

fn quick() -> Submission {
    task(json!({ "tokens": 3, "delay_ms": 1 }))
}

async fn submit(server: &Server, task: Submission) -> String {
    server.http().submit(&task).await.unwrap().id
}

/// Waits for a task's end.
async fn ended(server: &Server, id: &str) -> TaskView {
    let (http, mut view) = (server.http(), None);
    let wait = async {
        loop {
            let _ = http.text(id, Some(Duration::from_secs(5))).await.unwrap();
            let seen = http.task(id).await.unwrap();
            if seen.end.is_some() {
                view = Some(seen);
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the task ends");
    view.unwrap()
}

/// Waits until a task is in a state.
async fn until(server: &Server, id: &str, state: &str) {
    let reached = async {
        while server.http().task(id).await.unwrap().state != state {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.expect("the task gets there");
}

async fn events(server: &Server, id: &str) -> Vec<Value> {
    let (status, _, body) = ask(server, "GET", &format!("/v1/tasks/{id}/events"), "", "").await;
    assert_eq!(status, 200, "{body}");
    let page: Value = serde_json::from_str(&body).unwrap();
    page["events"].as_array().unwrap().clone()
}

/// When its first attempt began and when it ended.
async fn span(server: &Server, id: &str) -> (u64, u64) {
    let events = events(server, id).await;
    let at = |kind: &str| events.iter().find(|event| event["type"] == kind).unwrap()["at"].as_u64().unwrap();
    (at("started"), at("end"))
}

fn code(error: &HttpError) -> &str {
    match error {
        HttpError::Refused { error, .. } => &error.code,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_keeps_its_order_while_its_tasks_are_retried() {
    let server = Server::start(&config(4));
    let mut lane = Vec::new();
    for number in 0..5 {
        let script =
            json!({ "tokens": 4, "delay_ms": 2, "fail_at": 2, "fail_attempts": 2, "key": format!("t{number}") });
        lane.push(submit(&server, Submission { lane: Some("chat".into()), ..task(script) }).await);
    }
    let mut before = 0;
    for id in &lane {
        let view = ended(&server, id).await;
        assert_eq!((view.state.as_str(), view.attempts), ("done", 3));
        let (started, ended) = span(&server, id).await;
        assert!(started >= before, "it began while the one before it had not ended");
        before = ended;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_steers_stops_the_running_one_and_reads_what_it_said() {
    let server = Server::start(&config(4));
    let session = server.session().await;
    let laned = |task: Submission, on_busy: &str| Submission {
        lane: Some("chat".into()),
        on_busy: Some(on_busy.into()),
        ..task
    };
    let mut running = session.submit(laned(endless(), "queue")).await.unwrap();
    let waits = submit(&server, laned(quick(), "queue")).await;
    let some_text = async {
        loop {
            let batch = running.log.next().await.unwrap().unwrap();
            if batch.events().unwrap().iter().any(|event| event.kind == "text") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, some_text).await.expect("text comes");
    let steers = submit(&server, laned(quick(), "steer")).await;
    let first = ended(&server, &running.ack.task).await;
    assert_eq!(first.state, "stopped");
    let said = server.http().text(&running.ack.task, None).await.unwrap().split_whitespace().count() as u64;
    let second = ended(&server, &steers).await;
    assert_eq!(second.state, "done");
    // The scripted model counts the words that it was given: "go", what was said, and "go".
    assert_eq!(second.end.unwrap()["usage"]["input_tokens"], 2 + said);
    ended(&server, &waits).await;
    assert!(span(&server, &waits).await.0 >= span(&server, &steers).await.1, "it went before the one that waited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_replaces_stops_all_that_were_before_it() {
    let server = Server::start(&config(4));
    let laned = |task: Submission| Submission { lane: Some("search".into()), ..task };
    let mut earlier = vec![submit(&server, laned(endless())).await];
    until(&server, &earlier[0], "running").await;
    for _ in 0..2 {
        earlier.push(submit(&server, laned(quick())).await);
    }
    let last = submit(&server, Submission { on_busy: Some("replace".into()), ..laned(quick()) }).await;
    assert_eq!(ended(&server, &last).await.state, "done");
    for id in &earlier {
        assert_eq!(ended(&server, id).await.state, "stopped");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_parent_leaves_no_running_child() {
    let server = Server::start(&config(4));
    let of = |parent: &str| Submission { parent: Some(parent.into()), ..endless() };
    let parent = submit(&server, endless()).await;
    let child = submit(&server, of(&parent)).await;
    let mut family = vec![parent.clone(), child.clone()];
    for above in [&parent, &child, &child, &parent] {
        family.push(submit(&server, of(above)).await);
    }
    until(&server, &child, "running").await;
    server.http().stop(&parent).await.unwrap();
    for id in &family {
        assert_eq!(ended(&server, id).await.state, "stopped");
    }
    let live = Filter { state: Some("queued,running".into()), ..Filter::default() };
    assert!(server.http().tasks(&live).await.unwrap().tasks.is_empty());
    let late = server.http().submit(&of(&parent)).await.unwrap_err();
    assert_eq!(code(&late), "parent_ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_parent_stops_its_children_too() {
    let server = Server::start(&config(4));
    let script = json!({ "tokens": 50, "delay_ms": 10, "fail_at": 20, "fault": "invalid" });
    let parent = submit(&server, task(script)).await;
    let child = submit(&server, Submission { parent: Some(parent.clone()), ..endless() }).await;
    assert_eq!(ended(&server, &parent).await.state, "failed");
    assert_eq!(ended(&server, &child).await.state, "stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_stays_within_its_budget_and_its_depth() {
    let server = Server::start(&config(8));
    let budget = BudgetBody { steps: Some(9), tokens: Some(12), time_ms: Some(30_000) };
    let root = submit(&server, Submission { budget: Some(budget), ..endless() }).await;
    let of = |parent: &str| Submission { parent: Some(parent.into()), ..quick() };
    let mut deepest = root.clone();
    for _ in 0..8 {
        let child = server.http().submit(&of(&deepest)).await;
        match child {
            Ok(child) => deepest = child.id,
            // A quick one may have ended before its child came.
            Err(error) => assert!(matches!(code(&error), "parent_ended" | "budget_spent"), "{error}"),
        }
    }
    // Each quick task reads one word and writes three: the fourth of them finds the tokens spent.
    let spent = async {
        loop {
            match server.http().submit(&of(&root)).await {
                Ok(child) => drop(ended(&server, &child.id).await),
                Err(error) => return code(&error).to_owned(),
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, spent).await.unwrap(), "budget_spent");
    let view = server.http().task(&root).await.unwrap();
    assert!(view.spent.unwrap().tokens >= 12 && view.spent.unwrap().steps <= 9, "{:?}", view.spent);
    assert!(view.deadline <= view.submitted_at + 30_000, "the budget's time is the deadline of all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_family_stands_eight_levels_deep_and_no_deeper() {
    let server = Server::start(&config(16));
    let mut deepest = submit(&server, endless()).await;
    for _ in 0..8 {
        deepest = submit(&server, Submission { parent: Some(deepest), ..endless() }).await;
    }
    let deeper = server.http().submit(&Submission { parent: Some(deepest), ..endless() }).await.unwrap_err();
    assert_eq!(code(&deeper), "too_deep");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn priorities_lanes_and_schedules_hold_over_a_kill() {
    let mut server = Server::start(&config(1));
    let blocker = submit(&server, endless()).await;
    until(&server, &blocker, "running").await;
    let with = |priority: &str| Submission { priority: Some(priority.into()), ..quick() };
    let bulk = submit(&server, with("bulk")).await;
    let mut lane = Vec::new();
    for _ in 0..3 {
        lane.push(submit(&server, Submission { lane: Some("l".into()), ..quick() }).await);
    }
    let pressing = submit(&server, with("interactive")).await;
    let later = submit(&server, Submission { delay_ms: Some(1500), ..with("interactive") }).await;
    let placed = server.http().task(&bulk).await.unwrap();
    assert_eq!(placed.place, Some(2), "the lane's first and the pressing one go before it: {placed:?}");
    server.kill();
    server.restart();
    server.http().stop(&blocker).await.unwrap();
    let mut ends = Vec::new();
    for id in [&pressing, &lane[0], &bulk] {
        assert_eq!(ended(&server, id).await.state, "done");
        ends.push(span(&server, id).await.1);
    }
    assert!(ends.is_sorted(), "{ends:?}");
    let mut before = 0;
    for id in &lane {
        ended(&server, id).await;
        let (started, ended) = span(&server, id).await;
        assert!(started >= before);
        before = ended;
    }
    let view = ended(&server, &later).await;
    assert!(span(&server, &later).await.0 >= view.start_at.unwrap(), "it began before its moment");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_outgrows_its_estimate_is_told_in_the_log_and_places_as_they_change() {
    let server = Server::start(&config(1));
    let unknown = submit(&server, quick()).await;
    ended(&server, &unknown).await;
    let blocker = submit(&server, endless()).await;
    until(&server, &blocker, "running").await;
    let first = submit(&server, quick()).await;
    let accepted = server.http().submit(&quick()).await.unwrap();
    assert_eq!(accepted.place, Some(1));
    assert!(accepted.wait_ms.is_some(), "a run has ended, so that there is an estimate");
    let mut log = server.session().await.follow(&accepted.log, None).await.unwrap();
    let delayed = async {
        let batch = log.next().await.unwrap().unwrap();
        let events = batch.events().unwrap();
        (events[0].kind.to_string(), events[0].offset)
    };
    assert_eq!(tokio::time::timeout(PATIENCE, delayed).await.unwrap(), ("delayed".to_owned(), 0));
    let path = format!("/v1/tasks/{}/events?format=sse", accepted.id);
    let stream = ask(&server, "GET", &path, "", "");
    let stops = async {
        server.http().stop(&first).await.unwrap();
        server.http().stop(&blocker).await.unwrap();
    };
    let ((status, _, body), ()) = tokio::join!(stream, stops);
    assert_eq!(status, 200);
    assert!(body.contains("event: waiting\ndata: {\"place\":1"), "{body}");
    assert!(body.contains("event: delayed") && body.contains("event: end"), "{body}");
    assert_eq!(ended(&server, &accepted.id).await.state, "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_done_in_time_is_refused_with_retry_after() {
    let server = Server::start(&config(1));
    let slow = || task(json!({ "tokens": 2, "delay_ms": 150 }));
    ended(&server, &submit(&server, slow()).await).await;
    for _ in 0..20 {
        submit(&server, slow()).await;
    }
    let hurried = serde_json::to_string(&Submission { deadline_ms: Some(500), ..slow() }).unwrap();
    let (status, head, body) = ask(&server, "POST", "/v1/tasks", "", &hurried).await;
    assert_eq!(status, 429, "{body}");
    assert!(body.contains("wait_too_long") && head.contains("retry-after: "), "{head}\n{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_with_their_reason_and_retried_once_each() {
    let server = Server::start(&config(4));
    let http = server.http();
    let failing = |key: &str, fault: &str| {
        let script =
            json!({ "tokens": 3, "delay_ms": 1, "fail_at": 1, "fault": fault, "fail_attempts": 1, "key": key });
        Submission { max_attempts: Some(1), ..task(script) }
    };
    let mut dead = Vec::new();
    for (key, fault) in [("a", "broken"), ("b", "broken"), ("c", "invalid")] {
        dead.push(submit(&server, failing(key, fault)).await);
        assert_eq!(ended(&server, dead.last().unwrap()).await.state, "failed");
    }
    let alive = submit(&server, quick()).await;
    ended(&server, &alive).await;
    let letters = http.dead_letters(&Filter::default()).await.unwrap().tasks;
    assert_eq!(letters.iter().map(|task| &task.id).collect::<Vec<_>>(), [&dead[2], &dead[1], &dead[0]]);
    assert_eq!(letters[0].end.as_ref().unwrap()["error"]["code"], "invalid_input");
    let shown = http.task_with_input(&dead[0]).await.unwrap();
    assert!(shown.input.unwrap().get().contains("\"messages\""));

    let first = http.retry(&dead[2]).await.unwrap().id;
    assert_eq!(http.retry(&dead[2]).await.unwrap().id, first, "asked twice, tried again once");
    assert_eq!(ended(&server, &first).await.state, "done");
    let broken = RetryLetters { code: Some("upstream_broken".into()), ..RetryLetters::default() };
    let retried = http.retry_letters(&broken).await.unwrap();
    assert_eq!((retried.retried.len(), retried.refused.len(), retried.more), (2, 0, false));
    for retried in &retried.retried {
        assert_eq!(ended(&server, &retried.retried_as).await.retry_of.as_ref(), Some(&retried.task));
    }
    assert!(http.dead_letters(&Filter::default()).await.unwrap().tasks.is_empty());
    assert_eq!(code(&http.retry(&alive).await.unwrap_err()), "not_dead_letter");
    let named = RetryLetters { tasks: vec![alive.clone(), "task_nonsense".into()], ..RetryLetters::default() };
    let refused = http.retry_letters(&named).await.unwrap().refused;
    assert_eq!(
        refused.iter().map(|refused| refused.error.code.as_str()).collect::<Vec<_>>(),
        ["unknown_task", "not_dead_letter"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_goes_to_the_deployment_that_has_what_it_needs() {
    let two = ["us", "eu"].map(|region| {
        format!("[[deployment]]\nname = \"m-{region}\"\nserves = \"m\"\nhas = [\"{region}\"]\nbackend = \"scripted\"\n")
    });
    let server = Server::start(&two.concat());
    let needs = |need: &str| Submission { needs: Some(vec![need.into()]), model: Some("m".into()), ..quick() };
    let id = submit(&server, needs("eu")).await;
    assert_eq!(ended(&server, &id).await.needs, ["eu"]);
    let unmet = server.http().submit(&needs("gpu")).await.unwrap_err();
    assert_eq!(code(&unmet), "needs_unmet");
    assert!(unmet.to_string().contains("`eu`, `us`"), "{unmet}");
}
