//! Public results: what anybody gets and a cache may keep, what caches are told, and that all else is nobody's to keep.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use support::keyed::{ADMIN, make_key, make_tenant, start, with_key};
use support::{Server, ask};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn script(tokens: usize, delay_ms: u64) -> Value {
    json!({ "input": { "messages": [{ "role": "user", "content": "a secret question" }],
        "script": { "tokens": tokens, "delay_ms": delay_ms } } })
}

/// Submits and waits for the end. The task.
async fn done(server: &Server, key: &str, mut task: Value, public: bool) -> String {
    task["public"] = json!(public);
    let (status, accepted) = with_key(server, key, "POST", "/v1/tasks", &task).await;
    assert_eq!(status, 202, "{accepted}");
    let id = accepted["id"].as_str().unwrap().to_owned();
    let (status, _) = with_key(server, key, "GET", &format!("/v1/tasks/{id}/text?wait_ms=60000"), &Value::Null).await;
    assert_eq!(status, 200);
    id
}

/// What anybody gets.
async fn get(server: &Server, name: &str, headers: &str) -> (u16, String, String) {
    ask(server, "GET", &format!("/v1/public/{name}"), headers, "").await
}

/// A cache that notes what it is told: the method, the path, what is accepted and the key.
async fn cache() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, told) = (format!("http://{}", listener.local_addr().unwrap()), Arc::new(Mutex::new(Vec::new())));
    let noted = told.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let noted = noted.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && socket.read_buf(&mut head).await.is_ok_and(|read| read > 0) {}
                let head = String::from_utf8_lossy(&head).into_owned();
                let small = head.to_lowercase();
                let accept = header(&small, "accept").unwrap_or("-").to_owned();
                let key = header(&small, "surrogate-key").unwrap_or("-").to_owned();
                let line = head.lines().next().unwrap_or_default().replace(" HTTP/1.1", "");
                noted.lock().unwrap().push(format!("{line} {accept} {key}"));
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            });
        }
    });
    (url, told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_says_its_own_times_for_its_public_results_also_after_a_reload() {
    let routes = |times: &str| {
        format!(
            "{}[public]\nmax_age_s = 1\ns_maxage_s = 2\nstale_while_revalidate_s = 3\nstale_if_error_s = 4\n\
             [[route]]\nname = \"other\"\ndeployments = [\"scripted\"]\n\
             [[route]]\nname = \"news\"\ndeployments = [\"scripted\"]\n{times}",
            support::scripted(4)
        )
    };
    let server = Server::start(&routes("[route.public]\ns_maxage_s = 20\nstale_if_error_s = 0\n"));
    let control = async |id: &str| header(&get(&server, id, "").await.1, "cache-control").unwrap().to_owned();
    let of = |model: &str| json!({ "model": model, "input": script(2, 0)["input"] });
    let (news, other) = (done(&server, "", of("news"), true).await, done(&server, "", of("other"), true).await);
    let usual = "public, max-age=1, s-maxage=2, stale-while-revalidate=3, stale-if-error=4";
    assert_eq!(control(&news).await, "public, max-age=1, s-maxage=20, stale-while-revalidate=3, stale-if-error=0");
    assert_eq!(control(&other).await, usual);
    std::fs::write(server.dir.path().join("tidewire.toml"), routes("[route.public]\nmax_age_s = 9\n")).unwrap();
    let (status, _, body) = ask(&server, "POST", "/v1/admin/reload", "", "").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(control(&news).await, "public, max-age=9, s-maxage=2, stale-while-revalidate=3, stale-if-error=4");
    assert_eq!(control(&other).await, usual);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_result_is_for_anybody_and_for_any_cache_and_a_private_one_for_nobody() {
    let (server, _secrets) =
        start("[public]\nmax_age_s = 1\ns_maxage_s = 2\nstale_while_revalidate_s = 3\nstale_if_error_s = 4\n");
    make_tenant(&server, "owner").await;
    let (_, owner) = make_key(&server, json!({ "tenant": "owner" })).await;
    let (private, public) =
        (done(&server, &owner, script(3, 0), false).await, done(&server, &owner, script(3, 0), true).await);
    let text = support::script_text("w", 3);
    for name in [private.as_str(), "task_01k00000000000000000000000", "nonsense"] {
        let (status, head, body) = get(&server, name, "").await;
        assert_eq!((status, header(&head, "cache-control")), (404, Some("private, no-store")), "{body}");
    }
    let (status, head, body) = get(&server, &public, "origin: https://any.example\r\n").await;
    assert_eq!((status, body.as_str()), (200, text.as_str()));
    let control = "public, max-age=1, s-maxage=2, stale-while-revalidate=3, stale-if-error=4";
    assert_eq!(header(&head, "cache-control"), Some(control));
    assert_eq!(header(&head, "content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!((header(&head, "vary"), header(&head, "access-control-allow-origin")), (Some("accept"), Some("*")));
    let keys: Vec<&str> = header(&head, "surrogate-key").unwrap().split(' ').collect();
    assert_eq!(header(&head, "cache-tag").unwrap().split(',').collect::<Vec<_>>(), keys);
    assert!(keys.iter().all(|key| !key.contains("owner") && !key.contains(&public)), "{keys:?}");

    let tag = header(&head, "etag").unwrap().to_owned();
    assert!(tag.starts_with('"'), "a strong tag: {tag}");
    for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
        let (status, head, body) = get(&server, &public, &format!("if-none-match: {known}\r\n")).await;
        assert_eq!((status, body.as_str(), header(&head, "cache-control")), (304, "", Some(control)), "{known}");
        assert_eq!(header(&head, "etag"), Some(tag.as_str()));
    }
    assert_eq!(get(&server, &public, "if-none-match: \"x\"\r\n").await.0, 200);

    let (_, by_accept, json_text) = get(&server, &public, "accept: application/json\r\n").await;
    let (_, by_suffix, same) = get(&server, &format!("{public}.json"), "").await;
    assert_eq!((header(&by_suffix, "vary"), &same), (None, &json_text));
    assert_ne!(header(&by_accept, "etag"), Some(tag.as_str()), "another form has another tag");
    let whole: Value = serde_json::from_str(&json_text).unwrap();
    assert_eq!((&whole["text"], &whole["finish_reason"]), (&json!(text), &json!("stop")));
    assert!(!json_text.contains("secret") && whole.get("usage").is_none(), "{whole}");
    assert_eq!(get(&server, &format!("{public}.txt"), "accept: application/json\r\n").await.2, text);
    // Another task's answer of the same bytes has the same tag, and other keys but the tenant's and the route's.
    let twin = done(&server, &owner, script(3, 0), true).await;
    let (_, head, _) = get(&server, &twin, "").await;
    let others: Vec<&str> = header(&head, "surrogate-key").unwrap().split(' ').collect();
    assert_eq!((header(&head, "etag"), &others[1..]), (Some(tag.as_str()), &keys[1..]));
    assert_ne!(others[0], keys[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfinished_one_is_not_kept_and_caches_are_told_to_forget_what_is_taken_back() {
    let ((url, told), closed) = (cache().await, std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let away = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let (server, _secrets) =
        start(&format!("[public]\npurge_urls = [\"{url}/\", \"{away}\"]\npurge_method = \"BAN\"\n"));
    let mut task = script(100_000, 20);
    task["public"] = json!(true);
    let (_, accepted) = with_key(&server, ADMIN, "POST", "/v1/tasks", &task).await;
    let running = accepted["id"].as_str().unwrap();
    let (status, head, body) = get(&server, running, "").await;
    assert_eq!((status, header(&head, "cache-control")), (202, Some("private, no-store")), "{body}");
    assert!(header(&head, "retry-after").unwrap().parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{head}");
    with_key(&server, ADMIN, "POST", &format!("/v1/tasks/{running}/stop"), &Value::Null).await;
    assert_eq!(get(&server, running, "").await.0, 404, "a stopped one has no answer");

    let id = done(&server, ADMIN, script(2, 0), false).await;
    let change =
        async |what: &str| with_key(&server, ADMIN, "POST", &format!("/v1/tasks/{id}/{what}"), &Value::Null).await;
    let (status, published) = change("publish").await;
    assert_eq!((status, &published["url"]), (200, &json!(format!("/v1/public/{id}"))), "{published}");
    let (status, head, _) = get(&server, &id, "").await;
    assert_eq!(status, 200);
    let key = header(&head, "surrogate-key").unwrap().split(' ').next().unwrap().to_owned();
    let (status, taken_back) = change("unpublish").await;
    assert_eq!((status, &taken_back["public"]), (200, &json!(false)));
    let evicted = taken_back["evicted"].as_array().unwrap();
    assert_eq!((&evicted[0]["cache"], &evicted[0]["done"]), (&json!(url), &json!(true)), "{taken_back}");
    assert_eq!(
        (&evicted[1]["cache"], &evicted[1]["done"]),
        (&json!(away), &json!(false)),
        "one that is away is told of"
    );
    assert_eq!(get(&server, &id, "").await.0, 404);
    let path = format!("BAN /v1/public/{id}");
    let mut expected = vec![
        format!("{path}.txt */* {key}"),
        format!("{path}.json */* {key}"),
        format!("{path} text/plain {key}"),
        format!("{path} application/json {key}"),
    ];
    let mut heard = std::mem::take(&mut *told.lock().unwrap());
    expected.sort();
    heard.sort();
    assert_eq!(heard, expected);
    for (body, status) in
        [(json!({ "key": key }), 200), (json!({ "task": id }), 200), (json!({ "key": "x .*" }), 400), (json!({}), 400)]
    {
        let (answered, answer) = with_key(&server, ADMIN, "POST", "/v1/admin/public/purge", &body).await;
        assert_eq!(answered, status, "{body}: {answer}");
    }
    assert!(told.lock().unwrap().contains(&format!("BAN /v1/public/ */* {key}")), "by key alone: {told:?}");
    // Over OpenAI's face by a header.
    let chat = json!({ "model": "scripted", "messages": [{ "role": "user", "content": "go" }], "script": { "tokens": 1, "delay_ms": 0 } });
    let headers = format!("authorization: Bearer {ADMIN}\r\ntidewire-public: true\r\n");
    let (_, head, _) = ask(&server, "POST", "/v1/chat/completions", &headers, &chat.to_string()).await;
    assert_eq!(get(&server, header(&head, "tidewire-task").unwrap(), "").await.0, 200);
}

/// Files of the page itself, with nothing of anybody in them.
const PAGES: [&str; 3] = ["/", "/theme.js", "/icon.svg"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_not_public_is_private_and_stored_by_no_cache() {
    let (server, _secrets) = start("");
    let id = done(&server, ADMIN, script(2, 0), false).await;
    let key = format!("authorization: Bearer {ADMIN}\r\n");
    let plain = format!("{key}content-type: text/plain\r\n");
    assert_eq!(ask(&server, "PUT", "/v1/stream/room", &plain, "words").await.0, 201);
    let (_, list) = with_key(&server, ADMIN, "GET", "/v1/admin/endpoints", &Value::Null).await;
    let mut asked = 0;
    for endpoint in list["endpoints"].as_array().unwrap() {
        let (method, path) = (endpoint["method"].as_str().unwrap(), endpoint["path"].as_str().unwrap());
        let path = path
            .replace("{id}", &id)
            .replace("{*path}", "room")
            .replace("{*name}", "scripted")
            .replace("{name}", "default");
        let forms = if path.ends_with("/events") { vec!["", "?format=sse"] } else { vec![""] };
        for (headers, form) in forms.iter().flat_map(|form| [(key.as_str(), form), ("", form)]) {
            let (status, head, _) = ask(&server, method, &format!("{path}{form}"), headers, "").await;
            let control = header(&head, "cache-control").unwrap_or("nothing");
            // Its own protocol lets a reader keep a page, and says that it is this reader's.
            let of_stream = path.starts_with("/v1/stream/") && control.starts_with("private, ");
            // Where the web app is built in, its own files: they are the same for everybody.
            let of_app = PAGES.contains(&&*path) && control == "public, no-cache";
            assert!(
                control == "private, no-store" || of_stream || of_app,
                "{method} {path}{form} answers {status} with {control}"
            );
            asked += 1;
        }
    }
    assert!(asked > 100, "{asked}");
    for path in ["/nothing/there", "/v1/public/"] {
        let (status, head, _) = ask(&server, "GET", path, "", "").await;
        assert_eq!((status, header(&head, "cache-control")), (404, Some("private, no-store")), "{path}");
    }
}
