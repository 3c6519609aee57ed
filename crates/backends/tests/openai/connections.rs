//! How connections are used: closed at once when a run is dropped, used again when its answer was whole.

use super::backend;
use super::runs::{answer, hello, next};
use super::upstream::{Saw, Step, Upstream, chunk, document, events, unfinished};
use std::sync::Arc;
use tidewire_core::port::{Backend, Chunk, Fault};
use tokio::sync::Notify;

const TEXT: &str = include_str!("../transcripts/openai_text.sse");

#[tokio::test]
async fn dropping_a_run_closes_its_connection() {
    let first = TEXT.split_inclusive("\n\n").take(2).collect::<String>();
    let mut upstream = Upstream::start([[unfinished(&first, usize::MAX), vec![Step::Stall]].concat()]).await;
    let backend = backend(&upstream);
    let mut run = backend.run(hello()).await.unwrap();
    assert_eq!(next(&mut run.chunks).await, Chunk::Text("Grüße".into()));
    upstream.request().await;
    drop(run);
    assert_eq!(upstream.saw().await, Saw::Gone { connection: 0 });
}

#[tokio::test]
async fn dropping_a_request_that_waits_closes_its_connection() {
    let mut upstream = Upstream::start([vec![Step::Stall]]).await;
    let backend = backend(&upstream);
    tokio::select! {
        _ = backend.run(hello()) => panic!("the upstream says nothing"),
        _ = upstream.request() => {}
    }
    assert_eq!(upstream.saw().await, Saw::Gone { connection: 0 });
}

#[tokio::test]
async fn a_connection_is_used_again_after_a_whole_answer() {
    // The end of the body comes on its own, as from servers on uvicorn; a refusal's body ends by its length.
    let refusal = document("400 Bad Request", "", include_str!("../transcripts/openai_invalid.json"));
    let answers = [events(TEXT, usize::MAX), refusal, events(TEXT, 1), document("200 OK", "", r#"{"data":[]}"#)];
    let mut upstream = Upstream::start(answers).await;
    let backend = backend(&upstream);
    answer(&backend, hello()).await;
    assert!(backend.run(hello()).await.is_err());
    answer(&backend, hello()).await;
    backend.models().await.unwrap();
    for _ in 0..4 {
        assert_eq!(upstream.request().await.0, 0, "all on one connection");
    }
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_meanwhile_is_replaced() {
    let closing = [events(TEXT, usize::MAX), vec![Step::Close]].concat();
    let mut upstream = Upstream::start([closing, events(TEXT, usize::MAX)]).await;
    let backend = backend(&upstream);
    answer(&backend, hello()).await;
    answer(&backend, hello()).await;
    assert_eq!((upstream.request().await.0, upstream.request().await.0), (0, 1));
}

#[tokio::test]
async fn a_request_on_a_connection_that_is_being_closed_goes_out_again() {
    let mut upstream = Upstream::start([events(TEXT, 99), vec![Step::Close], events(TEXT, 99)]).await;
    let backend = backend(&upstream);
    answer(&backend, hello()).await;
    answer(&backend, hello()).await;
    let mut used = Vec::new();
    for _ in 0..3 {
        used.push(upstream.request().await);
    }
    assert_eq!(used.iter().map(|(connection, ..)| *connection).collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!(used[1].2, used[2].2);
}

#[tokio::test]
async fn a_request_that_closes_every_connection_is_not_repeated_for_ever() {
    let mut upstream = Upstream::start([vec![Step::Close], vec![Step::Close]]).await;
    assert_eq!(backend(&upstream).run(hello()).await.err().unwrap().fault, Fault::Broken);
    assert_eq!((upstream.request().await.0, upstream.request().await.0), (0, 1));
}

#[tokio::test]
async fn an_answer_ends_though_the_body_is_kept_open() {
    let gate = Arc::new(Notify::new());
    let steps = [unfinished(TEXT, usize::MAX), vec![Step::Await(gate.clone()), chunk(b"data: late\n\n")]].concat();
    let upstream = Upstream::start([steps]).await;
    let chunks = answer(&backend(&upstream), hello()).await;
    assert_eq!(chunks.last(), Some(&Chunk::Finish("stop".into())));
    gate.notify_one();
}
