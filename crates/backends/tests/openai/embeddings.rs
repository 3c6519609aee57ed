//! Vectors: what is sent, in which forms they come, and what they fail with.

use super::backend;
use super::upstream::{Saw, Step, Upstream, document};
use std::time::Duration;
use tidewire_core::Usage;
use tidewire_core::port::{Counted, EmbedInput, EmbedRequest, Embedder, Fault, Timeouts, UpstreamLimit};

fn request(inputs: Vec<EmbedInput>) -> EmbedRequest {
    EmbedRequest { model: "m".into(), inputs, dimensions: None, timeouts: Timeouts::default() }
}

fn texts(texts: &[&str]) -> EmbedRequest {
    request(texts.iter().map(|text| EmbedInput::Text((*text).to_owned())).collect())
}

/// 1.0 and -0.5, and 0.25 and 2.0, as little-endian numbers of 32 bits in base64.
const BASE64: &str = r#"{"object":"list","data":[{"object":"embedding","index":1,"embedding":"AACAPgAAAEA="},
    {"object":"embedding","index":0,"embedding":"AACAPwAAAL8="}],"model":"m","usage":{"prompt_tokens":5,"total_tokens":5}}"#;

#[tokio::test]
async fn vectors_come_in_the_order_of_their_inputs() {
    let floats = r#"{"data":[{"embedding":[1,-5e-1]},{"embedding":[0.25,2.0]}]}"#;
    let limits =
        "x-ratelimit-limit-requests: 100\r\nx-ratelimit-remaining-requests: 99\r\nx-ratelimit-reset-requests: 20ms\r\n";
    let mut upstream = Upstream::start([document("200 OK", limits, BASE64), document("200 OK", "", floats)]).await;
    let backend = backend(&upstream);
    let expected = [vec![1.0, -0.5], vec![0.25, 2.0]];

    let embedded = backend.embed(EmbedRequest { dimensions: Some(2), ..texts(&["a \"b\"", "ü"]) }).await.unwrap();
    assert_eq!(embedded.vectors, expected);
    assert_eq!(embedded.usage, Usage { input_tokens: 5, ..Usage::default() });
    let reset = Some(Duration::from_millis(20));
    assert_eq!(embedded.limits, [UpstreamLimit { of: Counted::Requests, limit: Some(100), remaining: 99, reset }]);
    let (_, head, body) = upstream.request().await;
    assert!(head.starts_with("POST /v1/embeddings HTTP/1.1\r\n"), "{head}");
    assert_eq!(body, r#"{"model":"m","input":["a \"b\"","ü"],"encoding_format":"base64","dimensions":2}"#);

    let tokens = request(vec![EmbedInput::Tokens(vec![1, 2]), EmbedInput::Tokens(vec![3])]);
    let embedded = backend.embed(tokens).await.unwrap();
    assert_eq!((embedded.vectors.as_slice(), embedded.usage.estimated), (&expected[..], true));
    assert_eq!(upstream.request().await.2, r#"{"model":"m","input":[[1,2],[3]],"encoding_format":"base64"}"#);
}

#[tokio::test]
async fn what_is_not_one_vector_for_each_input_is_broken() {
    let answers = [
        r#"{"data":[{"index":0,"embedding":[1]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#,
        r#"{"data":[{"index":0,"embedding":[1]},{"index":2,"embedding":[1]}]}"#,
        r#"{"data":[{"index":0,"embedding":"AAA="},{"index":1,"embedding":[1]}]}"#,
        r#"{"data":[{"index":0,"embedding":["a"]},{"index":1,"embedding":[1]}]}"#,
        "{}",
        "no",
    ];
    let upstream = Upstream::start(answers.map(|body| document("200 OK", "", body))).await;
    let backend = backend(&upstream);
    for answer in answers {
        assert_eq!(backend.embed(texts(&["a", "b"])).await.unwrap_err().fault, Fault::Broken, "{answer}");
    }
}

#[tokio::test]
async fn a_refusal_or_silence_has_its_fault() {
    let refusal = document("400 Bad Request", "", include_str!("../transcripts/openai_context.json"));
    let upstream = Upstream::start([refusal, vec![Step::Stall]]).await;
    let backend = backend(&upstream);
    assert_eq!(backend.embed(texts(&["a"])).await.unwrap_err().fault, Fault::ContextTooLong);
    let mixture = request(vec![EmbedInput::Tokens(vec![1]), EmbedInput::Text("a".into())]);
    assert_eq!(backend.embed(mixture).await.unwrap_err().fault, Fault::InvalidRequest);
    let mut late = texts(&["a"]);
    late.timeouts.first_token = Duration::from_millis(30);
    assert_eq!(backend.embed(late).await.unwrap_err().fault, Fault::TimedOut);
}

#[tokio::test]
async fn dropping_a_call_closes_its_connection() {
    let mut upstream = Upstream::start([vec![Step::Stall]]).await;
    let backend = backend(&upstream);
    tokio::select! {
        _ = backend.embed(texts(&["a"])) => panic!("the upstream says nothing"),
        _ = upstream.request() => {}
    }
    assert_eq!(upstream.saw().await, Saw::Gone { connection: 0 });
}
