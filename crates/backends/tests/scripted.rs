//! The scripted backend: its text, its pace, its accidents, its counts.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "the runtime's clock stands still here unless the test moves it")]

#[path = "support/runs.rs"]
mod runs;

use futures_util::StreamExt;
use runs::{answer, begin, failure, finished, hello, next, read, request, text, usage};
use std::time::Duration;
use tidewire_backends::scripted::{self, Accident, Counts, Script, Scripted};
use tidewire_core::port::{Backend, Begins, Chunk, Fault, Request};
use tokio::time::Instant;

fn quick() -> Script {
    Script { delay_ms: 0, tokens: 10, ..Script::default() }
}

fn scripted(fields: &str) -> Request {
    request(&format!(r#"{{"messages":[{{"role":"user","content":"one two  three"}}],"script":{{{fields}}}}}"#))
}

fn after(committed: &str, fields: &str) -> Request {
    Request { committed: committed.to_owned(), ..scripted(fields) }
}

#[tokio::test]
async fn the_text_is_as_the_documentation_says() {
    let backend = Scripted::new(quick());
    let chunks = answer(&backend, hello()).await;
    assert_eq!(text(&chunks), "w0 w1 w2 w3 w4 w5 w6 w7-é漢🙂… w8 w9 ");
    assert_eq!(text(&chunks), scripted::text(&quick()));
    assert_eq!(chunks[7], Chunk::Text("w7-é漢🙂… ".into()));
    assert_eq!(chunks.len(), 12);
    assert!(finished(&chunks, "stop"));
}

#[tokio::test]
async fn a_request_says_what_to_play() {
    let backend = Scripted::new(quick()).with_model("other", Script { seed: "o".into(), ..quick() });
    let said = async |fields: &str| text(&answer(&backend, scripted(fields)).await);
    assert_eq!(said(r#""tokens":2"#).await, "w0 w1 ");
    assert_eq!(said(r#""tokens":2,"seed":"é""#).await, "é0 é1 ");
    let chunks = answer(&backend, scripted(r#""text":"a bc  d","finish_reason":"length""#)).await;
    let texts = ["a ", "bc ", " ", "d"].map(|text| Chunk::Text(text.into()));
    assert_eq!(chunks[..4], texts);
    assert!(finished(&chunks, "length"));
    let chunks =
        answer(&backend, scripted(r#""tokens":0,"reasoning":"hm","tool_calls":[{"index":0}],"usage":false"#)).await;
    let [reasoning, calls] = [Chunk::Reasoning("hm".into()), Chunk::ToolCall(r#"[{"index":0}]"#.into())];
    assert_eq!(chunks, [reasoning, calls, Chunk::Finish("stop".into())]);

    let other = Request { model: "other".into(), ..scripted(r#""tokens":1"#) };
    assert_eq!(text(&answer(&backend, other).await), "o0 ");
    let models: Vec<_> = backend.models().await.unwrap().into_iter().map(|model| model.name).collect();
    assert_eq!(models, ["scripted", "other"]);
}

#[tokio::test]
async fn the_words_of_the_messages_are_counted() {
    let backend = Scripted::new(quick());
    let used = |chunks: &[Chunk]| usage(chunks).map(|usage| (usage.input_tokens, usage.output_tokens));
    assert_eq!(used(&answer(&backend, scripted("")).await), Some((3, 10)));
    let parts =
        r#"{"messages":[{"content":null},{"content":[{"type":"text","text":"a \u0062"},{"type":"image_url"}]}]}"#;
    assert_eq!(used(&answer(&backend, request(parts)).await), Some((2, 10)));
    assert_eq!(used(&answer(&backend, after("w0 w1 ", "")).await), Some((3, 8)));
}

#[tokio::test]
async fn it_goes_on_after_committed_text_that_ends_with_a_token() {
    let backend = Scripted::new(quick());
    for (committed, fields, begins, said) in [
        ("w0 w1 ", r#""tokens":4"#, Begins::AfterCommitted, "w2 w3 "),
        ("w0 w1 ", r#""tokens":2"#, Begins::AfterCommitted, ""),
        ("a b", r#""text":"a b""#, Begins::AfterCommitted, ""),
        ("w0 w", r#""tokens":2"#, Begins::Afresh, "w0 w1 "),
        ("x0 ", r#""tokens":2"#, Begins::Afresh, "w0 w1 "),
        ("", r#""tokens":2"#, Begins::Afresh, "w0 w1 "),
        ("w0 ", r#""tokens":2,"continues":false"#, Begins::Afresh, "w0 w1 "),
    ] {
        let run = begin(&backend, after(committed, fields)).await;
        assert_eq!(run.begins, begins, "{committed:?} {fields}");
        let (chunks, error) = read(run).await;
        assert_eq!((text(&chunks).as_str(), error), (said, None), "{committed:?} {fields}");
        assert!(finished(&chunks, "stop"));
    }
}

#[tokio::test]
async fn what_goes_wrong_at_the_beginning_is_told_at_once() {
    let backend = Scripted::new(quick());
    for (name, fault) in [
        ("invalid", Fault::InvalidRequest),
        ("context_too_long", Fault::ContextTooLong),
        ("unknown_model", Fault::UnknownModel),
        ("unauthorized", Fault::Unauthorized),
        ("rate_limited", Fault::RateLimited),
        ("overloaded", Fault::Overloaded),
        ("unreachable", Fault::Unreachable),
        ("timed_out", Fault::TimedOut),
    ] {
        let refused = backend.run(scripted(&format!(r#""fault":"{name}","retry_after_ms":70"#))).await;
        let error = refused.err().expect(name);
        assert_eq!((error.fault, error.retry_after), (fault, Some(Duration::from_millis(70))));
    }
    assert_eq!(backend.stats().counts(), Counts { began: 8, open: 0, ended: 8, dropped: 0 });
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_later_comes_in_the_place_of_its_token() {
    let backend = Scripted::new(quick());
    for (fields, fault) in [
        (r#""fail_at":3"#, Some(Fault::Broken)),
        (r#""fail_at":3,"fault":"overloaded""#, Some(Fault::Overloaded)),
        (r#""fail_at":3,"fault":"stall""#, Some(Fault::TimedOut)),
        (r#""fail_at":3,"fault":"cut""#, None),
    ] {
        let (chunks, error) = read(begin(&backend, scripted(fields)).await).await;
        assert_eq!(chunks, ["w0 ", "w1 ", "w2 "].map(|text| Chunk::Text(text.into())), "{fields}");
        assert_eq!(error.map(|error| error.fault), fault, "{fields}");
    }
    // After the last token: the text is whole and its end is missing. Later: never.
    let (chunks, error) = read(begin(&backend, scripted(r#""fail_at":10"#)).await).await;
    assert_eq!((chunks.len(), error.unwrap().fault), (10, Fault::Broken));
    assert!(finished(&answer(&backend, scripted(r#""fail_at":11"#)).await, "stop"));
    for accident in ["stall", "broken", "cut"] {
        let (chunks, _) = read(begin(&backend, scripted(&format!(r#""fault":"{accident}""#))).await).await;
        assert_eq!(chunks, []);
    }
}

#[tokio::test]
async fn only_the_first_runs_of_a_key_fail() {
    let backend = Scripted::new(Script { fail_at: Some(1), ..quick() });
    for key in ["a", "b"] {
        let fields = format!(r#""fail_attempts":2,"key":"{key}""#);
        for _ in 0..2 {
            assert_eq!(failure(&backend, scripted(&fields)).await.fault, Fault::Broken);
        }
        assert_eq!(text(&answer(&backend, after("w0 ", &fields)).await), &scripted::text(&quick())[3..]);
    }
    assert_eq!(failure(&backend, scripted(r#""fail_attempts":1"#)).await.fault, Fault::InvalidRequest);
}

#[tokio::test]
async fn a_script_that_makes_no_sense_is_refused() {
    let backend = Scripted::new(quick());
    for fields in [r#""token":1"#, r#""tokens":-1"#, r#""tokens":1000001"#, r#""seed":"a b""#, r#""fault":"fire""#] {
        assert_eq!(failure(&backend, scripted(fields)).await.fault, Fault::InvalidRequest, "{fields}");
    }
    assert_eq!(failure(&backend, request("{")).await.fault, Fault::InvalidRequest);
}

#[tokio::test(start_paused = true)]
async fn tokens_come_at_their_time_and_a_late_reader_does_not_shift_them() {
    let start = Instant::now();
    let backend = Scripted::new(Script { first_delay_ms: Some(100), delay_ms: 20, ..quick() });
    let mut run = begin(&backend, hello()).await;
    let mut at_ms = Vec::new();
    for token in 0..10 {
        next(&mut run.chunks).await;
        at_ms.push(start.elapsed().as_millis());
        if token == 2 {
            tokio::time::advance(Duration::from_millis(70)).await;
        }
    }
    assert_eq!(at_ms, [100, 120, 140, 210, 210, 210, 220, 240, 260, 280]);
}

#[tokio::test(start_paused = true)]
async fn a_script_slower_than_the_request_allows_times_out() {
    let backend = Scripted::new(Script { first_delay_ms: Some(100), delay_ms: 300, ..quick() });
    let start = Instant::now();
    let mut slow = hello();
    slow.timeouts.first_token = Duration::from_millis(99);
    assert_eq!(failure(&backend, slow).await.fault, Fault::TimedOut);
    assert_eq!(start.elapsed().as_millis(), 99);
    let mut slow = hello();
    slow.timeouts.between_tokens = Duration::from_millis(299);
    let (chunks, error) = read(begin(&backend, slow).await).await;
    assert_eq!((chunks.len(), error.unwrap().fault), (1, Fault::TimedOut));
}

#[tokio::test]
async fn a_test_sees_which_runs_were_dropped() {
    let backend = Scripted::new(Script { fault: Some(Accident::Stall), fail_at: Some(1), ..quick() });
    let stats = backend.stats();
    let mut run = begin(&backend, hello()).await;
    next(&mut run.chunks).await;
    assert_eq!(stats.counts(), Counts { began: 1, open: 1, ended: 0, dropped: 0 });
    let (seen, ()) = tokio::join!(stats.until(|counts| counts.dropped == 1), async { drop(run) });
    assert_eq!(seen, Counts { began: 1, open: 0, ended: 0, dropped: 1 });

    let mut run = begin(&backend, scripted(r#""fail_at":null,"fault":null"#)).await;
    while !matches!(next(&mut run.chunks).await, Chunk::Finish(_)) {}
    assert_eq!(stats.counts().open, 0, "a run that said all is no longer open, though it is still held");
    assert!(run.chunks.next().await.is_none());
    drop(run);
    assert_eq!(stats.counts(), Counts { began: 2, open: 0, ended: 1, dropped: 1 });
}
