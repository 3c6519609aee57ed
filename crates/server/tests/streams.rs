//! Durable Streams on a real server, where the protocol's own tests do not look: over `kill -9`, on the logs of
//! tasks, and for pages of other sites.
//!
//! `make test` kills twice; `make soak` sets `TIDEWIRE_TEST_KILLS`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{PATIENCE, Server, ask, number_from_env, script_text, scripted, task};
use tidewire_testkit::random::Random;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TEXT: &str = "content-type: text/plain\r\n";
const PRODUCERS: usize = 8;

/// A header of an answer.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn offset(head: &str) -> String {
    header(head, "stream-next-offset").expect("every answer says where to go on").to_owned()
}

/// Everything in a stream.
async fn whole(server: &Server, path: &str) -> String {
    let (mut all, mut at) = (String::new(), "-1".to_owned());
    loop {
        let (status, head, body) = ask(server, "GET", &format!("{path}?offset={at}"), "", "").await;
        assert_eq!(status, 200, "{body}");
        all.push_str(&body);
        if header(&head, "stream-up-to-date").is_some() {
            return all;
        }
        at = offset(&head);
    }
}

/// One append; the status, or nothing where the server went away.
async fn append(address: &str, producer: usize, seq: u64, body: &str) -> Option<u16> {
    let request = format!(
        "POST /v1/stream/shared HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n{TEXT}\
         producer-id: p{producer}\r\nproducer-epoch: 0\r\nproducer-seq: {seq}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    String::from_utf8_lossy(&answer).split_whitespace().nth(1)?.parse().ok()
}

/// Appends until the server is gone. The number that was not answered.
async fn produce(address: String, producer: usize, from: u64, done: Arc<AtomicUsize>) -> u64 {
    let mut seq = from;
    loop {
        match append(&address, producer, seq, &format!("p{producer}:{seq}\n")).await {
            Some(200) => seq += 1,
            // The first one may have been committed before the server fell.
            Some(204) if seq == from => seq += 1,
            Some(status) => panic!("producer {producer} got {status} for {seq}"),
            None => return seq,
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_repeats_its_last_append_after_a_kill_adds_nothing() {
    let kills = number_from_env("TIDEWIRE_TEST_KILLS", 2);
    let mut random = Random::new(0x5EED_57E4);
    let mut server = Server::start("");
    let (status, _, body) = ask(&server, "PUT", "/v1/stream/shared", TEXT, "").await;
    assert_eq!(status, 201, "{body}");
    let mut next = [0; PRODUCERS];
    for round in 0..kills {
        let done = Arc::new(AtomicUsize::new(0));
        let producing: Vec<_> = (0..PRODUCERS)
            .map(|number| tokio::spawn(produce(server.address().to_owned(), number, next[number], done.clone())))
            .collect();
        let under_way = async {
            while done.load(Ordering::Relaxed) < 5 * PRODUCERS {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, under_way).await.expect("the producers come to append");
        // Not to wait for anything: the moment of the kill is what this test varies.
        tokio::time::sleep(Duration::from_micros(random.below(20_000))).await;
        server.kill();
        for (number, producer) in producing.into_iter().enumerate() {
            next[number] = producer.await.unwrap();
        }
        server.restart();
        let all = whole(&server, "/v1/stream/shared").await;
        for (number, unanswered) in next.iter().enumerate() {
            let own = format!("p{number}:");
            let said: Vec<u64> =
                all.lines().filter_map(|line| line.strip_prefix(&own)).map(|seq| seq.parse().unwrap()).collect();
            // The one that was not answered may be there; all before it must be, each once and in order.
            assert!(said.iter().copied().eq(0..said.len() as u64), "round {round}, producer {number}: {said:?}");
            assert!((*unanswered..=unanswered + 1).contains(&(said.len() as u64)), "{said:?}, {unanswered}");
        }
    }
    // Every producer repeats itself, whatever became of its last append, and nothing is doubled.
    for (number, seq) in next.iter().enumerate() {
        for _ in 0..2 {
            let status = append(server.address(), number, *seq, &format!("p{number}:{seq}\n")).await.unwrap();
            assert!(status == 200 || status == 204, "{status}");
        }
    }
    let all = whole(&server, "/v1/stream/shared").await;
    assert_eq!(all.lines().count() as u64, next.iter().map(|seq| seq + 1).sum::<u64>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_a_task_is_a_stream_that_can_only_be_read() {
    let server = Server::start(&scripted(2));
    let script = serde_json::json!({ "tokens": 20, "delay_ms": 2, "seed": "s" });
    let ack = server.http().submit(&task(script)).await.unwrap();
    let path = format!("/v1/stream/tasks/{}", ack.id);
    // Followed while it grows, poll by poll.
    let (mut events, mut at) = (Vec::new(), "-1".to_owned());
    let head = loop {
        let poll = format!("{path}?offset={at}&live=long-poll");
        let (status, head, body) = ask(&server, "GET", &poll, "", "").await;
        assert!(status == 200 || status == 204, "{status}: {body}");
        if status == 200 {
            assert_eq!(header(&head, "content-type"), Some("application/json"));
            events.extend(serde_json::from_str::<Vec<serde_json::Value>>(&body).unwrap());
        }
        at = offset(&head);
        if header(&head, "stream-closed").is_some() {
            break head;
        }
    };
    let text: String =
        events.iter().filter(|event| event["type"] == "text").filter_map(|e| e["data"].as_str()).collect();
    assert_eq!(text, script_text("s", 20));
    assert_eq!(events.first().unwrap()["type"], "started");
    assert_eq!(events.last().unwrap()["data"]["state"], "done");
    let mut next = 0;
    for event in &events {
        assert_eq!(event["offset"], next, "the offsets are dense");
        next += event["count"].as_u64().unwrap_or(1);
    }
    // At its end there is nothing more to wait for.
    let (status, closed, _) = ask(&server, "GET", &format!("{path}?offset={at}&live=long-poll"), "", "").await;
    assert_eq!((status, header(&closed, "stream-closed")), (204, Some("true")), "{head}");
    let (status, head, body) = ask(&server, "GET", &format!("{path}?offset=-1&live=sse"), "", "").await;
    assert_eq!((status, header(&head, "content-type")), (200, Some("text/event-stream")));
    assert!(body.contains("event: data\ndata:[") && body.contains("\"streamClosed\":true"), "{body}");
    let (status, head, _) = ask(&server, "HEAD", &path, "", "").await;
    assert_eq!((status, offset(&head), header(&head, "stream-closed")), (200, at, Some("true")));
    for method in ["PUT", "POST", "DELETE"] {
        let (status, head, body) = ask(&server, method, &path, TEXT, "x").await;
        assert_eq!((status, header(&head, "allow")), (405, Some("get, head")), "{method}");
        assert!(body.contains("method_not_allowed"), "{body}");
    }
    let unknown = "/v1/stream/tasks/task_01k00000000000000000000000";
    let (status, _, body) = ask(&server, "GET", unknown, "", "").await;
    assert!(status == 404 && body.contains("unknown_task"), "{status}: {body}");
    let fork = format!("stream-forked-from: {path}\r\n");
    assert_eq!(ask(&server, "PUT", "/v1/stream/fork", &fork, "").await.0, 400, "a task's log is not forked");
}

#[tokio::test]
async fn pages_of_other_sites_are_kept_out_of_streams_too() {
    let server = Server::start("[access]\norigins = [\"https://app.example\"]\n");
    assert_eq!(ask(&server, "PUT", "/v1/stream/a", "content-type: text/html\r\n", "<script>").await.0, 201);
    for method in ["GET", "PUT", "POST", "DELETE"] {
        let (status, _, body) = ask(&server, method, "/v1/stream/a", "origin: https://evil.example\r\n", "x").await;
        assert!(status == 403 && body.contains("origin_not_allowed"), "{method}: {status} {body}");
    }
    let (status, head, _) = ask(&server, "GET", "/v1/stream/a", "origin: https://app.example\r\n", "").await;
    assert_eq!((status, header(&head, "access-control-allow-origin")), (200, Some("https://app.example")));
    let exposed = header(&head, "access-control-expose-headers").unwrap();
    assert!(exposed.contains("stream-next-offset") && exposed.contains("etag"), "{exposed}");
    // A person who is led to it sees what it holds, and nothing in it runs as a page of this server.
    assert_eq!(header(&head, "content-security-policy"), Some("sandbox; default-src 'none'"));
    assert_eq!(header(&head, "cross-origin-resource-policy"), Some("same-origin"));
    let preflight = "origin: https://app.example\r\naccess-control-request-method: PUT\r\n";
    let (status, head, _) = ask(&server, "OPTIONS", "/v1/stream/a", preflight, "").await;
    assert!(status == 204 && header(&head, "access-control-allow-methods").unwrap().contains("put"), "{head}");
}
