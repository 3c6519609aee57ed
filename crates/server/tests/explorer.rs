//! Looking for tasks: by what is known of them, another tenant's as an operator, by lane, by batch.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use serde_json::{Value, json};
use support::keyed::{ADMIN, endless, make_key, make_tenant, short, start, with_key};
use support::{PATIENCE, Server, exchange, scripted};

/// What no operator reads.
const SECRET: &str = "words-of-acme";

async fn asked(server: &Server, key: &str, path: &str) -> (u16, Value) {
    with_key(server, key, "GET", path, &Value::Null).await
}

async fn get(server: &Server, key: &str, path: &str) -> Value {
    let (status, answer) = asked(server, key, path).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

async fn post(server: &Server, key: &str, path: &str, body: &Value) -> Value {
    let (status, answer) = with_key(server, key, "POST", path, body).await;
    assert!((200..300).contains(&status), "{path}: {answer}");
    answer
}

/// Submits a task and waits for its end: its id.
async fn done(server: &Server, key: &str, task: &Value) -> String {
    let id = post(server, key, "/v1/tasks", task).await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/tasks/{id}/text?wait_ms=60000");
    assert_eq!(asked(server, key, &path).await.0, 200);
    id
}

fn ids(list: &Value) -> Vec<&str> {
    list["tasks"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap()).collect()
}

/// A task that says this.
fn saying(words: &str) -> Value {
    let mut task = short();
    task["input"]["messages"][0]["content"] = json!(words);
    task
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_another_tenants_tasks_and_none_of_its_texts() {
    let (server, _secrets) = start("");
    make_tenant(&server, "acme").await;
    make_tenant(&server, "other").await;
    let scopes = ["tasks:write", "tasks:read"];
    let (_, acme) = make_key(&server, json!({ "tenant": "acme", "scopes": scopes })).await;
    let (_, other) = make_key(&server, json!({ "tenant": "other", "scopes": scopes })).await;
    let (_, operator) = make_key(&server, json!({ "role": "read-only" })).await;
    let mut task = saying(SECRET);
    task["metadata"] = json!({ "note": SECRET });
    let id = done(&server, &acme, &task).await;
    let mine = done(&server, &other, &short()).await;

    let seen = get(&server, &operator, "/v1/tasks?tenant=acme").await;
    assert_eq!((ids(&seen), &seen["tasks"][0]["tenant"]), (vec![id.as_str()], &json!("acme")), "{seen}");
    let all = get(&server, &operator, "/v1/tasks?tenant=all").await;
    assert_eq!(ids(&all), [mine.as_str(), id.as_str()]);
    assert_eq!(ids(&get(&server, &operator, &format!("/v1/tasks?tenant=all&q={id}")).await), [id.as_str()]);
    let one = get(&server, &operator, &format!("/v1/tasks/{id}?tenant=acme")).await;
    let story = get(&server, &operator, &format!("/v1/tasks/{id}/trace?tenant=acme")).await;
    assert_eq!((&one["state"], &story["task"]), (&json!("done"), &json!(id)));
    for said in [&seen, &all, &one, &story] {
        assert!(!said.to_string().contains(SECRET), "{said}");
    }
    for path in [format!("/v1/tasks/{id}?tenant=acme&input=true"), "/v1/tasks?tenant=acme&input=true".to_owned()] {
        assert_eq!(asked(&server, &operator, &path).await.0, 403, "{path}");
    }
    for path in ["events", "text"].map(|what| format!("/v1/tasks/{id}/{what}?tenant=acme")) {
        assert_eq!(asked(&server, &operator, &path).await.0, 404, "{path}");
    }
    let (status, error) = asked(&server, &operator, "/v1/tasks?tenant=nobody").await;
    assert_eq!((status, &error["error"]["code"]), (404, &json!("unknown_tenant")));

    // Somebody else learns nothing, not even which tenants there are.
    for tenant in ["acme", "nobody", "all"] {
        for path in ["/v1/tasks", "/v1/dead-letters", &format!("/v1/tasks/{id}"), &format!("/v1/tasks/{id}/trace")] {
            let (status, answer) = asked(&server, &other, &format!("{path}?tenant={tenant}")).await;
            assert_eq!((status, &answer["error"]["code"]), (403, &json!("forbidden")), "{path} of {tenant}");
        }
    }
    let own = get(&server, &acme, "/v1/tasks?tenant=acme").await;
    assert_eq!((ids(&own), &own["tasks"][0]["metadata"]["note"]), (vec![id.as_str()], &json!(SECRET)));
    assert_eq!(own["tasks"][0].get("tenant"), None, "one's own are not named");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_are_found_by_their_time_their_user_their_key_and_their_id() {
    let (server, _secrets) = start("");
    let scopes = json!(["tasks:write", "tasks:read", "tasks:stop", "users"]);
    let (key_id, key) = make_key(&server, json!({ "scopes": scopes })).await;
    let mut of_mo = short();
    of_mo["user"] = json!("mo");
    let first = done(&server, ADMIN, &short()).await;
    let second = done(&server, &key, &of_mo).await;
    let failing = json!({ "max_attempts": 1, "input": { "messages": [{ "role": "user", "content": "go" }],
        "script": { "tokens": 4, "delay_ms": 0, "fail_at": 2, "fail_attempts": 9, "key": "explorer" } } });
    let dead = done(&server, &key, &failing).await;
    let at = get(&server, &key, &format!("/v1/tasks/{second}")).await["submitted_at"].as_u64().unwrap();
    let found = async |query: &str| {
        let list = get(&server, &key, &format!("/v1/tasks?{query}")).await;
        ids(&list).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(found("user=mo").await, [second.as_str()]);
    assert_eq!(found(&format!("key={key_id}")).await, [dead.as_str(), second.as_str()]);
    assert_eq!(found(&format!("key={key_id}&state=failed")).await, [dead.as_str()]);
    assert_eq!(found(&format!("q={first}")).await, [first.as_str()]);
    assert_eq!(found(&format!("q={}", first[10..].to_uppercase())).await, [first.as_str()]);
    assert!(found(&format!("q={first}&user=mo")).await.is_empty(), "all of a filter must match");
    // Of one millisecond there may be several.
    assert!(found(&format!("since={at}")).await.contains(&second));
    assert!(!found(&format!("until={at}")).await.contains(&second));
    assert_eq!(found(&format!("until={}", at + 3_600_000)).await.len(), 3);
    assert!(found(&format!("since={}", at + 3_600_000)).await.is_empty());
    assert_eq!(asked(&server, &key, "/v1/tasks?key=mine").await.0, 400);

    let letters = async |query: &str| {
        let list = get(&server, &key, &format!("/v1/dead-letters?{query}")).await;
        ids(&list).len()
    };
    assert_eq!((letters(&format!("since={at}")).await, letters(&format!("until={at}")).await), (1, 0));
    let retried = async |body: Value| {
        let answer = post(&server, &key, "/v1/dead-letters/retry", &body).await;
        answer["retried"].as_array().unwrap().len()
    };
    assert_eq!(retried(json!({ "until": at })).await, 0);
    assert_eq!(retried(json!({ "since": at, "model": "scripted" })).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_are_listed_by_their_newest_task_with_how_they_began() {
    let server = Server::start(&scripted(4));
    let mut last = std::collections::HashMap::new();
    for (lane, words) in
        [("chat-a", "Why is the sea salty?"), ("chat-b", "Second"), ("run-c", "Third"), ("chat-a", "And the lakes?")]
    {
        let mut task = saying(words);
        task["lane"] = json!(lane);
        last.insert(lane, done(&server, "", &task).await);
    }
    done(&server, "", &saying("in no lane")).await;
    let list = get(&server, "", "/v1/lanes").await;
    let lanes = list["lanes"].as_array().unwrap();
    let names: Vec<&str> = lanes.iter().map(|lane| lane["lane"].as_str().unwrap()).collect();
    assert_eq!((names, list.get("next")), (vec!["chat-a", "run-c", "chat-b"], None));
    let first = &lanes[0];
    assert_eq!((&first["tasks"], &first["state"]), (&json!(2), &json!("done")));
    assert_eq!((&first["title"], &first["last_task"]), (&json!("Why is the sea salty?"), &json!(last["chat-a"])));

    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(&server, "", &format!("/v1/lanes?limit=1{cursor}")).await;
        paged.extend(page["lanes"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(&paged, lanes);
    let chats = get(&server, "", "/v1/lanes?prefix=chat-").await;
    assert_eq!(chats["lanes"].as_array().unwrap().len(), 2, "{chats}");

    let lane = get(&server, "", "/v1/tasks?lane=chat-a&input=true").await;
    let words: Vec<&Value> =
        lane["tasks"].as_array().unwrap().iter().map(|task| &task["input"]["messages"][0]["content"]).collect();
    assert_eq!(words, [&json!("And the lakes?"), &json!("Why is the sea salty?")]);
    assert_eq!(asked(&server, "", "/v1/tasks?lane=chat-a&input=true&limit=21").await.0, 400);
}

/// The list of lanes for one who has it with this tag: the status, the tag, and each lane's name and state.
async fn lanes_but(address: &str, tag: &str, query: &str) -> (u16, String, Vec<(String, String)>) {
    let request = format!(
        "GET /v1/lanes{query} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nif-none-match: {tag}\r\ncontent-length: 0\r\n\r\n"
    );
    let (status, headers, body) = exchange(address, &request).await.unwrap();
    let tag = headers.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap_or_default().to_owned();
    let list: Value = serde_json::from_str(&body).unwrap_or_default();
    let text = |lane: &Value, name: &str| lane[name].as_str().unwrap().to_owned();
    let lanes = list["lanes"].as_array().into_iter().flatten();
    (status, tag, lanes.map(|lane| (text(lane, "lane"), text(lane, "state"))).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_lanes_hears_of_what_is_taken_and_of_what_ends() {
    // Longer than the test may take: what is answered was told.
    const LONG: &str = "?wait_ms=300000";
    let mut server = Server::start(&scripted(4));
    let address = server.address().to_owned();
    let (status, nothing, lanes) = lanes_but(&address, "none", LONG).await;
    assert_eq!((status, lanes), (200, Vec::new()));
    let (status, same, _) = lanes_but(&address, &nothing, "").await;
    assert_eq!((status, &same), (304, &nothing));
    assert_eq!(lanes_but(&address, &nothing, "?wait_ms=1").await.0, 304);

    let waits = [LONG.to_owned(), format!("{LONG}&prefix=chat-")].map(|query| {
        let (address, tag) = (address.clone(), nothing.clone());
        tokio::spawn(async move { lanes_but(&address, &tag, &query).await })
    });
    let mut task = endless();
    task["lane"] = json!("chat-a");
    let id = post(&server, "", "/v1/tasks", &task).await["id"].as_str().unwrap().to_owned();
    let mut tag = String::new();
    for wait in waits {
        let (status, now, lanes) = wait.await.unwrap();
        assert_eq!((status, lanes.len(), lanes[0].0.as_str()), (200, 1, "chat-a"));
        tag = now;
    }
    post(&server, "", &format!("/v1/tasks/{id}/stop"), &Value::Null).await;
    loop {
        let (status, now, lanes) = lanes_but(&address, &tag, LONG).await;
        assert_eq!(status, 200);
        if lanes == [("chat-a".to_owned(), "stopped".to_owned())] {
            break tag = now;
        }
        tag = now;
    }

    // A server that drains keeps nobody waiting.
    let wait = tokio::spawn(async move { lanes_but(&address, &tag, LONG).await });
    let asked = async {
        while get(&server, "", "/v1/operations").await["server"]["connections"].as_u64().unwrap() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap();
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(wait.await.unwrap().0, 304);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_are_listed_newest_first_and_tell_what_waits_from_what_runs() {
    let server = Server::start(&scripted(1));
    let mut made = Vec::new();
    for count in 1..=3 {
        let tasks = vec![if count == 1 { endless() } else { short() }; count];
        made.push(post(&server, "", "/v1/tasks/batch", &json!({ "tasks": tasks })).await["id"].clone());
    }
    let pages = async |query: &str| {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = get(&server, "", &format!("/v1/tasks/batch?limit=2{query}{cursor}")).await;
            ids.extend(page["batches"].as_array().unwrap().iter().map(|batch| batch["id"].clone()));
            let Some(next) = page["next"].as_str() else { return ids };
            cursor = format!("&cursor={next}");
        }
    };
    assert_eq!(pages("").await, made);
    made.reverse();
    assert_eq!(pages("&order=desc").await, made);
    assert_eq!(asked(&server, "", "/v1/tasks/batch?order=newest").await.0, 400);
    let counts = async {
        loop {
            let list = get(&server, "", "/v1/tasks/batch?order=desc").await;
            let count = |place: usize, name: &str| list["batches"][place][name].as_u64().unwrap();
            let seen = [0, 1, 2].map(|place| (count(place, "queued"), count(place, "running")));
            if seen == [(3, 0), (2, 0), (0, 1)] {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, counts).await.expect("one runs, and five wait");
}
