//! The table: every endpoint of the server, and every op of the WebSocket, asked by one tenant for what is another's.
//!
//! The endpoints come from the list that also makes the router. A new one fails here until it has its row: say in
//! [`row`] what a stranger gets who names another tenant's ids there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use serde_json::{Value, json};
use support::keyed::{ADMIN, connect, endless, make_key, make_tenant, say, short, start, with_key};
use support::{Server, ask};

/// What one tenant has, and the key that another one asks for it with.
struct World {
    server: Server,
    owner: String,
    stranger: String,
    running: String,
    done: String,
    failed: String,
    batch: String,
    file: String,
    response: String,
    openai_batch: String,
}

/// What a stranger gets.
enum Row {
    /// There is nothing of a tenant's in it.
    Public,
    /// Only operators get anything: 403.
    Operators,
    /// What is asked for is not there: 404.
    Unknown(Value),
    /// A list, at this place of the answer, without anything in it.
    Empty(&'static str),
    /// The same, where the owner may have nothing in it either, yet.
    MaybeEmpty(&'static str),
    /// Something of the stranger's own, with this status; [`after`] looks whether anything of the owner's changed.
    Own(u16, Value),
    /// A case of its own below.
    Elsewhere,
}

#[allow(clippy::too_many_lines, clippy::match_same_arms, reason = "a table")]
fn row(method: &str, path: &str) -> Option<Row> {
    use Row::{Elsewhere, Empty, MaybeEmpty, Operators, Own, Public, Unknown};
    let nothing = Value::Null;
    Some(match (method, path) {
        (
            "GET",
            "/" | "/assets/{file}" | "/theme.js" | "/icon.svg" | "/page.css" | "/page.js" | "/prose.js" | "/wire.js"
            | "/healthz" | "/readyz",
        ) => Public,
        ("GET", "/v1/models" | "/v1/models/{*name}") => Public,
        ("POST" | "DELETE" | "GET", "/v1/session") => Public,
        ("GET", "/v1/session/ways" | "/v1/session/oidc" | "/v1/session/oidc/callback") => Public,
        (_, path) if path.starts_with("/v1/admin/") => Operators,
        ("GET", "/metrics" | "/v1/routes" | "/v1/operations") | ("POST", "/v1/backup") => Operators,
        ("GET", "/v1/ws" | "/v1/ai-sdk/ws" | "/v1/centrifuge") => Elsewhere,
        ("POST", "/v1/tickets") => Own(200, nothing),
        ("POST", "/v1/chat/completions") => Elsewhere,
        // The owner's chat, whose name is one of the stranger's own here. The stranger's is over when it has been answered.
        ("POST", "/v1/ai-sdk/chat") => Own(
            200,
            json!({ "id": "chat", "script": { "tokens": 1 },
                "messages": [{ "role": "user", "parts": [{ "type": "text", "text": "go" }] }] }),
        ),
        ("POST", "/v1/ag-ui") => Own(
            200,
            json!({ "threadId": "chat", "runId": "once", "messages": [{ "id": "1", "role": "user", "content": "go" }],
                "forwardedProps": { "script": { "tokens": 1 } } }),
        ),
        ("GET", "/v1/ai-sdk/chat/{chat}/stream") => Own(204, nothing),
        ("POST", "/v1/ai-sdk/chat/{chat}/stop") => Own(200, nothing),
        // A response of the owner's to go on from is a case of its own below.
        ("POST", "/v1/responses") => Own(200, json!({ "model": "scripted", "input": "go", "script": { "tokens": 1 } })),
        ("GET", "/v1/responses/{id}" | "/v1/responses/{id}/input_items") => Unknown(nothing),
        ("DELETE", "/v1/responses/{id}") | ("POST", "/v1/responses/{id}/cancel") => Unknown(nothing),
        // A file of the owner's is a case of its own below.
        ("POST", "/v1/batches" | "/v1/messages") => Elsewhere,
        ("POST", "/v1/messages/count_tokens") => {
            Own(200, json!({ "model": "scripted", "messages": [{ "role": "user", "content": "go" }] }))
        }
        ("GET", "/v1/batches") => Empty("/data"),
        ("GET", "/v1/batches/{id}") | ("POST", "/v1/batches/{id}/cancel") => Unknown(nothing),
        // Nothing is kept of it, and nothing named in it.
        ("POST", "/v1/embeddings") => Public,
        // Figures without a name of anything.
        ("POST", "/v1/measures") => Own(204, json!({ "measures": [{ "name": "ttft", "ms": 1 }] })),
        // In tests/follow.rs: the refusal is a frame.
        ("POST", "/v1/follow") => Elsewhere,
        ("GET", "/v1/usage") => MaybeEmpty("/rows"),

        // The owner's idempotency key and lane, which are names of the stranger's own here.
        ("POST", "/v1/tasks") => {
            let mut task = short();
            (task["idempotency_key"], task["lane"], task["on_busy"]) = (json!("once"), json!("chat"), json!("replace"));
            Own(202, task)
        }
        ("GET", "/v1/tasks") => Empty("/tasks"),
        ("GET", "/v1/lanes") => Empty("/lanes"),
        ("GET", "/v1/dead-letters") => Empty("/tasks"),
        ("GET", "/v1/tasks/batch") => Empty("/batches"),
        ("POST", "/v1/tasks/batch") => Own(202, json!({ "tasks": [short()], "idempotency_key": "batch once" })),
        ("GET", "/v1/tasks/{id}" | "/v1/tasks/{id}/events" | "/v1/tasks/{id}/text" | "/v1/tasks/{id}/trace") => {
            Unknown(nothing)
        }
        ("GET", "/v1/public/{id}") => Public,
        ("POST", "/v1/tasks/{id}/publish" | "/v1/tasks/{id}/unpublish") => Unknown(nothing),
        ("POST", "/v1/tasks/{id}/stop" | "/v1/tasks/{id}/retry") => Unknown(nothing),
        ("POST", "/v1/tasks/{id}/feedback") => Unknown(json!({ "score": "down" })),
        ("GET", "/v1/tasks/{id}/feedback") => Unknown(nothing),
        ("GET", "/v1/tasks/{id}/shadows") => Operators,
        ("GET", "/v1/tasks/batch/{id}" | "/v1/tasks/batch/{id}/events") => Unknown(nothing),
        ("POST", "/v1/tasks/batch/{id}/stop" | "/v1/tasks/batch/{id}/retry") => Unknown(nothing),
        ("POST", "/v1/dead-letters/retry") => Elsewhere,
        ("GET" | "HEAD" | "POST" | "DELETE", "/v1/stream/{*path}") => Unknown(json!("x")),
        ("PUT", "/v1/stream/{*path}") => Elsewhere,
        ("GET", "/v1/files") => Empty("/data"),
        ("GET", "/v1/files/{id}" | "/v1/files/{id}/content" | "/v1/files/{id}/text") => Unknown(nothing),
        ("DELETE", "/v1/files/{id}") => Unknown(nothing),
        ("POST", "/v1/files") => Elsewhere,
        _ => return None,
    })
}

/// The path with the owner's ids in it.
fn named(world: &World, method: &str, path: &str) -> String {
    let id = match path {
        path if path.starts_with("/v1/tasks/batch/") => &world.batch,
        path if path.starts_with("/v1/files/") => &world.file,
        path if path.starts_with("/v1/responses/") => &world.response,
        path if path.starts_with("/v1/batches/") => &world.openai_batch,
        _ if method == "POST" && path.ends_with("/retry") => &world.failed,
        path if path.ends_with("/stop") => &world.running,
        _ => &world.done,
    };
    path.replace("{id}", id).replace("{*path}", "room").replace("{*name}", "scripted").replace("{chat}", "chat")
}

async fn upload(server: &Server, key: &str) -> (u16, Value) {
    upload_for(server, key, "user_data", "hello").await
}

async fn upload_for(server: &Server, key: &str, purpose: &str, content: &str) -> (u16, Value) {
    let form = format!(
        "--x\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\n{purpose}\r\n--x\r\ncontent-disposition: \
         form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n{content}\r\n--x--\r\n"
    );
    let headers = format!("authorization: Bearer {key}\r\ncontent-type: multipart/form-data; boundary=x\r\n");
    let (status, _, body) = ask(server, "POST", "/v1/files", &headers, &form).await;
    (status, serde_json::from_str(&body).unwrap_or_default())
}

async fn world() -> (World, tempfile::TempDir) {
    let (server, secrets) = start("");
    make_tenant(&server, "owner").await;
    make_tenant(&server, "stranger").await;
    let (_, owner) = make_key(&server, json!({ "tenant": "owner" })).await;
    let (_, stranger) = make_key(&server, json!({ "tenant": "stranger" })).await;
    let submit = async |mut task: Value, further: Value| {
        task.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        let (status, task) = with_key(&server, &owner, "POST", "/v1/tasks", &task).await;
        assert_eq!(status, 202, "{task}");
        task["id"].as_str().unwrap().to_owned()
    };
    let running = submit(endless(), json!({ "lane": "chat" })).await;
    let done = submit(short(), json!({ "idempotency_key": "once" })).await;
    let fails = json!({ "input": { "messages": [{ "role": "user", "content": "go" }],
        "script": { "tokens": 2, "delay_ms": 0, "fail_at": 1, "fault": "invalid" } } });
    let failed = submit(fails, json!({ "max_attempts": 1 })).await;
    for task in [&done, &failed] {
        let (status, _) =
            with_key(&server, &owner, "GET", &format!("/v1/tasks/{task}/text?wait_ms=60000"), &Value::Null).await;
        assert_eq!(status, 200);
    }
    let body = json!({ "tasks": [endless()], "idempotency_key": "batch once" });
    let (_, batch) = with_key(&server, &owner, "POST", "/v1/tasks/batch", &body).await;
    let headers = format!("authorization: Bearer {owner}\r\ncontent-type: text/plain\r\n");
    assert_eq!(ask(&server, "PUT", "/v1/stream/room", &headers, "the owner's").await.0, 201);
    let (status, file) = upload(&server, &owner).await;
    assert_eq!(status, 200, "{file}");
    let (batch, file) = (batch["id"].as_str().unwrap().to_owned(), file["id"].as_str().unwrap().to_owned());
    let body = json!({ "input": "the owner's", "script": { "tokens": 1 } });
    let (status, response) = with_key(&server, &owner, "POST", "/v1/responses", &body).await;
    assert_eq!(status, 200, "{response}");
    let response = response["id"].as_str().unwrap().to_owned();
    let (_, lines) = upload_for(&server, &owner, "batch", &batch_line()).await;
    let (status, made) = with_key(&server, &owner, "POST", "/v1/batches", &openai_batch(&lines["id"])).await;
    assert_eq!(status, 200, "{made}");
    let openai_batch = made["id"].as_str().unwrap().to_owned();
    (World { server, owner, stranger, running, done, failed, batch, file, response, openai_batch }, secrets)
}

/// A line of a batch that runs until it is stopped.
fn batch_line() -> String {
    let body = json!({ "model": "scripted", "messages": [{ "role": "user", "content": "go" }],
        "script": { "tokens": 100_000, "delay_ms": 20 } });
    json!({ "custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body }).to_string()
}

fn openai_batch(file: &Value) -> Value {
    json!({ "input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h" })
}

/// Everything of the owner's is as it was.
async fn after(world: &World) {
    let look = async |path: String| {
        let (status, seen) = with_key(&world.server, &world.owner, "GET", &path, &Value::Null).await;
        assert_eq!(status, 200, "{path}: {seen}");
        seen
    };
    assert_eq!(look(format!("/v1/tasks/{}", world.running)).await["state"], "running");
    assert_eq!(look(format!("/v1/tasks/{}", world.failed)).await.get("retried_as"), None);
    let batch = look(format!("/v1/tasks/batch/{}", world.batch)).await;
    assert_eq!((&batch["total"], &batch["live"]), (&json!(1), &json!(1)), "{batch}");
    assert_eq!(look("/v1/stream/room?offset=-1".to_owned()).await, json!("the owner's"));
    look(format!("/v1/files/{}", world.file)).await;
    assert_eq!(look(format!("/v1/responses/{}", world.response)).await["status"], "completed");
    let batch = look(format!("/v1/batches/{}", world.openai_batch)).await;
    assert_eq!((&batch["status"], &batch["cancelling_at"]), (&json!("in_progress"), &Value::Null), "{batch}");
}

#[tokio::test]
async fn every_endpoint_keeps_one_tenants_things_from_another() {
    let (world, _secrets) = world().await;
    let (status, list) = with_key(&world.server, ADMIN, "GET", "/v1/admin/endpoints", &Value::Null).await;
    assert_eq!(status, 200);
    let endpoints = list["endpoints"].as_array().unwrap();
    assert!(endpoints.len() > 40, "{list}");
    for endpoint in endpoints {
        let text = |name: &str| endpoint[name].as_str().unwrap();
        let (method, path, needs) = (text("method"), text("path"), text("needs"));
        let row = row(method, path)
            .unwrap_or_else(|| panic!("{method} {path} is new: say in `row` what a stranger gets there"));
        let named = named(&world, method, path);
        // HEAD has no body to say anything with; its status says it.
        let asked = async |key: &str, body: &Value| with_key(&world.server, key, method, &named, body).await;
        if needs != "nothing" {
            let (status, _, _) = ask(&world.server, method, &named, "", "").await;
            assert_eq!(status, 401, "{method} {path} without a key");
        }
        match row {
            // `Own` changes what lists show, so it comes last.
            Row::Public | Row::Elsewhere | Row::Own(..) => {}
            Row::Operators => {
                assert_eq!(asked(&world.stranger, &Value::Null).await.0, 403, "{method} {path}");
                assert_eq!(asked(&world.owner, &Value::Null).await.0, 403, "{method} {path}");
            }
            Row::Unknown(body) => {
                let (status, answer) = asked(&world.stranger, &body).await;
                assert_eq!(status, 404, "{method} {named}: {answer}");
                assert!(!answer.to_string().contains("owner's"), "{answer}");
            }
            Row::Empty(place) => {
                let (status, answer) = asked(&world.stranger, &Value::Null).await;
                assert_eq!((status, answer.pointer(place)), (200, Some(&json!([]))), "{method} {path}: {answer}");
                let (_, answer) = asked(&world.owner, &Value::Null).await;
                assert_ne!(answer.pointer(place), Some(&json!([])), "{path}: the owner has nothing that could leak");
            }
            Row::MaybeEmpty(place) => {
                let (status, answer) = asked(&world.stranger, &Value::Null).await;
                assert_eq!((status, answer.pointer(place)), (200, Some(&json!([]))), "{method} {path}: {answer}");
            }
        }
    }
    for endpoint in endpoints {
        let (method, path) = (endpoint["method"].as_str().unwrap(), endpoint["path"].as_str().unwrap());
        if let Some(Row::Own(expected, body)) = row(method, path) {
            let named = named(&world, method, path);
            let (status, answer) = with_key(&world.server, &world.stranger, method, &named, &body).await;
            assert_eq!(status, expected, "{method} {path}: {answer}");
            let text = answer.to_string();
            assert!(![&world.done, &world.batch, &world.running].iter().any(|id| text.contains(*id)), "{text}");
        }
    }
    after(&world).await;
}

#[tokio::test]
async fn another_tenants_ids_in_bodies_headers_and_queries_are_unknown() {
    let (world, _secrets) = world().await;
    let World { server, stranger, .. } = &world;
    let mut child = short();
    child["parent"] = json!(world.running);
    assert_eq!(with_key(server, stranger, "POST", "/v1/tasks", &child).await.0, 404, "a parent");
    let file = json!([{ "type": "file", "file": { "file_id": world.file } }]);
    let messages = json!([{ "role": "user", "content": file }]);
    let task = json!({ "input": { "messages": messages } });
    assert_eq!(with_key(server, stranger, "POST", "/v1/tasks", &task).await.0, 404, "a file");
    let chat = json!({ "model": "scripted", "messages": messages });
    let (status, answer) = with_key(server, stranger, "POST", "/v1/chat/completions", &chat).await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("unknown_file")), "{answer}");
    let (status, answer) = with_key(server, stranger, "POST", "/v1/batches", &openai_batch(&json!(world.file))).await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("unknown_file")), "{answer}");
    let mut message = json!({ "model": "scripted", "max_tokens": 9, "messages": messages });
    message["messages"][0]["content"] =
        json!([{ "type": "document", "source": { "type": "file", "file_id": world.file } }]);
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        let (status, answer) = with_key(server, stranger, "POST", path, &message).await;
        assert_eq!((status, &answer["error"]["code"]), (404, &json!("unknown_file")), "{path}: {answer}");
    }
    let next = json!({ "input": "go on", "previous_response_id": world.response });
    let (status, answer) = with_key(server, stranger, "POST", "/v1/responses", &next).await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("unknown_response")), "{answer}");
    let (status, answer) =
        with_key(server, stranger, "POST", "/v1/dead-letters/retry", &json!({ "tasks": [world.failed] })).await;
    assert_eq!((status, &answer["refused"][0]["error"]["code"]), (200, &json!("unknown_task")), "{answer}");
    let (_, answer) = with_key(server, stranger, "POST", "/v1/dead-letters/retry", &json!({})).await;
    assert_eq!(answer["retried"], json!([]), "all dead letters are all of one's own");
    for query in [
        format!("?parent={}", world.running),
        format!("?batch={}", world.batch),
        "?lane=chat".to_owned(),
        "?state=done,failed,running".to_owned(),
        format!("?cursor={}", world.failed),
    ] {
        let (status, answer) = with_key(server, stranger, "GET", &format!("/v1/tasks{query}"), &Value::Null).await;
        assert!(status == 404 || answer["tasks"] == json!([]), "{query}: {answer}");
    }
    // Streams: a fork of the owner's, a task's log as a stream, and one of the same name that is another one.
    let fork = format!("authorization: Bearer {stranger}\r\nstream-forked-from: /v1/stream/room\r\n");
    assert_eq!(ask(server, "PUT", "/v1/stream/fork", &fork, "").await.0, 404);
    let task_log = format!("/v1/stream/tasks/{}?offset=-1", world.done);
    assert_eq!(with_key(server, stranger, "GET", &task_log, &Value::Null).await.0, 404);
    assert_eq!(with_key(server, &world.owner, "GET", &task_log, &Value::Null).await.0, 200);
    let headers = format!("authorization: Bearer {stranger}\r\ncontent-type: text/plain\r\n");
    assert_eq!(ask(server, "PUT", "/v1/stream/room", &headers, "a stranger's").await.0, 201);
    assert_eq!(ask(server, "GET", "/v1/stream/room?offset=-1", &headers, "").await.2, "a stranger's");
    // A file of the stranger's own is not the owner's to see.
    let (status, own) = upload(server, stranger).await;
    assert_eq!(status, 200);
    let path = format!("/v1/files/{}", own["id"].as_str().unwrap());
    assert_eq!(with_key(server, &world.owner, "GET", &path, &Value::Null).await.0, 404);
    after(&world).await;
}

#[tokio::test]
async fn every_op_of_the_websocket_keeps_one_tenants_things_from_another() {
    let (world, _secrets) = world().await;
    let mut socket = connect(&world.server, &world.stranger).await;
    for op in tidewire_proto::frame::OPS {
        let (frame, code) = match *op {
            "submit" => {
                let mut task = short();
                task["parent"] = json!(world.running);
                (json!({ "op": "submit", "task": task }), "unknown_task")
            }
            "follow" => (json!({ "op": "follow", "log": world.done }), "unknown_log"),
            "stop" => (json!({ "op": "stop", "task": world.running }), "unknown_task"),
            // It takes away a cursor of this connection, if there is one.
            "unfollow" => (json!({ "op": "unfollow", "log": world.done }), ""),
            "ping" => (json!({ "op": "ping" }), ""),
            new => panic!("`{new}` is new: say here what a stranger gets"),
        };
        let heard = say(&mut socket, frame).await;
        if code.is_empty() {
            assert_ne!(heard["op"], "error", "{op}: {heard}");
        } else {
            assert_eq!(heard["error"]["code"], code, "{op}: {heard}");
        }
    }
    let heard = say(&mut socket, json!({ "op": "follow", "log": world.batch })).await;
    assert_eq!(heard["error"]["code"], "unknown_log", "{heard}");
    after(&world).await;
}
