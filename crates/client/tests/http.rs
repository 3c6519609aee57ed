//! The HTTP face, against a listener that gives one canned answer.
// Clippy knows functions marked as tests, not those that only tests call.
#![allow(clippy::unwrap_used)]

use tidewire_client::proto::Submission;
use tidewire_client::{Endpoint, Filter, Http, HttpError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A client of a server that answers its one request so, and the request's head once it has come.
async fn canned(status: &str, body: &str) -> (Http, JoinSet<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint: Endpoint = listener.local_addr().unwrap().to_string().parse().unwrap();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            stream.read_buf(&mut head).await.unwrap();
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap()
    });
    (Http::new(&endpoint).unwrap(), serving)
}

#[tokio::test]
async fn a_refusal_carries_the_server_s_code_and_words() {
    let body = r#"{"error":{"code":"queue_full","message":"too many tasks wait","retry_after_ms":1000}}"#;
    let (http, _serving) = canned("429 Too Many Requests", body).await;
    let error = http.submit(&Submission::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "too many tasks wait (queue_full)");
    let HttpError::Refused { status: 429, error } = error else { panic!("{error}") };
    assert_eq!(error.retry_after_ms, Some(1000));
}

#[tokio::test]
async fn an_answer_that_is_not_ours_is_shown() {
    let (http, _serving) = canned("502 Bad Gateway", "<h1>nginx</h1>").await;
    let error = http.task("task_1").await.unwrap_err();
    assert!(error.to_string().contains("502 Bad Gateway: <h1>nginx</h1>"), "{error}");
}

#[tokio::test]
async fn a_list_asks_for_what_the_filter_says() {
    let (http, mut serving) = canned("200 OK", r#"{"tasks":[],"next":"task_9"}"#).await;
    let filter = Filter { state: Some("queued,running".into()), limit: Some(3), ..Filter::default() };
    assert_eq!(http.tasks(&filter).await.unwrap().next.unwrap(), "task_9");
    let head = serving.join_next().await.unwrap().unwrap();
    assert!(head.starts_with("GET /v1/tasks?state=queued%2Crunning&limit=3 HTTP/1.1\r\n"), "{head}");
}

#[tokio::test]
async fn a_server_that_takes_no_work_says_so_and_that_is_no_error() {
    let body = r#"{"ready":false,"durability":"fsync","engine":"embedded","version":"0","reason":"draining"}"#;
    let (http, _serving) = canned("503 Service Unavailable", body).await;
    assert_eq!(http.ready().await.unwrap().reason.unwrap(), "draining");
}

#[tokio::test]
async fn where_no_server_is_the_error_says_how_to_start_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint: Endpoint = listener.local_addr().unwrap().to_string().parse().unwrap();
    drop(listener);
    let error = Http::new(&endpoint).unwrap().models().await.unwrap_err();
    assert_eq!(error.to_string(), format!("no server at {}: start one with `tidewire serve`", endpoint.url()));
}
