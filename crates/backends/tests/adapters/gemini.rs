//! Google's Gemini API.

use super::runs::{answer, begin, failure, finished, hello, read, request, text, usage};
use super::upstream::{Step, Upstream, document, events, unfinished};
use super::{KEY, calls, played, settings, thoughts};
use std::time::Duration;
use tidewire_backends::gemini::Gemini;
use tidewire_core::Usage;
use tidewire_core::port::{Backend, Chunk, EmbedInput, EmbedRequest, Embedder, Fault, Model, Request, Timeouts};

fn backend(upstream: &Upstream) -> Gemini {
    Gemini::new(&settings(upstream)).unwrap()
}

#[tokio::test]
async fn text_arrives_as_it_was_said() {
    let chunks = played(backend, include_str!("../transcripts/gemini_text.sse")).await;
    let text = |text: &str| Chunk::Text(text.to_owned().into());
    let used = |output_tokens| Chunk::Usage(Usage { input_tokens: 8, output_tokens, ..Usage::default() });
    let finish = Chunk::Finish("stop".into());
    let [a, b, c] = ["Grüße", " aus\n\"Köln\"", " 🙂漢"].map(text);
    assert_eq!(chunks, [a, used(2), b, used(5), c, used(9), finish]);
}

#[tokio::test]
async fn calls_of_tools_have_openais_form_and_keep_their_signature() {
    let chunks = played(backend, include_str!("../transcripts/gemini_tools.sse")).await;
    assert_eq!(
        calls(&chunks),
        [
            concat!(
                r#"[{"index":0,"id":"fc_1","type":"function","function":{"name":"get_weather","#,
                r#""arguments":"{\"city\":\"Köln\"}"},"extra_content":{"google":{"thought_signature":"CpYBAVSoXO4="}}}]"#
            ),
            r#"[{"index":1,"id":"call_kJ0hacD7_1","type":"function","function":{"name":"get_time","arguments":"{}"}}]"#,
        ]
    );
    let expected = Usage { input_tokens: 50, output_tokens: 50, reasoning_tokens: 30, ..Usage::default() };
    assert_eq!(usage(&chunks), Some(expected));
    assert!(finished(&chunks, "tool_calls"));
}

#[tokio::test]
async fn thoughts_are_reasoning_and_count_as_output() {
    let chunks = played(backend, include_str!("../transcripts/gemini_thinking.sse")).await;
    assert_eq!(thoughts(&chunks), "**Counting**\n27 = 3³");
    assert_eq!(text(&chunks), "27 is not prime.");
    let expected =
        Usage { input_tokens: 2100, cached_tokens: 2000, output_tokens: 85, reasoning_tokens: 80, ..Usage::default() };
    assert_eq!(usage(&chunks), Some(expected));
    assert!(finished(&chunks, "stop"));
}

#[tokio::test]
async fn what_is_withheld_ends_as_such() {
    for transcript in
        [include_str!("../transcripts/gemini_safety.sse"), include_str!("../transcripts/gemini_blocked.sse")]
    {
        assert!(finished(&played(backend, transcript).await, "content_filter"));
    }
}

#[tokio::test]
async fn logprobs_have_openais_form() {
    let chunks = played(backend, include_str!("../transcripts/gemini_logprobs.sse")).await;
    let Chunk::Logprobs(json) = &chunks[1] else { panic!("{chunks:?}") };
    let expected = concat!(
        r#"[{"token":"Hi","logprob":-0.25,"bytes":[72,105],"top_logprobs":[{"token":"Hi","logprob":-0.25,"#,
        r#""bytes":[72,105]},{"token":"é","logprob":-1.5,"bytes":[195,169]}]}]"#
    );
    assert_eq!(std::str::from_utf8(json).unwrap(), expected);
    assert!(finished(&chunks, "length"));
}

#[tokio::test]
async fn a_reason_with_every_piece_ends_nothing() {
    let transcript = include_str!("../transcripts/gemini_old_reasons.sse");
    let chunks = played(backend, transcript).await;
    assert_eq!(text(&chunks), "Grüße aus");
    assert!(finished(&chunks, "stop"));
    let first = transcript.split_inclusive("\r\n\r\n").next().unwrap();
    let upstream = Upstream::start([[unfinished(first, 99), vec![Step::Close]].concat()]).await;
    assert_eq!(failure(&backend(&upstream), hello()).await.fault, Fault::Broken);
}

#[tokio::test]
async fn an_array_of_pieces_is_the_same_answer() {
    let transcript = include_str!("../transcripts/gemini_text.sse");
    let pieces: Vec<_> = transcript.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let body = format!("[{}]", pieces.join("\n,\r\n"));
    let upstream = Upstream::start([document("200 OK", "", &body), document("200 OK", "", pieces[2])]).await;
    let backend = backend(&upstream);
    assert_eq!(answer(&backend, hello()).await, played(super::gemini::backend, transcript).await);
    assert_eq!(text(&answer(&backend, hello()).await), " 🙂漢");
}

#[tokio::test]
async fn every_refusal_has_its_fault() {
    let cases = [
        ("400 Bad Request", include_str!("../transcripts/gemini_context.json"), Fault::ContextTooLong),
        ("400 Bad Request", include_str!("../transcripts/gemini_invalid.json"), Fault::InvalidRequest),
        ("400 Bad Request", include_str!("../transcripts/gemini_key.json"), Fault::Unauthorized),
        ("400 Bad Request", include_str!("../transcripts/gemini_location.json"), Fault::Unauthorized),
        ("403 Forbidden", include_str!("../transcripts/gemini_permission.json"), Fault::Unauthorized),
        ("404 Not Found", include_str!("../transcripts/gemini_model.json"), Fault::UnknownModel),
        ("429 Too Many Requests", include_str!("../transcripts/gemini_rate.json"), Fault::RateLimited),
        ("503 Service Unavailable", include_str!("../transcripts/gemini_overloaded.json"), Fault::Overloaded),
        ("504 Gateway Timeout", include_str!("../transcripts/gemini_deadline.json"), Fault::TimedOut),
    ];
    for in_band in [false, true] {
        let answer = |(status, body, _)| {
            if in_band {
                events(&format!("data: {}\r\n\r\n", str::replace(body, "\n", "")), 9)
            } else {
                document(status, "", body)
            }
        };
        let upstream = Upstream::start(cases.map(answer)).await;
        let backend = backend(&upstream);
        for (status, _, fault) in cases {
            let error = failure(&backend, hello()).await;
            assert_eq!(error.fault, fault, "{status} {in_band}: {error}");
            assert_eq!(error.status, status[..3].parse().ok());
            let wait = (fault == Fault::RateLimited).then_some(Duration::from_millis(34_500));
            assert_eq!(error.retry_after, wait, "{status}");
            assert!(!format!("{error:?}").contains(KEY), "{error:?}");
        }
    }
}

#[tokio::test]
async fn an_error_in_the_middle_is_told() {
    let malformed = include_str!("../transcripts/gemini_malformed.sse");
    for (transcript, fault, said) in [
        (include_str!("../transcripts/gemini_error.sse"), Fault::Overloaded, "Hel"),
        (malformed, Fault::Broken, "Let me"),
        (malformed.split_inclusive("\r\n\r\n").next().unwrap(), Fault::Broken, "Let me"),
        ("data: {\"candidates\":1}\r\n\r\n", Fault::Broken, ""),
    ] {
        let upstream = Upstream::start([events(transcript, 10)]).await;
        let (chunks, error) = read(begin(&backend(&upstream), hello()).await).await;
        assert_eq!((text(&chunks).as_str(), error.unwrap().fault), (said, fault));
    }
}

#[tokio::test]
async fn the_request_goes_to_the_model_with_the_key_in_its_header() {
    let answers = [(); 2].map(|()| events(include_str!("../transcripts/gemini_text.sse"), 99));
    let mut upstream = Upstream::start(answers).await;
    let backend = backend(&upstream);
    assert!(!format!("{backend:?}").contains(KEY));
    for (model, path) in [("gemini-2.5-flash", "models/gemini-2.5-flash"), ("tunedModels/a?b", "tunedModels/a%3Fb")] {
        answer(&backend, Request { model: model.into(), ..hello() }).await;
        let (_, head, _) = upstream.request().await;
        assert!(head.starts_with(&format!("POST /v1/{path}:streamGenerateContent?alt=sse HTTP/1.1\r\n")), "{head}");
        assert!(head.lines().any(|header| header == "x-goog-api-key: key-test-1234"), "{head}");
    }
    for model in ["", "..", "a/../b", "models/"] {
        let error = failure(&backend, Request { model: model.into(), ..hello() }).await;
        assert_eq!(error.fault, Fault::InvalidRequest, "{model}");
    }
    let error = failure(&backend, request(r#"{"messages":[{"role":"tool","tool_call_id":"x","content":"y"}]}"#)).await;
    assert_eq!(error.fault, Fault::InvalidRequest);
}

#[tokio::test]
async fn the_models_are_listed() {
    let upstream = Upstream::start([document("200 OK", "", include_str!("../transcripts/gemini_models.json"))]).await;
    let model = |name: &str, context_tokens| Model { name: name.into(), context_tokens };
    let expected = [model("gemini-2.5-flash", Some(1_048_576)), model("tunedModels/mine", None)];
    assert_eq!(backend(&upstream).models().await.unwrap(), expected);
}

#[tokio::test]
async fn vectors_come_in_the_order_of_their_inputs() {
    let body = include_str!("../transcripts/gemini_embeddings.json");
    let counted = r#"{"embeddings":[{"values":[1]}],"usageMetadata":{"promptTokenCount":3}}"#;
    let answers = [body, counted, r#"{"embeddings":[{"values":[1]}]}"#];
    let mut upstream = Upstream::start(answers.map(|body| document("200 OK", "", body))).await;
    let backend = backend(&upstream);
    let asked = |texts: &[&str], dimensions| EmbedRequest {
        model: "m".into(),
        inputs: texts.iter().map(|text| EmbedInput::Text((*text).to_owned())).collect(),
        dimensions,
        timeouts: Timeouts::default(),
    };
    let embedded = backend.embed(asked(&["a \"b\"", "ü"], Some(2))).await.unwrap();
    assert_eq!(embedded.vectors, [vec![1.0, -0.5], vec![0.25, 2.0]]);
    assert_eq!(embedded.usage, Usage { input_tokens: 2, estimated: true, ..Usage::default() });
    let (_, head, body) = upstream.request().await;
    assert!(head.starts_with("POST /v1/models/m:batchEmbedContents HTTP/1.1\r\n"), "{head}");
    assert_eq!(
        body,
        concat!(
            r#"{"requests":[{"model":"models/m","content":{"parts":[{"text":"a \"b\""}]},"outputDimensionality":2},"#,
            r#"{"model":"models/m","content":{"parts":[{"text":"ü"}]},"outputDimensionality":2}]}"#
        )
    );
    let embedded = backend.embed(asked(&["a"], None)).await.unwrap();
    assert_eq!(embedded.usage, Usage { input_tokens: 3, ..Usage::default() });
    assert_eq!(backend.embed(asked(&["a", "b"], None)).await.unwrap_err().fault, Fault::Broken);
}

#[tokio::test]
async fn the_promises_of_a_backend_are_kept() {
    let answers = [(); 4].map(|()| events(include_str!("../transcripts/gemini_text.sse"), 50));
    let upstream = Upstream::start(answers).await;
    tidewire_testkit::backend::check(&backend(&upstream), hello(), "Grüße aus\n\"Köln\" 🙂漢").await;
}
