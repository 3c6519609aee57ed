//! Bad input, through the real faces: each kind has its stable code and says what to do, and the connection lives
//! on wherever the protocol was not broken.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use futures_util::{SinkExt, StreamExt};
use support::{PATIENCE, Server, ask, scripted, task};
use tidewire_proto::Code;
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

const UNKNOWN: &str = "task_01k00000000000000000000000";

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(server: &Server) -> Socket {
    let uri = format!("ws://{}/v1/ws", server.address());
    ClientBuilder::new().uri(&uri).unwrap().connect().await.unwrap().0
}

async fn next_text(socket: &mut Socket) -> serde_json::Value {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.expect("an answer").unwrap().unwrap();
        if let Some(text) = message.as_text() {
            return serde_json::from_str(text).unwrap();
        }
    }
}

async fn say(socket: &mut Socket, frame: &str) -> serde_json::Value {
    socket.send(Message::text(frame.to_owned())).await.unwrap();
    next_text(socket).await
}

/// Method, path, further headers, body; and then status and code.
type Case = (&'static str, String, &'static str, String, u16, Code);

fn cases() -> Vec<Case> {
    let post = |body: &str, status, code| ("POST", "/v1/tasks".to_owned(), "", body.to_owned(), status, code);
    let get = |path: &str, status, code| ("GET", path.to_owned(), "", String::new(), status, code);
    vec![
        post("{", 400, Code::InvalidJson),
        post("[]", 400, Code::InvalidJson),
        post("{}", 400, Code::InvalidRequest),
        post(r#"{"prompt":1}"#, 400, Code::InvalidRequest),
        post(r#"{"promt":"x"}"#, 400, Code::InvalidRequest),
        post(r#"{"prompt":"x","input":{"messages":[]}}"#, 400, Code::InvalidRequest),
        post(r#"{"input":{"messages":[]}}"#, 400, Code::InvalidRequest),
        post(r#"{"input":{"messages":3}}"#, 400, Code::InvalidRequest),
        post(r#"{"prompt":"x","durability":"eternal"}"#, 400, Code::InvalidRequest),
        post(r#"{"prompt":"x","on_disconnect":"cry"}"#, 400, Code::InvalidRequest),
        post(r#"{"prompt":"x","deadline_ms":0}"#, 400, Code::InvalidRequest),
        post(r#"{"prompt":"x","max_attempts":11}"#, 400, Code::InvalidRequest),
        post(r#"{"prompt":"x","metadata":[1]}"#, 400, Code::InvalidRequest),
        post(r#"{"prompt":"x","model":"scriptd"}"#, 404, Code::UnknownModel),
        post(&format!(r#"{{"prompt":"{}"}}"#, "x".repeat(1 << 20)), 413, Code::TooLarge),
        get(&format!("/v1/tasks/{UNKNOWN}"), 404, Code::UnknownTask),
        get("/v1/tasks/nonsense", 404, Code::UnknownTask),
        get(&format!("/v1/tasks/{UNKNOWN}/events"), 404, Code::UnknownTask),
        get(&format!("/v1/tasks/{UNKNOWN}/text"), 404, Code::UnknownTask),
        ("POST", format!("/v1/tasks/{UNKNOWN}/stop"), "", String::new(), 404, Code::UnknownTask),
        get("/v1/tasks?state=happy", 400, Code::InvalidRequest),
        get("/v1/tasks?limit=0", 400, Code::InvalidRequest),
        get("/v1/tasks?cursor=x", 400, Code::InvalidRequest),
        get("/v1/nothing", 404, Code::NotFound),
        ("DELETE", "/v1/tasks".to_owned(), "", String::new(), 405, Code::MethodNotAllowed),
        ("GET", "/v1/tasks".to_owned(), "origin: https://evil.example\r\n", String::new(), 403, Code::OriginNotAllowed),
        ("GET", "/v1/ws".to_owned(), "", String::new(), 400, Code::InvalidRequest),
    ]
}

#[tokio::test]
async fn every_bad_request_has_its_code_and_a_word_of_help() {
    let server = Server::start(&scripted(4));
    for (method, path, headers, body, status, code) in cases() {
        let shown: String = body.chars().take(60).collect();
        let (got, _, answer) = ask(&server, method, &path, headers, &body).await;
        let answer: serde_json::Value =
            serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{path} {shown}: {answer}"));
        assert_eq!(
            (got, answer["error"]["code"].as_str()),
            (status, Some(code.as_str())),
            "{method} {path} {shown}: {answer}"
        );
        assert!(answer["error"]["message"].as_str().unwrap().len() > 10, "{answer}");
    }
    let (_, _, answer) = ask(&server, "POST", "/v1/tasks", "", r#"{"promt":"x"}"#).await;
    assert!(answer.contains("did you mean `prompt`"), "{answer}");
    let (_, _, answer) = ask(&server, "POST", "/v1/tasks", "", r#"{"prompt":"x","model":"scriptd"}"#).await;
    assert!(answer.contains("did you mean `scripted`"), "{answer}");
}

#[tokio::test]
async fn a_place_that_does_not_exist_is_told_apart_from_one_of_another_epoch() {
    let server = Server::start(&scripted(4));
    let http = server.http();
    let accepted = http.submit(&task(serde_json::json!({ "tokens": 3, "delay_ms": 0 }))).await.unwrap();
    http.text(&accepted.id, Some(PATIENCE)).await.unwrap();
    let events = |query: String| {
        let path = format!("/v1/tasks/{}/events?{query}", accepted.id);
        let server = &server;
        async move { ask(server, "GET", &path, "", "").await }
    };
    let (status, _, body) = events("after=4000".into()).await;
    assert!(status == 416 && body.contains("offset_in_future"), "{status} {body}");
    let (status, _, body) = events(format!("after=1&epoch={}", accepted.epoch ^ 1)).await;
    assert!(status == 409 && body.contains("epoch_changed"), "{status} {body}");
    let (status, _, body) = events(format!("after=1&epoch={}", accepted.epoch)).await;
    assert!(status == 200 && body.contains("\"from\":2"), "{status} {body}");

    let mut socket = connect(&server).await;
    let follow = |after: u64, epoch: u32| {
        format!(r#"{{"op":"follow","ref":"f","log":"{}","after":{after},"epoch":{epoch}}}"#, accepted.id)
    };
    let answer = say(&mut socket, &follow(4000, accepted.epoch)).await;
    assert_eq!((&answer["error"]["code"], &answer["ref"]), (&"offset_in_future".into(), &"f".into()));
    let answer = say(&mut socket, &follow(1, accepted.epoch ^ 1)).await;
    assert_eq!(answer["error"]["code"], "epoch_changed");
    let answer = say(&mut socket, &follow(1, accepted.epoch)).await;
    assert_eq!(answer["op"], "following");
}

#[tokio::test]
async fn a_connection_survives_what_is_no_violation_of_the_protocol() {
    let server = Server::start(&scripted(4));
    let mut socket = connect(&server).await;
    let too_large = format!(r#"{{"op":"ping","ref":"{}"}}"#, "x".repeat(1 << 20));
    let stop = format!(r#"{{"op":"stop","ref":"1","task":"{UNKNOWN}"}}"#);
    let follow = format!(r#"{{"op":"follow","ref":"1","log":"{UNKNOWN}"}}"#);
    let cases = [
        ("{", Code::InvalidJson),
        ("7", Code::InvalidJson),
        (r#"{"op":"fly","ref":"1"}"#, Code::UnknownOp),
        (r#"{"ref":"1"}"#, Code::InvalidRequest),
        (r#"{"op":"submit","ref":"1","task":{"promt":"x"}}"#, Code::InvalidRequest),
        (r#"{"op":"submit","ref":"1","task":{"prompt":"x","model":"gpt-9"}}"#, Code::UnknownModel),
        (r#"{"op":"submit","ref":"1","window_ms":9999999,"task":{"prompt":"x"}}"#, Code::InvalidRequest),
        (stop.as_str(), Code::UnknownTask),
        (follow.as_str(), Code::UnknownLog),
        (too_large.as_str(), Code::TooLarge),
    ];
    for (frame, code) in cases {
        let answer = say(&mut socket, frame).await;
        let shown: String = frame.chars().take(60).collect();
        assert_eq!(
            (&answer["op"], &answer["error"]["code"]),
            (&"error".into(), &code.as_str().into()),
            "{shown}: {answer}"
        );
        if frame.contains(r#""ref":"1""#) {
            assert_eq!(answer["ref"], "1", "{shown}");
        }
    }
    assert_eq!(say(&mut socket, r#"{"op":"ping","ref":"alive"}"#).await["ref"], "alive");
}

#[tokio::test]
async fn what_breaks_the_protocol_is_closed_with_a_code_that_says_not_to_come_back() {
    let server = Server::start(&scripted(4));
    for (message, code) in [(Message::binary(&b"x"[..]), 4500), (Message::text("x".repeat(5 << 20)), 1009)] {
        let mut socket = connect(&server).await;
        // The server may close in the middle of a frame that is too large.
        let _ = socket.send(message).await;
        let close = loop {
            match tokio::time::timeout(PATIENCE, socket.next()).await.expect("a close") {
                Some(Ok(message)) if message.is_close() => break message.as_close().map(|(code, _)| u16::from(code)),
                Some(Ok(_)) => {}
                _ => break None,
            }
        };
        if let Some(close) = close {
            assert_eq!(close, code);
            assert!(!tidewire_proto::close::may_reconnect(close));
        } else {
            assert_eq!(code, 1009, "only a connection that is cut inside a frame may end without a word");
        }
    }
}

#[tokio::test]
async fn a_full_queue_refuses_early_and_says_when_to_come_back() {
    let server = Server::start(&format!("[queue]\nwaiting = 2\n{}", scripted(1)));
    let endless = || task(serde_json::json!({ "tokens": 1_000_000, "delay_ms": 1000 }));
    let http = server.http();
    let mut refused = None;
    for _ in 0..6 {
        if let Err(error) = http.submit(&endless()).await {
            refused = Some(error);
            break;
        }
    }
    let refused = refused.expect("one running, two waiting, and then no more");
    let tidewire_client::HttpError::Refused { status, error } = refused else { panic!("{refused}") };
    assert_eq!((status, error.code.as_str()), (429, "queue_full"));
    assert!(error.retry_after_ms.is_some());
    let body = r#"{"input":{"messages":[{"role":"user","content":"x"}]}}"#;
    let (status, head, _) = ask(&server, "POST", "/v1/tasks", "", body).await;
    assert!(status == 429 && head.contains("retry-after: 1"), "{head}");
}

#[tokio::test]
async fn an_idempotency_key_with_another_body_is_refused() {
    let server = Server::start(&scripted(4));
    let header = "idempotency-key: k1\r\n";
    let (first, _, one) = ask(&server, "POST", "/v1/tasks", header, r#"{"prompt":"x"}"#).await;
    let (again, _, two) = ask(&server, "POST", "/v1/tasks", header, r#"{"prompt":"x"}"#).await;
    let id = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["id"].clone();
    assert_eq!((first, again, id(&one)), (202, 200, id(&two)));
    let (status, _, other) = ask(&server, "POST", "/v1/tasks", header, r#"{"prompt":"y"}"#).await;
    assert!(status == 409 && other.contains("idempotency_conflict"), "{other}");
}

#[tokio::test]
async fn a_server_without_a_model_says_how_to_get_one() {
    let server = Server::start("");
    let (status, _, body) = ask(&server, "POST", "/v1/tasks", "", r#"{"prompt":"x"}"#).await;
    assert!(status == 400 && body.contains("no_model") && body.contains("make run"), "{body}");
    let (status, _, body) = ask(&server, "GET", "/v1/models", "", "").await;
    assert!(status == 200 && body.contains("\"data\":[]"), "{body}");
}

#[tokio::test]
async fn openai_callers_get_openai_errors() {
    let server = Server::start(&scripted(4));
    let post = |body: &'static str| ask(&server, "POST", "/v1/chat/completions", "", body);
    let (status, _, body) = post("{").await;
    assert!(status == 400 && body.contains("invalid_request_error") && body.contains("invalid_json"), "{body}");
    let (status, _, body) = post(r#"{"model":"nope","messages":[{"role":"user","content":"x"}]}"#).await;
    assert!(status == 404 && body.contains("unknown_model"), "{body}");
    let (status, _, body) = post(r#"{"messages":[{"role":"user","content":"x"}],"script":{"fault":"invalid"}}"#).await;
    assert!(status == 400 && body.contains("invalid_input"), "{body}");
    let (status, _, body) = post(r#"{"n":99,"messages":[{"role":"user","content":"x"}]}"#).await;
    assert!(status == 400 && body.contains("invalid_request"), "{body}");
}
