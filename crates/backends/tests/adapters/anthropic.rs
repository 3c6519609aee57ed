//! Anthropic's Messages API.

use super::runs::{answer, begin, failure, finished, hello, read, request, text, usage};
use super::upstream::{Step, Upstream, chunk, document, events, unfinished};
use super::{KEY, calls, played, settings, thoughts};
use std::time::Duration;
use tidewire_backends::Settings;
use tidewire_backends::anthropic::{Anthropic, Options};
use tidewire_core::Usage;
use tidewire_core::port::{Backend, Begins, Chunk, Counted, Fault, Model, Reason, Request, UpstreamLimit};

fn backend(upstream: &Upstream) -> Anthropic {
    Anthropic::new(&settings(upstream), Options::default()).unwrap()
}

fn used(input_tokens: u64, output_tokens: u64) -> Usage {
    Usage { input_tokens, output_tokens, ..Usage::default() }
}

#[tokio::test]
async fn text_arrives_as_it_was_said() {
    let chunks = played(backend, include_str!("../transcripts/anthropic_text.sse")).await;
    let [a, b, c] = ["Grüße", " aus\n\"Köln\"", " 🙂漢"].map(|text| Chunk::Text(text.into()));
    let (first, last) = (Chunk::Usage(used(25, 1)), Chunk::Usage(used(25, 15)));
    assert_eq!(chunks, [first, a, b, c, last, Chunk::Finish("stop".into())]);
}

#[tokio::test]
async fn the_stop_sequence_that_ended_an_answer_is_told() {
    let at = Chunk::Finish(Reason { word: "stop".into(), sequence: Some("\n\"END\"".into()) });
    let ended = r#""stop_reason":"stop_sequence","stop_sequence":"\n\"END\"""#;
    let stream = include_str!("../transcripts/anthropic_text.sse");
    let stream = stream.replace(r#""stop_reason":"end_turn","stop_sequence":null"#, ended);
    assert_eq!(played(backend, &stream).await.last(), Some(&at));
    let whole = include_str!("../transcripts/anthropic_document.json");
    let whole = whole.replace(r#""stop_reason": "tool_use", "stop_sequence": null"#, ended);
    let upstream = Upstream::start([document("200 OK", "", &whole)]).await;
    assert_eq!(answer(&backend(&upstream), hello()).await.last(), Some(&at));
}

#[tokio::test]
async fn calls_of_tools_have_openais_form() {
    let chunks = played(backend, include_str!("../transcripts/anthropic_tools.sse")).await;
    assert_eq!(
        calls(&chunks),
        [
            r#"[{"index":0,"id":"toolu_01A","type":"function","function":{"name":"get_weather","arguments":""}}]"#,
            r#"[{"index":0,"function":{"arguments":"{\"city\": \"Kö"}}]"#,
            r#"[{"index":0,"function":{"arguments":"ln\"}"}}]"#,
            r#"[{"index":1,"id":"toolu_01B","type":"function","function":{"name":"get_time","arguments":""}}]"#,
            r#"[{"index":1,"function":{"arguments":"{}"}}]"#,
        ]
    );
    assert_eq!(text(&chunks), "Let me look.");
    assert_eq!(usage(&chunks), Some(used(472, 89)));
    assert!(finished(&chunks, "tool_calls"));
}

#[tokio::test]
async fn thoughts_are_reasoning_and_what_was_cached_counts_as_read() {
    let chunks = played(backend, include_str!("../transcripts/anthropic_thinking.sse")).await;
    assert_eq!(thoughts(&chunks), "27 is 3³, so no.");
    assert_eq!(text(&chunks), "27 is not prime.");
    let expected = Usage {
        input_tokens: 2104,
        cached_tokens: 2000,
        cache_write_tokens: 100,
        output_tokens: 210,
        ..Usage::default()
    };
    assert_eq!(usage(&chunks), Some(expected));
}

#[tokio::test]
async fn a_refusal_ends_as_one_and_new_kinds_are_passed_over() {
    let refused = played(backend, include_str!("../transcripts/anthropic_refusal.sse")).await;
    assert_eq!(text(&refused), "I can");
    assert!(finished(&refused, "content_filter"));
    let new = played(backend, include_str!("../transcripts/anthropic_new_kinds.sse")).await;
    assert_eq!((text(&new).as_str(), calls(&new).len()), ("Found.", 0));
    assert!(finished(&new, "length"), "a turn that was paused is not whole");
}

#[tokio::test]
async fn a_document_is_the_same_answer() {
    let upstream =
        Upstream::start([document("200 OK", "", include_str!("../transcripts/anthropic_document.json"))]).await;
    let chunks = answer(&backend(&upstream), hello()).await;
    assert_eq!((thoughts(&chunks).as_str(), text(&chunks).as_str()), ("Hm.", "Let me look."));
    assert_eq!(
        calls(&chunks)[1..],
        [
            r#"[{"index":0,"function":{"arguments":"{\"city\": \"Köln\"}"}}]"#,
            r#"[{"index":1,"id":"toolu_01B","type":"function","function":{"name":"get_time","arguments":""}}]"#,
            r#"[{"index":1,"function":{"arguments":"{}"}}]"#,
        ]
    );
    assert!(finished(&chunks, "tool_calls"));
}

#[tokio::test]
async fn every_refusal_has_its_fault() {
    let cases = [
        ("400 Bad Request", include_str!("../transcripts/anthropic_context.json"), Fault::ContextTooLong),
        ("400 Bad Request", include_str!("../transcripts/anthropic_context_with_answer.json"), Fault::ContextTooLong),
        ("400 Bad Request", include_str!("../transcripts/anthropic_invalid.json"), Fault::InvalidRequest),
        ("401 Unauthorized", include_str!("../transcripts/anthropic_key.json"), Fault::Unauthorized),
        ("403 Forbidden", include_str!("../transcripts/anthropic_permission.json"), Fault::Unauthorized),
        ("404 Not Found", include_str!("../transcripts/anthropic_model.json"), Fault::UnknownModel),
        ("413 Payload Too Large", include_str!("../transcripts/anthropic_large.json"), Fault::InvalidRequest),
        ("429 Too Many Requests", include_str!("../transcripts/anthropic_rate.json"), Fault::RateLimited),
        ("500 Internal Server Error", include_str!("../transcripts/anthropic_internal.json"), Fault::Overloaded),
        ("529 Overloaded", include_str!("../transcripts/anthropic_overloaded.json"), Fault::Overloaded),
    ];
    for in_band in [false, true] {
        let answer = |(status, body, _)| {
            if in_band {
                events(&format!("event: error\ndata: {}\n\n", str::replace(body, "\n", "")), 9)
            } else {
                document(status, "", body)
            }
        };
        let upstream = Upstream::start(cases.map(answer)).await;
        let backend = backend(&upstream);
        for (status, _, fault) in cases {
            let error = failure(&backend, hello()).await;
            assert_eq!(error.fault, fault, "{status} {in_band}: {error}");
            assert!(!format!("{error:?}").contains(KEY), "{error:?}");
        }
    }
}

#[tokio::test]
async fn limits_and_waits_are_told() {
    let headers = "date: Sun, 22 Nov 2026 10:00:00 GMT\r\nretry-after: 11\r\n\
         anthropic-ratelimit-requests-limit: 50\r\nanthropic-ratelimit-requests-remaining: 0\r\n\
         anthropic-ratelimit-requests-reset: 2026-11-22T10:00:12Z\r\n";
    let rate = include_str!("../transcripts/anthropic_rate.json");
    let upstream = Upstream::start([document("429 Too Many Requests", headers, rate)]).await;
    let error = failure(&backend(&upstream), hello()).await;
    assert_eq!(error.retry_after, Some(Duration::from_secs(11)));
    let reset = Some(Duration::from_secs(12));
    assert_eq!(error.limits, [UpstreamLimit { of: Counted::Requests, limit: Some(50), remaining: 0, reset }]);
}

#[tokio::test]
async fn an_error_or_an_end_in_the_middle_is_told() {
    let text_only = include_str!("../transcripts/anthropic_text.sse");
    let unstopped = text_only.split("event: message_stop").next().unwrap();
    let cut = [unfinished(unstopped, 99), vec![Step::Close]].concat();
    let error = events(include_str!("../transcripts/anthropic_error.sse"), 10);
    let ended = [unfinished(unstopped, 99), vec![Step::Send(b"0\r\n\r\n".to_vec())]].concat();
    let nonsense = [unfinished("", 1), vec![chunk(b"event: ping\ndata: {\"type\n\n")]].concat();
    for (steps, fault, said) in [
        (error, Fault::Overloaded, "Hel"),
        (cut, Fault::Broken, "Grüße aus\n\"Köln\" 🙂漢"),
        (ended, Fault::Broken, "Grüße aus\n\"Köln\" 🙂漢"),
        (nonsense, Fault::Broken, ""),
    ] {
        let upstream = Upstream::start([steps]).await;
        let (chunks, error) = read(begin(&backend(&upstream), hello()).await).await;
        assert_eq!((text(&chunks).as_str(), error.unwrap().fault), (said, fault));
    }
}

#[tokio::test]
async fn the_request_has_the_apis_headers() {
    let answers =
        [events(include_str!("../transcripts/anthropic_text.sse"), 99), document("200 OK", "", r#"{"data":[]}"#)];
    let mut upstream = Upstream::start(answers).await;
    let header = ("anthropic-beta".to_owned(), "some-2026-01-01".to_owned());
    let settings = Settings { headers: vec![header], ..settings(&upstream) };
    let options = Options { api_version: Some("2027-01-01".to_owned()), max_tokens: Some(77) };
    let backend = Anthropic::new(&settings, options).unwrap();
    assert!(!format!("{backend:?}").contains(KEY));
    answer(&backend, hello()).await;
    backend.models().await.unwrap();
    let (_, head, body) = upstream.request().await;
    assert!(head.starts_with("POST /v1/messages HTTP/1.1\r\n"), "{head}");
    assert!(body.contains("\"max_tokens\":77,"), "{body}");
    let list = upstream.request().await.1;
    assert!(list.starts_with("GET /v1/models?limit=1000 HTTP/1.1\r\n"), "{list}");
    for head in [head, list] {
        for line in ["x-api-key: key-test-1234", "anthropic-version: 2027-01-01", "anthropic-beta: some-2026-01-01"] {
            assert!(head.lines().any(|header| header == line), "{head}");
        }
        assert!(!head.contains("authorization"), "{head}");
    }
}

#[tokio::test]
async fn the_models_are_listed() {
    let upstream =
        Upstream::start([document("200 OK", "", include_str!("../transcripts/anthropic_models.json"))]).await;
    let model = |name: &str, context_tokens| Model { name: name.into(), context_tokens };
    let expected = [model("claude-opus-4-6", Some(200_000)), model("claude-3-haiku-20240307", None)];
    assert_eq!(backend(&upstream).models().await.unwrap(), expected);
}

#[tokio::test]
async fn an_answer_is_gone_on_with_only_where_the_api_allows_it() {
    let plain = r#"{"messages":[{"role":"user","content":"a"}]}"#;
    let cases = [
        ("claude-haiku-4-5", plain, "Half an", Begins::AfterCommitted),
        ("claude-haiku-4-5", plain, "", Begins::Afresh),
        ("claude-haiku-4-5", plain, "Half ", Begins::Afresh),
        ("claude-opus-4-6", plain, "Half an", Begins::Afresh),
        ("some-model", plain, "Half an", Begins::Afresh),
        (
            "claude-haiku-4-5",
            r#"{"messages":[{"role":"user","content":"a"}],"reasoning_effort":"low"}"#,
            "Half",
            Begins::Afresh,
        ),
        (
            "claude-haiku-4-5",
            r#"{"messages":[{"role":"user","content":"a"}],"tools":[{"name":"x"}]}"#,
            "Half",
            Begins::Afresh,
        ),
        ("claude-haiku-4-5", r#"{"messages":[{"role":"assistant","content":"a"}]}"#, "Half", Begins::Afresh),
    ];
    let mut upstream =
        Upstream::start(cases.map(|_| events(include_str!("../transcripts/anthropic_text.sse"), 99))).await;
    let backend = backend(&upstream);
    for (model, input, committed, begins) in cases {
        let asked = Request { model: model.into(), committed: committed.into(), ..request(input) };
        let run = begin(&backend, asked).await;
        assert_eq!(run.begins, begins, "{model} {input} {committed:?}");
        read(run).await;
        let body = upstream.request().await.2;
        let prefilled = body.contains(r#"{"role":"assistant","content":[{"type":"text","text":"Half an"}]}"#);
        assert_eq!(prefilled, begins == Begins::AfterCommitted, "{body}");
    }
}

#[tokio::test]
async fn the_promises_of_a_backend_are_kept() {
    let answers = [(); 4].map(|()| events(include_str!("../transcripts/anthropic_text.sse"), 50));
    let upstream = Upstream::start(answers).await;
    tidewire_testkit::backend::check(&backend(&upstream), hello(), "Grüße aus\n\"Köln\" 🙂漢").await;
}
