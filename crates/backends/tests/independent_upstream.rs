//! The OpenAI backend against llama.cpp's own server, which we did not write.
//!
//! Needs the feature `independent-upstream` and two variables, which `make` sets: `TIDEWIRE_TEST_XLLAMACPP`, the
//! Python that `scripts/xllamacpp.sh` prints, and `TIDEWIRE_TEST_MODEL`, a GGUF file.

#![cfg(feature = "independent-upstream")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "support/runs.rs"]
mod runs;

use runs::{answer, begin, failure, finished, next, request, text, usage};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tidewire_backends::openai::OpenAi;
use tidewire_core::port::{Backend, Chunk, Fault};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

/// The server stops when its stdin is closed, also when the test panics.
struct Server {
    base: String,
    stdin: Option<ChildStdin>,
    process: Child,
}

impl Server {
    async fn start() -> Self {
        let script = Path::new("tests/xllamacpp_server.py");
        let mut process = Command::new(variable("TIDEWIRE_TEST_XLLAMACPP"))
            .arg(script)
            .arg(variable("TIDEWIRE_TEST_MODEL"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server can be started");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let base = tokio::time::timeout(Duration::from_mins(1), lines.next_line()).await;
        let base = base.expect("the server is ready in time").unwrap().expect("the server prints its URL");
        Self { base, stdin: process.stdin.take(), process }
    }

    async fn stop(mut self) {
        drop(self.stdin.take());
        let ended = tokio::time::timeout(Duration::from_secs(20), self.process.wait()).await;
        assert!(ended.expect("the server stops when its stdin is closed").unwrap().success());
    }
}

#[allow(clippy::disallowed_methods, reason = "a test's settings come from make, and there is no config here")]
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run this by make"))
}

/// One test, since the server takes both cores to start and answers its questions in a second.
#[tokio::test]
async fn llama_cpp_is_understood() {
    let server = Server::start().await;
    let backend = OpenAi::new(&server.base, None).unwrap();
    lists_its_model(&backend).await;
    streams_text_usage_and_logprobs(&backend).await;
    answers_in_a_schema(&backend).await;
    stops_when_dropped(&backend).await;
    refuses(&server, &backend).await;
    server.stop().await;
}

async fn lists_its_model(backend: &OpenAi) {
    let models = backend.models().await.unwrap();
    assert_eq!(models.len(), 1);
    assert_eq!(models[0].context_tokens, Some(1024));
}

async fn streams_text_usage_and_logprobs(backend: &OpenAi) {
    let input = r#"{"messages":[{"role":"user","content":"Count from one to ten in words."}],
        "max_tokens":24,"temperature":0,"seed":1,"logprobs":true,"top_logprobs":2}"#;
    let chunks = answer(backend, request(input)).await;
    assert!(finished(&chunks, "length"), "{chunks:?}");
    let used = usage(&chunks).unwrap();
    assert_eq!((used.output_tokens, used.estimated), (24, false));
    assert!(used.input_tokens > 10, "{used:?}");
    let mut said = String::new();
    for chunk in &chunks {
        let Chunk::Logprobs(json) = chunk else { continue };
        let tokens: serde_json::Value = serde_json::from_slice(json).unwrap();
        for token in tokens.as_array().unwrap() {
            assert!(token["logprob"].as_f64().unwrap() <= 0.0);
            assert_eq!(token["top_logprobs"].as_array().unwrap().len(), 2);
            said.push_str(token["token"].as_str().unwrap());
        }
    }
    assert_eq!(text(&chunks), said);

    // The same once more: the prompt is in its cache, and the answer is the same.
    let again = answer(backend, request(input)).await;
    assert_eq!(text(&again), said);
    assert!(usage(&again).unwrap().cached_tokens > 0);
}

async fn answers_in_a_schema(backend: &OpenAi) {
    // A grammar leaves this small model no way but to answer in this form.
    let input = r#"{"messages":[{"role":"user","content":"Weather in Paris?"}],"max_tokens":60,"temperature":0,
        "response_format":{"type":"json_schema","json_schema":{"name":"city","schema":{"type":"object",
        "properties":{"city":{"enum":["Paris"]}},"required":["city"],"additionalProperties":false}}}}"#;
    let chunks = answer(backend, request(input)).await;
    let json: serde_json::Value = serde_json::from_str(&text(&chunks)).unwrap();
    assert_eq!(json, serde_json::json!({"city": "Paris"}));
    assert!(finished(&chunks, "stop"));
}

/// Both of its places are taken by answers that are dropped. It answers again at once, so it has stopped them.
async fn stops_when_dropped(backend: &OpenAi) {
    let long = r#"{"messages":[{"role":"user","content":"Tell a long story."}],"ignore_eos":true,"max_tokens":900}"#;
    let mut runs = Vec::new();
    for _ in 0..2 {
        let mut run = begin(backend, request(long)).await;
        assert!(matches!(next(&mut run.chunks).await, Chunk::Text(_)));
        runs.push(run);
    }
    drop(runs);
    let mut short = request(r#"{"messages":[{"role":"user","content":"Hi"}],"max_tokens":1}"#);
    // The rest of the two stories would take over ten seconds on one core.
    short.timeouts.first_token = Duration::from_secs(5);
    let chunks = answer(backend, short).await;
    assert!(finished(&chunks, "length"));
}

async fn refuses(server: &Server, backend: &OpenAi) {
    let invalid = failure(backend, request("{}")).await;
    assert_eq!((invalid.fault, invalid.status), (Fault::InvalidRequest, Some(400)));
    assert!(invalid.message.contains("'messages' is required"), "{invalid}");

    let words = "word ".repeat(2000);
    let long = format!(r#"{{"messages":[{{"role":"user","content":"{words}"}}]}}"#);
    let long = failure(backend, request(&long)).await;
    assert_eq!(long.fault, Fault::ContextTooLong, "{long}");

    // It has one model and answers for it under any name. What it does not have is another path.
    let elsewhere = OpenAi::new(&format!("{}/elsewhere", server.base), None).unwrap();
    let unknown = failure(&elsewhere, request("{}")).await;
    assert_eq!((unknown.fault, unknown.status), (Fault::UnknownModel, Some(404)));
}
