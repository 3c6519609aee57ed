//! Connections that are cut at random places, again and again: each client's text is the log's all the same.
//!
//! `make test` cuts 60 clients 5 times each; `make soak` sets `TIDEWIRE_TEST_CLIENTS=1000` and `TIDEWIRE_TEST_CUTS=20`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

#[path = "cuts/plan.rs"]
mod plan;
#[path = "cuts/sse.rs"]
mod sse;
mod support;

use plan::{Size, start_proxy};
use std::sync::Arc;
use std::time::Duration;
use support::{Server, ask, number_from_env, script_text, scripted, task};
use tidewire_client::{Answer, Backoff, Counts, Endpoint, Options, Session};
use tidewire_testkit::proxy::Proxy;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const SEED: u64 = 0xC07_5EED;
/// Clients at once: as many as a debug build on two cores serves beside its tests.
const AT_ONCE: usize = 120;
/// Every third client reads over SSE, the others over the WebSocket.
const SSE_EVERY: usize = 3;
/// Tells stuck from slow.
const PATIENCE: Duration = Duration::from_mins(3);

/// What a client got.
struct Got {
    task: String,
    text: String,
    end: serde_json::Value,
}

/// Follows a log over one session through its proxy, submit and all.
async fn over_websocket(proxy: &Proxy, script: serde_json::Value) -> (Got, Counts) {
    let endpoint: Endpoint = format!("http://{}", proxy.address()).parse().unwrap();
    let backoff = Backoff { base: Duration::from_millis(2), cap: Duration::from_millis(50), attempts: 1000 };
    let options = Options { backoff, window_ms: Some(0) };
    // The first connection is the caller's to make; it is cut like any other.
    let (session, driver) = loop {
        if let Ok(opened) = Session::open(&endpoint, options).await {
            break opened;
        }
    };
    let driver = tokio::spawn(driver.run());
    let mut submitted = session.submit(task(script)).await.expect("a cut is no failure of a submit");
    let mut answer = Answer::default();
    let mut next = 0;
    while let Some(batch) = submitted.log.next().await {
        let batch = batch.expect("the session outlives its cuts");
        assert!(!batch.starts_over, "a durable log was not resumed");
        assert_eq!(batch.from, next, "a gap, a double or a step back");
        for event in batch.events().unwrap() {
            assert_eq!(event.offset, next, "a gap or a double within a frame");
            next = event.next();
            answer.apply(&event);
        }
        assert_eq!(batch.to, next);
    }
    let counts = session.counts();
    let end = answer.end().cloned().expect("every acknowledged task ends");
    let got = Got { task: submitted.ack.task.clone(), text: answer.text().to_owned(), end };
    drop((submitted, session));
    driver.await.unwrap();
    (got, counts)
}

/// Submits past the proxy, and follows with `Last-Event-ID` through it.
async fn over_sse(proxy: &Proxy, server: &Server, script: serde_json::Value) -> Got {
    let body = serde_json::to_string(&task(script)).unwrap();
    let (status, _, accepted) = ask(server, "POST", "/v1/tasks", "", &body).await;
    assert_eq!(status, 202, "{accepted}");
    let accepted: serde_json::Value = serde_json::from_str(&accepted).unwrap();
    let id = accepted["id"].as_str().unwrap().to_owned();
    let (text, end) = sse::follow(proxy.address(), &id).await;
    Got { task: id, text, end }
}

/// One client, from its proxy to the comparison with the server's own text.
async fn client(server: Arc<Server>, number: usize, size: Size) {
    let seed = format!("client-{number}-says-");
    let script = serde_json::json!({ "tokens": size.tokens(), "delay_ms": 5, "seed": seed });
    let proxy = start_proxy(server.address().parse().unwrap(), SEED + number as u64, size).await;
    let got = if number.is_multiple_of(SSE_EVERY) {
        over_sse(&proxy, &server, script).await
    } else {
        let (got, counts) = over_websocket(&proxy, script).await;
        assert_eq!((counts.gaps, counts.started_over), (0, 0), "client {number}: {counts:?}");
        got
    };
    let done = proxy.counts();
    assert_eq!(done.cuts + done.resets, size.cuts as u64, "client {number}: not every cut happened: {done:?}");
    assert_eq!(got.end["state"], "done", "client {number}: {}", got.end);
    assert_eq!(got.text, script_text(&seed, size.tokens()), "client {number}, seed {SEED:#x}");
    let (status, _, stored) = ask(&server, "GET", &format!("/v1/tasks/{}/text", got.task), "", "").await;
    assert_eq!((status, stored), (200, got.text), "client {number}: the server's text is another");
    proxy.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_are_cut_at_random_places_get_the_text_of_the_log() {
    let clients = number_from_env("TIDEWIRE_TEST_CLIENTS", 60);
    let size = Size { cuts: number_from_env("TIDEWIRE_TEST_CUTS", 5) };
    let server = Arc::new(Server::start(&scripted(AT_ONCE)));
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for number in 0..clients {
        let (server, room) = (server.clone(), room.clone());
        running.spawn(async move {
            let _place = room.acquire().await.unwrap();
            let whole = tokio::time::timeout(PATIENCE, client(server, number, size)).await;
            whole.unwrap_or_else(|_| panic!("client {number} did not come to its end; seed {SEED:#x}"));
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
    println!("{clients} clients, {} cuts: every text is the log's", clients * size.cuts);
}
