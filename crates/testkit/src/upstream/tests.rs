//! The scripted model server itself, over a plain socket.

use super::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn send(upstream: &Upstream, path: &str, body: &str) -> TcpStream {
    let mut socket = TcpStream::connect(upstream.address()).await.unwrap();
    let request = format!("POST /v1/{path} HTTP/1.1\r\nhost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// Reads an answer, until it is whole or the connection ends.
async fn read(socket: &mut TcpStream) -> String {
    read_until(socket, |read| {
        let (head, body) = read.split_once("\r\n\r\n")?;
        let length = head.split("content-length: ").nth(1).map(|rest| rest.lines().next().unwrap().parse().unwrap());
        Some(length.map_or(body.ends_with("0\r\n\r\n"), |length: usize| body.len() >= length))
    })
    .await
}

async fn read_until(socket: &mut TcpStream, enough: impl Fn(&str) -> Option<bool>) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if enough(&text) == Some(true) {
            return text;
        }
        match tokio::time::timeout(PATIENCE, socket.read_buf(&mut read)).await.expect("nothing more came") {
            Ok(0) => return text,
            Ok(_) => {}
            Err(error) => return format!("{text} [{:?}]", error.kind()),
        }
    }
}

const STREAM: &str = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
const DOCUMENT: &str = r#"{"model":"m","messages":[]}"#;

async fn stream(script: Script) -> (Upstream, String) {
    let upstream = Upstream::start(script);
    let mut socket = send(&upstream, "chat/completions", STREAM).await;
    let answer = read(&mut socket).await;
    (upstream, answer)
}

fn words(answer: &str) -> Vec<String> {
    let pieces = answer.split(r#""content":""#).skip(1);
    pieces.map(|rest| rest.split('"').next().unwrap().to_owned()).filter(|word| !word.is_empty()).collect()
}

#[tokio::test]
async fn a_stream_has_its_tokens_its_reason_and_its_usage() {
    for script in [Script::tokens(3), Script::tokens(3).paced(Duration::from_millis(2), Duration::from_millis(1))] {
        let (upstream, answer) = stream(script.header("x-ratelimit-remaining-requests", "3")).await;
        assert_eq!(words(&answer), ["w0 ", "w1 ", "w2 "], "{answer}");
        assert!(answer.contains("x-ratelimit-remaining-requests: 3\r\n"), "{answer}");
        assert!(answer.contains(r#""finish_reason":"stop""#), "{answer}");
        assert!(answer.contains(r#""completion_tokens":3"#), "{answer}");
        assert!(answer.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{answer}");
        upstream.wait_for("the end", |calls| (calls[0].state == State::Done).then_some(())).await;
        assert_eq!((upstream.calls()[0].tokens, upstream.counts().tokens), (3, 3));
    }
}

#[tokio::test]
async fn a_document_says_the_same_and_max_tokens_shorten_it() {
    let upstream = Upstream::start(Script::tokens(5));
    let mut socket = send(&upstream, "chat/completions", r#"{"model":"m","max_tokens":2,"n":2,"messages":[]}"#).await;
    let answer = read(&mut socket).await;
    assert_eq!(words(&answer), ["w0 w1 ", "w0 w1 "], "{answer}");
    assert!(answer.contains(r#""finish_reason":"length""#) && answer.contains(r#""completion_tokens":4"#), "{answer}");
}

#[tokio::test]
async fn an_answer_goes_on_where_the_assistants_last_message_ends() {
    let upstream = Upstream::start(Script::tokens(4));
    for (begun, rest) in [("w0 w1 ", "w2 w3 "), ("w0 w1", "w2 w3 "), ("other", "w0 w1 w2 w3 ")] {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"assistant","content":"{begun}"}}]}}"#);
        let mut socket = send(&upstream, "chat/completions", &body).await;
        assert_eq!(words(&read(&mut socket).await), [rest], "after {begun:?}");
    }
}

#[tokio::test]
async fn a_client_that_goes_is_seen_and_the_tokens_that_it_got_are_counted() {
    let upstream = Upstream::start(Script::tokens(50).with(Fault::after(20, Break::Stall)));
    let mut socket = send(&upstream, "chat/completions", STREAM).await;
    let seen = read_until(&mut socket, |read| Some(read.contains("w19 "))).await;
    assert_eq!(words(&seen).len(), 20);
    assert_eq!(upstream.wait_for_stall().await.tokens, 20);
    drop(socket);
    let cancel = upstream.wait_for_cancel().await;
    assert_eq!((cancel.tokens, cancel.state), (20, State::Cancelled));
    assert_eq!((upstream.counts().cancelled, upstream.counts().running), (1, 0));
}

#[tokio::test]
async fn a_stall_is_ended_by_the_test_and_the_rest_comes() {
    for after in [0, 2, 4] {
        let upstream = Upstream::start(Script::tokens(4).with(Fault::after(after, Break::Stall)));
        let mut socket = send(&upstream, "chat/completions", STREAM).await;
        assert_eq!(upstream.wait_for_stall().await.tokens, u64::from(after));
        upstream.resume();
        assert_eq!(words(&read(&mut socket).await).len(), 4, "after {after}");
    }
}

#[tokio::test]
async fn each_break_in_a_stream_comes_after_its_tokens() {
    for how in [Break::Cut, Break::Reset, Break::Malformed, Break::Error, Break::Early] {
        let (upstream, answer) = stream(Script::tokens(4).with(Fault::after(2, how))).await;
        let whole = answer.contains(r#""finish_reason":"stop""#);
        let ended = answer.ends_with("0\r\n\r\n");
        let expected = match how {
            Break::Malformed => (true, true),
            Break::Error | Break::Early => (false, true),
            _ => (false, false),
        };
        assert_eq!((whole, ended), expected, "{how:?}: {answer}");
        assert_eq!(answer.contains(r#"{"error""#), how == Break::Error);
        upstream.wait_for("the fault", |calls| (calls[0].state == State::Faulted).then_some(())).await;
        assert_eq!(upstream.calls()[0].tokens, if how == Break::Malformed { 4 } else { 2 }, "{how:?}");
    }
}

#[tokio::test]
async fn refusals_have_their_status_and_say_when_to_come_again() {
    let upstream = Upstream::start(Script::failing(Fault::context_too_long()));
    upstream.play_once(Script::failing(Fault::too_many_requests(Some(Duration::from_millis(1500)))));
    upstream.play_to("other", Script::tokens(1));
    let mut socket = send(&upstream, "chat/completions", DOCUMENT).await;
    let first = read(&mut socket).await;
    assert!(
        first.starts_with("HTTP/1.1 429 ") && first.contains("retry-after: 2\r\nretry-after-ms: 1500\r\n"),
        "{first}"
    );
    let mut socket = send(&upstream, "chat/completions", DOCUMENT).await;
    let second = read(&mut socket).await;
    assert!(second.starts_with("HTTP/1.1 400 ") && second.contains("context_length_exceeded"), "{second}");
    let mut socket = send(&upstream, "chat/completions", r#"{"model":"other"}"#).await;
    assert!(read(&mut socket).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_server_that_is_down_refuses_connections_and_comes_back_on_the_same_port() {
    let upstream = Upstream::start(Script::tokens(1));
    upstream.down();
    // The listener closes a moment after it was told to.
    let refused = async {
        while TcpStream::connect(upstream.address()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("it still listens");
    upstream.up().unwrap();
    let mut socket = send(&upstream, "chat/completions", DOCUMENT).await;
    assert_eq!(words(&read(&mut socket).await), ["w0 "]);
}

#[tokio::test]
async fn embeddings_are_each_inputs_own() {
    let upstream = Upstream::start(Script { dimensions: 2, ..Script::default() });
    let mut socket = send(&upstream, "embeddings", r#"{"model":"m","input":["a b","c"]}"#).await;
    let answer = read(&mut socket).await;
    let body: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body["usage"]["prompt_tokens"], 3);
    for (at, input) in ["a b", "c"].into_iter().enumerate() {
        let places: Vec<f32> = serde_json::from_value(body["data"][at]["embedding"].clone()).unwrap();
        assert_eq!(places, embedding(input, 2));
    }
    assert_ne!(embedding("a b", 2), embedding("c", 2));
    assert_eq!(upstream.calls()[0].inputs, ["a b", "c"]);
}
