//! Keys: what opens, what does not, and what closes when a key is revoked.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use serde_json::{Value, json};
use std::process::{Command, Stdio};
use support::keyed::{
    ADMIN, connect, endless, make_key, make_tenant, next, revoke, say, short, start, try_connect, with_key,
};
use support::{PATIENCE, Server, ask, scripted};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An open answer, read piece by piece.
struct Open(TcpStream, String);

impl Open {
    async fn get(server: &Server, key: &str, path: &str, accept: &str) -> Self {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let host = server.address();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: {accept}\r\nauthorization: Bearer {key}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self(stream, String::new())
    }

    /// Reads until this was said.
    async fn until(&mut self, said: &str) {
        let mut buffer = [0; 4096];
        let hearing = async {
            while !self.1.contains(said) {
                let read = self.0.read(&mut buffer).await.unwrap();
                assert!(read > 0, "`{said}` before the end; there was {}", self.1);
                self.1.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        };
        tokio::time::timeout(PATIENCE, hearing).await.unwrap_or_else(|_| panic!("`{said}` in time"));
    }
}

#[tokio::test]
async fn what_a_revoked_key_had_opened_closes_and_opens_no_more() {
    let (server, _secrets) = start("");
    let (id, key) = make_key(&server, json!({ "name": "app" })).await;
    let (_, other) = make_key(&server, json!({ "name": "other" })).await;
    let (status, task) = with_key(&server, &key, "POST", "/v1/tasks", &endless()).await;
    assert_eq!(status, 202, "{task}");
    let task = task["id"].as_str().unwrap().to_owned();
    let (status, _) = with_key(&server, &key, "PUT", "/v1/stream/room", &Value::Null).await;
    assert_eq!(status, 201);

    let mut socket = connect(&server, &key).await;
    assert_eq!(say(&mut socket, json!({ "op": "follow", "log": task })).await["op"], "following");
    let mut idle = connect(&server, &other).await;
    assert_eq!(say(&mut idle, json!({ "op": "ping" })).await["op"], "pong");
    let mut events = Open::get(&server, &key, &format!("/v1/tasks/{task}/events"), "text/event-stream").await;
    events.until("event: started").await;
    let mut stream = Open::get(&server, &key, "/v1/stream/room?offset=-1&live=sse", "text/event-stream").await;
    stream.until("upToDate").await;
    let mut poll = Open::get(&server, &key, "/v1/stream/room?offset=now&live=long-poll", "*/*").await;

    revoke(&server, &id).await;
    // The task goes on and says more, so a socket that does not close is never silent.
    let closing = async {
        loop {
            if let Err(closed) = next(&mut socket).await {
                return closed;
            }
        }
    };
    let closed = tokio::time::timeout(PATIENCE, closing).await.expect("the socket closes in time");
    assert_eq!(closed, (4501, "key_revoked".to_owned()));
    events.until("event: error\ndata: {\"code\":\"key_revoked\"").await;
    stream.until("event: error\ndata: {\"code\":\"key_revoked\"").await;
    poll.until("\"code\":\"key_revoked\"").await;
    let (status, refused) = with_key(&server, &key, "GET", "/v1/tasks", &Value::Null).await;
    assert_eq!((status, &refused["error"]["code"]), (401, &json!("key_revoked")));
    assert!(try_connect(&server, "/v1/ws", Some(&key)).await.is_err());
    // Another key's connection goes on, and the tenant's task too.
    assert_eq!(say(&mut idle, json!({ "op": "ping" })).await["op"], "pong");
    let (_, view) = with_key(&server, &other, "GET", &format!("/v1/tasks/{task}"), &Value::Null).await;
    assert_eq!(view["state"], "running", "{view}");
}

#[tokio::test]
async fn a_key_that_may_do_less_is_asked_anew_and_a_suspended_tenant_is_shut_out() {
    let (server, _secrets) = start("");
    make_tenant(&server, "acme").await;
    let (id, key) = make_key(&server, json!({ "tenant": "acme" })).await;
    let mut socket = connect(&server, &key).await;
    assert_eq!(say(&mut socket, json!({ "op": "ping" })).await["op"], "pong");
    // Limits alone close nothing.
    let path = format!("/v1/admin/keys/{id}");
    let (status, view) =
        with_key(&server, ADMIN, "POST", &path, &json!({ "limits": { "requests_per_minute": 1000 } })).await;
    assert_eq!((status, &view["limits"]["requests_per_minute"]), (200, &json!(1000)), "{view}");
    assert_eq!(say(&mut socket, json!({ "op": "ping" })).await["op"], "pong");

    let (status, _) = with_key(&server, ADMIN, "POST", &path, &json!({ "scopes": ["tasks:read"] })).await;
    assert_eq!(status, 200);
    assert_eq!(next(&mut socket).await, Err((4002, "key_changed".to_owned())));
    let mut socket = connect(&server, &key).await;
    let refused = say(&mut socket, json!({ "op": "submit", "task": short() })).await;
    assert_eq!(refused["error"]["code"], "forbidden", "{refused}");

    let suspend = |suspended: bool| json!({ "suspended": suspended });
    with_key(&server, ADMIN, "POST", "/v1/admin/tenants/acme", &suspend(true)).await;
    assert_eq!(next(&mut socket).await, Err((4501, "key_revoked".to_owned())));
    assert_eq!(with_key(&server, &key, "GET", "/v1/tasks", &Value::Null).await.0, 401);
    with_key(&server, ADMIN, "POST", "/v1/admin/tenants/acme", &suspend(false)).await;
    assert_eq!(with_key(&server, &key, "GET", "/v1/tasks", &Value::Null).await.0, 200);
}

#[tokio::test]
async fn without_the_right_key_nothing_opens_and_the_answer_says_what_is_missing() {
    let (server, _secrets) = start("");
    let (_, reader) = make_key(&server, json!({ "scopes": ["tasks:read"] })).await;
    let (_, narrow) = make_key(&server, json!({ "routes": ["other"] })).await;
    let (_, one_user) = make_key(&server, json!({ "user": "ann" })).await;
    let (_, broker) = make_key(&server, json!({ "scopes": ["tasks:write", "tasks:read", "users"] })).await;
    let chat = json!({ "model": "scripted", "messages": [{ "role": "user", "content": "go" }] });

    for (headers, what) in [
        ("", "no key"),
        ("authorization: Bearer tw_0000000000000000_00\r\n", "an unknown key"),
        ("authorization: Basic YTpi\r\n", "another scheme"),
        ("authorization: Bearer \r\n", "an empty key"),
        ("x-api-key: nonsense\r\n", "nonsense"),
    ] {
        let (status, head, body) = ask(&server, "POST", "/v1/tasks", headers, &short().to_string()).await;
        assert_eq!(status, 401, "{what}: {body}");
        assert!(head.contains("www-authenticate: bearer"), "{what}: {head}");
        assert!(body.contains(r#""code":"unauthorized""#), "{what}: {body}");
        let (status, _, body) = ask(&server, "POST", "/v1/chat/completions", headers, &chat.to_string()).await;
        assert_eq!(status, 401, "{what}");
        assert!(body.contains(r#""type":"authentication_error""#), "OpenAI's shape: {body}");
    }
    // One letter of a key makes another one, and a key in a URL is none.
    let mut wrong = reader.clone();
    let last = if wrong.pop() == Some('0') { '1' } else { '0' };
    wrong.push(last);
    assert_eq!(with_key(&server, &wrong, "GET", "/v1/tasks", &Value::Null).await.0, 401);
    for name in ["key", "api_key", "token", "access_token"] {
        let path = format!("/v1/tasks?{name}={reader}");
        assert_eq!(ask(&server, "GET", &path, "", "").await.0, 401, "{name}");
    }
    for header in ["authorization: bearer", "x-api-key:", "api-key:"] {
        assert_eq!(ask(&server, "GET", "/v1/tasks", &format!("{header} {reader}\r\n"), "").await.0, 200, "{header}");
    }

    let (status, refused) = with_key(&server, &reader, "POST", "/v1/tasks", &short()).await;
    assert_eq!((status, &refused["error"]["code"]), (403, &json!("forbidden")));
    assert!(refused["error"]["message"].as_str().unwrap().contains("`tasks:write`"), "{refused}");
    let (status, refused) = with_key(&server, &reader, "POST", "/v1/chat/completions", &chat).await;
    assert_eq!((status, &refused["error"]["type"]), (403, &json!("permission_error")), "{refused}");

    let (status, refused) = with_key(&server, &narrow, "POST", "/v1/chat/completions", &chat).await;
    assert_eq!((status, &refused["error"]["code"]), (404, &json!("unknown_model")), "{refused}");
    assert_eq!(with_key(&server, &narrow, "POST", "/v1/tasks", &short()).await.0, 404, "also where it names none");
    let (_, models) = with_key(&server, &narrow, "GET", "/v1/models", &Value::Null).await;
    assert_eq!(models["data"], json!([]));

    let mut for_ann = short();
    for_ann["user"] = json!("ann");
    let mut for_bob = short();
    for_bob["user"] = json!("bob");
    assert_eq!(with_key(&server, &one_user, "POST", "/v1/tasks", &for_ann).await.0, 202);
    assert_eq!(with_key(&server, &one_user, "POST", "/v1/tasks", &for_bob).await.0, 403);
    assert_eq!(with_key(&server, &broker, "POST", "/v1/tasks", &for_bob).await.0, 202);
    let headers = format!("authorization: Bearer {broker}\r\ntidewire-user: carl\r\n");
    assert_eq!(ask(&server, "POST", "/v1/tasks", &headers, &short().to_string()).await.0, 202);
}

#[tokio::test]
async fn a_ticket_opens_one_socket_once() {
    let (server, _secrets) = start("");
    let (_, key) = make_key(&server, json!({})).await;
    let (status, ticket) = with_key(&server, &key, "POST", "/v1/tickets", &Value::Null).await;
    assert_eq!((status, &ticket["expires_in_ms"]), (200, &json!(30_000)));
    let path = format!("/v1/ws?ticket={}", ticket["ticket"].as_str().unwrap());
    let mut socket = try_connect(&server, &path, None).await.expect("the first use opens");
    assert_eq!(say(&mut socket, json!({ "op": "ping" })).await["op"], "pong");
    assert!(try_connect(&server, &path, None).await.is_err(), "the second does not");
    let (status, head, _) = ask(&server, "GET", &path, "", "").await;
    assert_eq!(status, 401);
    assert!(head.contains("www-authenticate"));
    assert_eq!(ask(&server, "GET", "/v1/tasks?ticket=tk_00", "", "").await.0, 401);
}

#[tokio::test]
async fn an_operator_signs_in_with_a_key_and_each_role_may_do_its_own() {
    let (server, _secrets) = start("");
    make_tenant(&server, "acme").await;
    let (_, read_only) = make_key(&server, json!({ "name": "eye", "role": "read-only" })).await;
    let (_, operator) = make_key(&server, json!({ "name": "hand", "role": "operator" })).await;
    let (app_id, app) = make_key(&server, json!({ "tenant": "acme" })).await;
    let (_, task) = with_key(&server, &app, "POST", "/v1/tasks", &endless()).await;
    let stop = format!("/v1/tasks/{}/stop", task["id"].as_str().unwrap());

    let sign_in = json!({ "key": operator }).to_string();
    let (status, head, who) = ask(&server, "POST", "/v1/session", "", &sign_in).await;
    assert_eq!(status, 200, "{who}");
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap().to_owned();
    assert!(cookie.contains("; httponly") && cookie.contains("; samesite=strict"), "{cookie}");
    let session = format!("cookie: a=b; {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(ask(&server, "GET", "/v1/admin/tenants", &session, "").await.0, 200);
    // An operator works in the tenant that is named; a key of a tenant can't.
    let in_acme = "tidewire-tenant: acme\r\n";
    let as_reader = format!("authorization: Bearer {read_only}\r\n{in_acme}");
    assert_eq!(ask(&server, "GET", &stop.replace("/stop", ""), &as_reader, "").await.0, 200);
    assert_eq!(ask(&server, "POST", &stop, &as_reader, "").await.0, 403, "who only sees stops nothing");
    let as_app = format!("authorization: Bearer {app}\r\ntidewire-tenant: default\r\n");
    assert_eq!(ask(&server, "GET", "/v1/tasks", &as_app, "").await.0, 403);
    assert_eq!(ask(&server, "POST", &stop, &session, "").await.0, 404, "not in the operator's own tenant");
    assert_eq!(ask(&server, "POST", &stop, &format!("{session}{in_acme}"), "").await.0, 200);
    let revoke = format!("/v1/admin/keys/{app_id}/revoke");
    assert_eq!(ask(&server, "POST", &revoke, &session, "").await.0, 403, "keys are the admin's");
    assert_eq!(with_key(&server, &app, "GET", "/v1/admin/keys", &Value::Null).await.0, 403);
    assert_eq!(ask(&server, "GET", "/metrics", &format!("authorization: Bearer {app}\r\n"), "").await.0, 403);
    assert_eq!(ask(&server, "GET", "/metrics", &session, "").await.0, 200);
    assert_eq!(ask(&server, "DELETE", "/v1/session", &session, "").await.0, 204);
    assert_eq!(ask(&server, "GET", "/v1/admin/tenants", &session, "").await.0, 401, "signed out");
}

#[tokio::test]
async fn what_operators_did_is_written_down_without_secrets_and_outlives_the_server() {
    let (mut server, _secrets) = start("");
    let (id, key) = make_key(&server, json!({ "name": "app" })).await;
    let sign_in = json!({ "key": ADMIN }).to_string();
    assert_eq!(ask(&server, "POST", "/v1/session", "", &sign_in).await.0, 200);
    revoke(&server, &id).await;
    server.kill();
    server.restart();
    let (status, page) = with_key(&server, ADMIN, "GET", "/v1/admin/audit", &Value::Null).await;
    assert_eq!(status, 200, "{page}");
    let entries = page["entries"].as_array().unwrap();
    let actions: Vec<&str> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["POST /v1/admin/keys", "signed in", &format!("POST /v1/admin/keys/{id}/revoke")]);
    let from = entries[0]["from"].as_str().unwrap();
    assert!(from.starts_with("127.0.0.1:"), "{from}");
    assert!(entries[0]["detail"].as_str().unwrap().contains(&id));
    let text = page.to_string();
    assert!(!text.contains(ADMIN) && !text.contains(key.split('_').next_back().unwrap()), "a secret: {text}");
    assert_eq!(with_key(&server, &key, "GET", "/v1/tasks", &Value::Null).await.0, 401, "revoked for good");
    let (_, view) = with_key(&server, ADMIN, "GET", &format!("/v1/admin/keys/{id}"), &Value::Null).await;
    assert!(view["revoked_at"].is_number() && view.get("hash").is_none(), "{view}");
}

#[tokio::test]
async fn on_loopback_the_first_key_shuts_the_door_and_revoking_it_opens_none() {
    let mut server = Server::start(&scripted(1));
    assert_eq!(ask(&server, "GET", "/v1/tasks", "", "").await.0, 200, "open as long as there is no key");
    let (status, _, made) = ask(&server, "POST", "/v1/admin/keys", "", r#"{"role":"admin"}"#).await;
    assert_eq!(status, 201);
    let made: Value = serde_json::from_str(&made).unwrap();
    let (key, id) = (made["secret"].as_str().unwrap(), made["key"]["id"].as_str().unwrap());
    assert_eq!(ask(&server, "GET", "/v1/tasks", "", "").await.0, 401);
    assert_eq!(ask(&server, "GET", "/healthz", "", "").await.0, 200);
    let revoke = format!("/v1/admin/keys/{id}/revoke");
    assert_eq!(with_key(&server, key, "POST", &revoke, &Value::Null).await.0, 200);
    assert_eq!(ask(&server, "GET", "/v1/tasks", "", "").await.0, 401);
    server.kill();
    server.restart();
    assert_eq!(ask(&server, "GET", "/v1/tasks", "", "").await.0, 401, "a revoked key is no reason to be open");
}

#[test]
fn a_server_that_others_can_reach_does_not_start_without_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let serve = |key: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidewire"));
        command.args(["serve", "--listen", "0.0.0.0:0", "--data"]).arg(dir.path().join("data"));
        command.env("TIDEWIRE_BUILT_IN__ENABLED", "false").env_remove("TIDEWIRE_ADMIN_KEY");
        if let Some(key) = key {
            command.env("TIDEWIRE_ADMIN_KEY", key);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let refused = serve(None).output().unwrap();
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && error.contains("TIDEWIRE_ADMIN_KEY"), "{error}");
    let short = serve(Some("secret")).output().unwrap();
    let error = String::from_utf8_lossy(&short.stderr);
    assert!(!short.status.success() && error.contains("openssl rand") && !error.contains("secret\""), "{error}");
    let mut served = serve(Some(ADMIN)).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(served.stdout.take().unwrap()), &mut line).unwrap();
    served.kill().unwrap();
    served.wait().unwrap();
    assert!(line.contains("is ready at"), "{line}");
}
