//! `POST /v1/follow`: many logs over one response.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]

mod support;

use serde_json::{Value, json};
use std::collections::HashMap;
use support::keyed::{ADMIN, make_key, make_tenant, with_key};
use support::{PATIENCE, Server, ask, script_text, scripted, task};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The frames of a response that has ended.
async fn follow(server: &Server, headers: &str, logs: Value) -> Vec<Value> {
    let body = json!({ "logs": logs, "window_ms": 10 }).to_string();
    let (status, head, body) = ask(server, "POST", "/v1/follow", headers, &body).await;
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("text/event-stream"), "{head}");
    body.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The text of a log, in which each frame goes on where the one before ended.
fn text(frames: &[Value], log: &str, mut next: u64) -> String {
    let mut text = String::new();
    for frame in frames.iter().filter(|frame| frame["op"] == "events" && frame["log"] == log) {
        assert_eq!(frame["from"], next, "{frame}");
        next = frame["to"].as_u64().unwrap();
        let events = frame["events"].as_array().unwrap().iter().filter(|event| event["type"] == "text");
        text.extend(events.map(|event| event["data"].as_str().unwrap()));
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_tells_many_logs_to_their_ends_from_where_each_was_left() {
    let server = Server::start(&scripted(4));
    let mut logs = Vec::new();
    for _ in 0..12 {
        let script = json!({ "tokens": 30, "delay_ms": 5 });
        logs.push(server.http().submit(&task(script)).await.unwrap().id);
    }
    let from_start: Value = logs.iter().map(|log| json!({ "log": log })).collect();
    let frames = follow(&server, "", from_start).await;
    let count = |op: &str| frames.iter().filter(|frame| frame["op"] == op).count();
    assert_eq!((count("following"), count("unfollowed"), count("error")), (12, 12, 0));
    for log in &logs {
        assert_eq!(text(&frames, log, 0), script_text("w", 30), "{log}");
    }
    // Again from the middle of each, by its epoch.
    let epochs: HashMap<&str, &Value> = frames
        .iter()
        .filter(|frame| frame["op"] == "following")
        .map(|frame| (frame["log"].as_str().unwrap(), &frame["epoch"]))
        .collect();
    let left = logs.iter().map(|log| json!({ "log": log, "after": 15, "epoch": epochs[log.as_str()] })).collect();
    let frames = follow(&server, "", left).await;
    for log in &logs {
        let rest = text(&frames, log, 16);
        assert!(script_text("w", 30).ends_with(&rest) && rest.starts_with("w15"), "{rest}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_waits_says_where_it_stands() {
    let server = Server::start(&scripted(1));
    let endless = task(json!({ "tokens": 100_000, "delay_ms": 100 }));
    server.http().submit(&endless).await.unwrap();
    let waits = server.http().submit(&endless).await.unwrap().id;
    let body = json!({ "logs": [{ "log": waits }] }).to_string();
    let (host, length) = (server.address(), body.len());
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head =
        format!("POST /v1/follow HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    let (mut heard, mut stopped) = (Vec::new(), false);
    while tokio::time::timeout(PATIENCE, stream.read_buf(&mut heard)).await.expect("a frame in time").unwrap() > 0 {
        if !stopped && String::from_utf8_lossy(&heard).contains(r#""op":"waiting""#) {
            // It ends without having run, and the response with it.
            server.http().stop(&waits).await.unwrap();
            stopped = true;
        }
    }
    let heard = String::from_utf8_lossy(&heard);
    let (following, waiting) = (heard.find(r#""op":"following""#).unwrap(), heard.find(r#""op":"waiting""#).unwrap());
    assert!(following < waiting && heard.contains(r#""place":0"#) && heard.contains(r#""reason":"ended""#), "{heard}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_t_be_followed_says_so_and_the_others_go_on() {
    let (server, _secrets) = support::keyed::start("[limits]\nfollows_per_connection = 3\n");
    make_tenant(&server, "acme").await;
    let (_, stranger) = make_key(&server, json!({ "tenant": "acme" })).await;
    let (status, mine) = with_key(&server, ADMIN, "POST", "/v1/tasks", &support::keyed::short()).await;
    assert_eq!(status, 202, "{mine}");
    let mine = mine["id"].as_str().unwrap();
    let admin = format!("authorization: Bearer {ADMIN}\r\n");
    assert_eq!(ask(&server, "GET", &format!("/v1/tasks/{mine}/text?wait_ms=60000"), &admin, "").await.0, 200);
    let frames = follow(
        &server,
        &admin,
        json!([{ "log": "task_nothing" }, { "log": mine }, { "log": mine, "after": 99, "epoch": 7 }]),
    )
    .await;
    let codes: Vec<_> = frames.iter().filter(|frame| frame["op"] == "error").collect();
    assert_eq!((&codes[0]["ref"], &codes[0]["error"]["code"]), (&json!("task_nothing"), &json!("unknown_log")));
    assert_eq!((&codes[1]["ref"], &codes[1]["error"]["code"]), (&json!(mine), &json!("epoch_changed")));
    assert!(frames.iter().any(|frame| frame["log"] == mine && frame["reason"] == "ended"), "{frames:?}");
    // Another tenant's is as unknown as one that never was.
    let frames = follow(&server, &format!("authorization: Bearer {stranger}\r\n"), json!([{ "log": mine }])).await;
    assert_eq!((frames.len(), &frames[0]["error"]["code"]), (1, &json!("unknown_log")), "{frames:?}");
    // As over a WebSocket, the log that is one too many is refused, and the others are told.
    let four = ["a", "b", "c"].map(|log| json!({ "log": log })).into_iter().chain([json!({ "log": mine })]).collect();
    let frames = follow(&server, &admin, four).await;
    let too_many: Vec<_> = frames.iter().filter(|frame| frame["error"]["code"] == "too_many_follows").collect();
    assert_eq!((too_many.len(), &too_many[0]["ref"]), (1, &json!(mine)), "{frames:?}");
    for logs in [json!([]), json!([{ "log": 1 }]), json!("a")] {
        let body = json!({ "logs": logs }).to_string();
        let (answered, _, body) = ask(&server, "POST", "/v1/follow", &admin, &body).await;
        assert!(answered == 400 && body.contains("invalid_request"), "{answered} {body}");
    }
}
