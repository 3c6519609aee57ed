//! What is sent, and what becomes of answers that go well.

use super::backend;
use super::runs::{answer, finished, hello, next, request, text, usage};
use super::upstream::{Step, Upstream, chunk, document, events, unfinished};
use std::sync::Arc;
use tidewire_backends::openai::OpenAi;
use tidewire_core::Usage;
use tidewire_core::port::{Backend, Begins, Chunk, Model, Reason};
use tokio::sync::Notify;

const OPENAI_USAGE: Usage = Usage {
    input_tokens: 19,
    cached_tokens: 16,
    cache_write_tokens: 0,
    output_tokens: 7,
    reasoning_tokens: 3,
    estimated: false,
    cost: tidewire_core::Money::ZERO,
    saved: tidewire_core::Money::ZERO,
};

/// The chunks of a transcript, which must not depend on how it is cut.
async fn played(transcript: &str) -> Vec<Chunk> {
    let pieces = [usize::MAX, 1, 7, 100];
    let mut upstream = Upstream::start(pieces.map(|bytes| events(transcript, bytes))).await;
    let backend = backend(&upstream);
    let whole = answer(&backend, hello()).await;
    for piece_bytes in &pieces[1..] {
        assert_eq!(answer(&backend, hello()).await, whole, "in pieces of {piece_bytes} bytes");
    }
    for _ in pieces {
        upstream.request().await;
    }
    whole
}

#[tokio::test]
async fn text_arrives_as_it_was_said() {
    let chunks = played(include_str!("../transcripts/openai_text.sse")).await;
    let texts = ["Grüße", " aus\n\"Köln\"", " 🙂漢"].map(|text| Chunk::Text(text.into()));
    let expected = [&texts[..], &[Chunk::Usage(OPENAI_USAGE), Chunk::Finish("stop".into())]].concat();
    assert_eq!(chunks, expected);
}

#[tokio::test]
async fn a_refusal_is_text_too() {
    let chunks = played(include_str!("../transcripts/openai_refusal.sse")).await;
    assert_eq!(text(&chunks), "I can't help with that.");
    assert!(finished(&chunks, "stop"));
}

#[tokio::test]
async fn tool_calls_pass_as_raw_json() {
    let chunks = played(include_str!("../transcripts/openai_tools.sse")).await;
    let calls: Vec<_> = chunks
        .iter()
        .filter_map(|chunk| match chunk {
            Chunk::ToolCall(json) => Some(std::str::from_utf8(json).unwrap()),
            _ => None,
        })
        .collect();
    assert_eq!(
        calls,
        [
            r#"[{"index":0,"id":"call_aaa","type":"function","function":{"name":"get_weather","arguments":""}}]"#,
            r#"[{"index":0,"function":{"arguments":"{\"city\""}}]"#,
            r#"[{"index":0,"function":{"arguments":":\"Paris\"}"}}]"#,
            r#"[{"index":1,"id":"call_bbb","type":"function","function":{"name":"get_time","arguments":""}}]"#,
            r#"[{"index":1,"function":{"arguments":"{}"}}]"#,
        ]
    );
    assert_eq!(chunks.len(), calls.len() + 2);
    assert!(finished(&chunks, "tool_calls"));
}

#[tokio::test]
async fn reasoning_is_told_once_and_usage_grows() {
    let chunks = played(include_str!("../transcripts/vllm_reasoning.sse")).await;
    let used = |output_tokens| Chunk::Usage(Usage { input_tokens: 11, output_tokens, ..Usage::default() });
    assert_eq!(
        chunks,
        [
            used(0),
            Chunk::Reasoning("The user".into()),
            used(2),
            Chunk::Reasoning(" greets.".into()),
            used(4),
            Chunk::Reasoning(" Ja.".into()),
            used(5),
            Chunk::Text("Hi".into()),
            used(6),
            used(7),
            Chunk::Finish("stop".into()),
        ]
    );
}

#[tokio::test]
async fn logprobs_follow_the_text_that_they_belong_to() {
    let chunks = played(include_str!("../transcripts/llamacpp_logprobs.sse")).await;
    assert_eq!(text(&chunks), "*Pause the");
    let pairs: Vec<_> = chunks.chunks(2).take(4).collect();
    for pair in &pairs {
        let [Chunk::Text(text), Chunk::Logprobs(json)] = pair else { panic!("{pair:?}") };
        let said = format!("\"token\":{}", serde_json::to_string(std::str::from_utf8(text).unwrap()).unwrap());
        assert!(std::str::from_utf8(json).unwrap().contains(&said), "{pair:?}");
    }
    assert_eq!(usage(&chunks).map(|usage| (usage.input_tokens, usage.output_tokens)), Some((32, 4)));
    assert!(finished(&chunks, "length"));
}

#[tokio::test]
async fn a_server_that_cannot_stream_is_understood() {
    let bodies =
        [include_str!("../transcripts/openai_document.json"), include_str!("../transcripts/llamacpp_document.json")];
    let upstream = Upstream::start(bodies.map(|body| document("200 OK", "", body))).await;
    let backend = backend(&upstream);
    let chunks = answer(&backend, hello()).await;
    let calls = r#"[{"index":0,"id":"call_aaa","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Paris\"}"}},{"index":1,"id":"call_bbb","type":"function","function":{"name":"get_time","arguments":"{}"}}]"#;
    let Chunk::ToolCall(json) = &chunks[0] else { panic!("{chunks:?}") };
    let compact = |json: &[u8]| serde_json::from_slice::<serde_json::Value>(json).unwrap();
    assert_eq!(compact(json), compact(calls.as_bytes()));
    assert_eq!(chunks[1..], [Chunk::Usage(OPENAI_USAGE), Chunk::Finish("tool_calls".into())]);

    let chunks = answer(&backend, hello()).await;
    assert_eq!(text(&chunks), "*Pause the");
    assert!(finished(&chunks, "length"));
}

#[tokio::test]
async fn an_answer_without_done_is_whole_after_its_finish_reason() {
    let transcript = include_str!("../transcripts/openai_text.sse").replace("data: [DONE]\n\n", "");
    assert!(finished(&played(&transcript).await, "stop"));

    // The same where the connection ends without the end of the body.
    let mut cut = unfinished(&transcript, usize::MAX);
    cut.push(Step::Close);
    let upstream = Upstream::start([cut]).await;
    assert!(finished(&answer(&backend(&upstream), hello()).await, "stop"));
}

#[tokio::test]
async fn the_stop_sequence_is_told_where_a_server_tells_it() {
    let reason = |told: &str| {
        let old = "\"finish_reason\":\"stop\"";
        let new = format!("{old},{told}");
        let transcript = include_str!("../transcripts/openai_text.sse");
        assert!(transcript.contains(old));
        transcript.replace(old, &new)
    };
    // vLLM's word and SGLang's; either may be null, or a token's number.
    for (told, expected) in [
        ("\"stop_reason\":\"END\"", Some("END")),
        ("\"matched_stop\":\"END\"", Some("END")),
        ("\"stop_reason\":null,\"matched_stop\":null", None),
        ("\"stop_reason\":128009", None),
    ] {
        let chunks = played(&reason(told)).await;
        let sequence = expected.map(Into::into);
        assert_eq!(chunks.last(), Some(&Chunk::Finish(Reason { word: "stop".into(), sequence })), "{told}");
    }
}

#[tokio::test]
async fn comments_and_events_that_say_nothing_are_passed_over() {
    let transcript =
        ": OPENROUTER PROCESSING\n\ndata:\n\ndata: {\"choices\":null}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n"
            .to_owned()
            + include_str!("../transcripts/openai_text.sse");
    assert_eq!(text(&played(&transcript).await), "Grüße aus\n\"Köln\" 🙂漢");
}

#[tokio::test]
async fn each_token_is_passed_on_before_the_next_one_comes() {
    let gate = Arc::new(Notify::new());
    let token =
        |text: &str| chunk(format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n").as_bytes());
    let mut steps = unfinished("", 1);
    for text in ["a", "b", "c"] {
        steps.extend([token(text), Step::Await(gate.clone())]);
    }
    let upstream = Upstream::start([steps]).await;
    let mut run = backend(&upstream).run(hello()).await.unwrap();
    assert_eq!(run.begins, Begins::Afresh);
    for text in ["a", "b", "c"] {
        assert_eq!(next(&mut run.chunks).await, Chunk::Text(text.into()));
        gate.notify_one();
    }
}

#[tokio::test]
async fn the_callers_fields_reach_the_upstream_untouched() {
    let mut upstream = Upstream::start([events(include_str!("../transcripts/openai_text.sse"), usize::MAX)]).await;
    let input = r#"{"messages": [{"role":"user","content":"\u00e9"}], "temperature": 0.70, "seed": 18446744073709551617,
        "model": "theirs", "brand_new": {"x": [1e2, null]}, "stream": false, "stream_options": {"other": 1}}"#;
    answer(&backend(&upstream), request(input)).await;
    let (_, head, body) = upstream.request().await;
    assert_eq!(
        body,
        r#"{"model":"m","messages":[{"role":"user","content":"\u00e9"}],"temperature":0.70,"seed":18446744073709551617,"#
            .to_owned()
            + r#""brand_new":{"x": [1e2, null]},"stream":true,"stream_options":{"include_usage":true,"other":1}}"#
    );
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
    for line in ["authorization: Bearer sk-test-1234", "content-type: application/json", "accept: text/event-stream"] {
        assert!(head.lines().any(|header| header == line), "{head}");
    }
}

#[tokio::test]
async fn without_a_key_none_is_sent() {
    let mut upstream = Upstream::start([events(include_str!("../transcripts/openai_text.sse"), usize::MAX)]).await;
    answer(&OpenAi::new(&upstream.base, Some(" ")).unwrap(), hello()).await;
    let (_, head, _) = upstream.request().await;
    assert!(!head.to_lowercase().contains("authorization"), "{head}");
}

#[tokio::test]
async fn the_models_are_listed_with_their_context() {
    let bodies = [
        include_str!("../transcripts/openai_models.json"),
        include_str!("../transcripts/vllm_models.json"),
        include_str!("../transcripts/llamacpp_models.json"),
    ];
    let mut upstream = Upstream::start(bodies.map(|body| document("200 OK", "", body))).await;
    let backend = backend(&upstream);
    let model = |name: &str, context_tokens| Model { name: name.into(), context_tokens };
    assert_eq!(backend.models().await.unwrap(), [model("gpt-4.1-mini", None), model("o4-mini", None)]);
    assert_eq!(backend.models().await.unwrap(), [model("Qwen/Qwen3-8B", Some(32_768))]);
    assert_eq!(backend.models().await.unwrap(), [model("smollm2", Some(1024))]);
    assert!(upstream.request().await.1.starts_with("GET /v1/models HTTP/1.1\r\n"));
}
