//! Answers that are judged: shadow traffic, which runs a request once more for operators to compare, and feedback by those who
//! asked.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use serde_json::{Value, json};
use support::keyed::{ADMIN, make_key, make_tenant, start, with_key};
use support::{PATIENCE, Server, ask, script_text};

/// A route whose requests are all run once more on another one.
const SHADOWED: &str = "[[deployment]]\nname = \"other\"\nbackend = \"scripted\"\n\
    [[route]]\nname = \"chat\"\ndeployments = [\"scripted\"]\nshadow = { route = \"next\", share = 1.0 }\n\
    [[route]]\nname = \"next\"\ndeployments = [\"other\"]\n";

/// Asks as an operator in a tenant.
async fn operator(server: &Server, tenant: &str, path: &str) -> (u16, Value) {
    let headers = format!("authorization: Bearer {ADMIN}\r\ntidewire-tenant: {tenant}\r\n");
    let (status, _, body) = ask(server, "GET", path, &headers, "").await;
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

fn chat(tokens: u32) -> Value {
    json!({ "model": "chat", "max_attempts": 1, "input": { "messages": [{ "role": "user", "content": "go" }],
        "script": { "tokens": tokens, "delay_ms": 0 } } })
}

/// Runs a task to its end: its id.
async fn run(server: &Server, key: &str, task: &Value) -> String {
    let (status, accepted) = with_key(server, key, "POST", "/v1/tasks", task).await;
    assert_eq!(status, 202, "{accepted}");
    let id = accepted["id"].as_str().unwrap().to_owned();
    let (status, _) = with_key(server, key, "GET", &format!("/v1/tasks/{id}/text?wait_ms=60000"), &Value::Null).await;
    assert_eq!(status, 200);
    id
}

async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("it comes to be so")
}

/// The one shadow of a task, once it has ended.
async fn shadow(server: &Server, of: &str) -> Value {
    until(async || {
        let (status, list) = operator(server, "owner", &format!("/v1/tasks/{of}/shadows")).await;
        assert_eq!(status, 200, "{list}");
        let shadow = list["tasks"].as_array().unwrap().first()?.clone();
        (shadow["state"] == "done").then_some(shadow)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_run_once_more_for_operators_and_whoever_asked_neither_sees_nor_pays() {
    let (server, _secrets) = start(SHADOWED);
    make_tenant(&server, "owner").await;
    let limits = json!({ "requests_per_minute": 4 });
    let (_, key) = make_key(&server, json!({ "tenant": "owner", "user": "mo", "limits": limits })).await;
    // One that fails has no answer to compare with.
    let mut fails = chat(3);
    fails["input"]["script"]["fault"] = json!("invalid");
    let failed = run(&server, &key, &fails).await;
    let first = run(&server, &key, &chat(7)).await;
    let shadow = shadow(&server, &first).await;
    let id = shadow["id"].as_str().unwrap();
    assert_eq!(
        (&shadow["shadow_of"], &shadow["model"], &shadow["priority"]),
        (&json!(first), &json!("next"), &json!("bulk"))
    );
    assert_eq!((&shadow["end"]["deployment"], &shadow["end"]["usage"]["output_tokens"]), (&json!("other"), &json!(7)));
    assert_eq!(operator(&server, "owner", &format!("/v1/tasks/{id}/text")).await.1, json!(script_text("w", 7)));
    let (_, list) = operator(&server, "owner", "/v1/tasks?shadows=true").await;
    assert_eq!(list["tasks"].as_array().unwrap().len(), 1, "none of {failed}: {list}");

    // Whoever asked has two tasks, and no way to a third.
    let own = async |path: &str| with_key(&server, &key, "GET", path, &Value::Null).await;
    let (_, list) = own("/v1/tasks").await;
    assert!(list["tasks"].as_array().unwrap().len() == 2 && !list.to_string().contains(id), "{list}");
    assert_eq!(own(&format!("/v1/tasks/{id}")).await.0, 404);
    assert_eq!(own(&format!("/v1/tasks/{first}/shadows")).await.0, 403);
    assert_eq!(own("/v1/tasks?shadows=true").await.0, 403);
    assert!(!own(&format!("/v1/tasks/{first}")).await.1.to_string().contains(id));
    let (_, usage) = own("/v1/usage?group_by=route").await;
    assert_eq!((usage["rows"].as_array().unwrap().len(), &usage["rows"][0]["route"]), (1, &json!("chat")), "{usage}");
    // Its cost is apart from what was asked for.
    let (_, usage) = operator(&server, "owner", "/v1/usage?group_by=route").await;
    let rows = usage["rows"].as_array().unwrap();
    let apart = rows.iter().find(|row| row["route"] == "shadow:next").unwrap_or_else(|| panic!("{usage}"));
    assert_eq!((&apart["tasks"], &apart["output_tokens"]), (&json!(1), &json!(7)), "{usage}");
    // Two requests of four are used: two more pass, and no fifth.
    for expected in [202, 202, 429] {
        assert_eq!(with_key(&server, &key, "POST", "/v1/tasks", &chat(1)).await.0, expected);
    }
    let (_, _, metrics) = ask(&server, "GET", "/metrics", &format!("authorization: Bearer {ADMIN}\r\n"), "").await;
    assert!(metrics.contains("tidewire_shadows_total{route=\"chat\",outcome=\"done\"}"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_think_of_an_answer_is_kept_with_it() {
    let (server, _secrets) = start("");
    make_tenant(&server, "owner").await;
    let (id, ann) = make_key(&server, json!({ "tenant": "owner", "user": "ann" })).await;
    let (_, bob) = make_key(&server, json!({ "tenant": "owner", "user": "bob" })).await;
    let task = json!({ "input": { "messages": [{ "role": "user", "content": "go" }], "script": { "tokens": 2, "delay_ms": 0 } } });
    let task = run(&server, &ann, &task).await;
    let path = format!("/v1/tasks/{task}/feedback");
    let give = async |key: &str, body: Value| with_key(&server, key, "POST", &path, &body).await;
    let (status, given) = give(&ann, json!({ "score": "down", "comment": "wrong", "tags": ["facts"] })).await;
    assert_eq!(
        (status, &given["score"], &given["user"], &given["key"]),
        (201, &json!(-1.0), &json!("ann"), &json!(id)),
        "{given}"
    );
    assert_eq!(give(&ann, json!({ "score": 0.5 })).await.0, 201);
    assert_eq!(give(&bob, json!({ "score": "up" })).await.0, 404, "another user's answer");
    for wrong in [
        json!({}),
        json!({ "score": 2 }),
        json!({ "score": "fine" }),
        json!({ "score": 1, "stars": 5 }),
        json!({ "score": 1, "comment": "x".repeat(2001) }),
        json!({ "score": 1, "tags": [""] }),
    ] {
        let (status, answer) = give(&ann, wrong.clone()).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_request")), "{wrong}: {answer}");
    }
    let (_, list) = with_key(&server, &ann, "GET", &path, &Value::Null).await;
    let scores: Vec<_> =
        list["feedback"].as_array().unwrap().iter().map(|given| given["score"].as_f64().unwrap()).collect();
    assert_eq!(scores, [-1.0, 0.5]);
    let (_, view) = with_key(&server, &ann, "GET", &format!("/v1/tasks/{task}"), &Value::Null).await;
    assert_eq!(view["feedback"], json!({ "count": 2, "score": -0.25 }), "{view}");
    for _ in 2..20 {
        assert_eq!(give(&ann, json!({ "score": 0 })).await.0, 201);
    }
    assert_eq!(give(&ann, json!({ "score": 0 })).await.0, 400, "twenty are enough");
    let (_, _, metrics) = ask(&server, "GET", "/metrics", &format!("authorization: Bearer {ADMIN}\r\n"), "").await;
    for (score, count) in [("down", 1), ("up", 1), ("neutral", 18)] {
        let line = format!("tidewire_feedback_total{{route=\"scripted\",score=\"{score}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}
