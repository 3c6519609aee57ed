//! Azure's form of OpenAI's API.

use super::runs::{answer, failure, finished, hello, text, usage};
use super::upstream::{Upstream, document, events};
use super::{KEY, played, settings};
use tidewire_backends::openai::OpenAi;
use tidewire_core::Usage;
use tidewire_core::port::{Backend, EmbedInput, EmbedRequest, Embedder, Fault, Request, Timeouts};

fn dated(upstream: &Upstream) -> OpenAi {
    OpenAi::azure(&settings(upstream), Some("2024-10-21")).unwrap()
}

#[tokio::test]
async fn how_the_content_was_judged_is_no_part_of_the_answer() {
    let chunks = played(dated, include_str!("../transcripts/azure_text.sse")).await;
    assert_eq!(text(&chunks), "Grüße aus Köln");
    assert_eq!(usage(&chunks), Some(Usage { input_tokens: 9, output_tokens: 4, ..Usage::default() }));
    assert!(finished(&chunks, "stop"));
    let chunks = played(dated, include_str!("../transcripts/azure_filtered.sse")).await;
    assert!(finished(&chunks, "content_filter"));
}

#[tokio::test]
async fn every_refusal_has_its_fault() {
    let cases = [
        ("400 Bad Request", include_str!("../transcripts/azure_filter.json"), Fault::InvalidRequest),
        ("401 Unauthorized", include_str!("../transcripts/azure_key.json"), Fault::Unauthorized),
        ("404 Not Found", include_str!("../transcripts/azure_deployment.json"), Fault::UnknownModel),
        ("429 Too Many Requests", include_str!("../transcripts/azure_rate.json"), Fault::RateLimited),
    ];
    let upstream = Upstream::start(cases.map(|(status, body, _)| document(status, "", body))).await;
    let backend = dated(&upstream);
    for (status, _, fault) in cases {
        let error = failure(&backend, hello()).await;
        assert_eq!(error.fault, fault, "{status}: {error}");
        assert!(!format!("{error:?}").contains(KEY), "{error:?}");
    }
}

#[tokio::test]
async fn a_dated_version_has_a_path_for_each_deployment_and_others_have_one_for_all() {
    let cases = [
        (Some("2024-10-21"), "/openai/deployments/my%20model%2F1/", "?api-version=2024-10-21"),
        (Some("preview"), "/openai/v1/", "?api-version=preview"),
        (None, "/openai/v1/", ""),
    ];
    for (version, path, query) in cases {
        let vectors = r#"{"data":[{"embedding":[1]}],"usage":{"prompt_tokens":1}}"#;
        let answers = [
            events(include_str!("../transcripts/azure_text.sse"), 99),
            document("200 OK", "", vectors),
            document("200 OK", "", r#"{"data":[]}"#),
        ];
        let mut upstream = Upstream::start(answers).await;
        let mut settings = settings(&upstream);
        // As Azure shows it: without a version in it.
        settings.url = settings.url.replace("/v1", "/");
        let backend = OpenAi::azure(&settings, version).unwrap();
        answer(&backend, Request { model: "my model/1".into(), ..hello() }).await;
        let inputs = vec![EmbedInput::Text("a".to_owned())];
        let asked =
            EmbedRequest { model: "my model/1".into(), inputs, dimensions: None, timeouts: Timeouts::default() };
        backend.embed(asked).await.unwrap();
        backend.models().await.unwrap();
        for what in ["chat/completions", "embeddings"] {
            let (_, head, body) = upstream.request().await;
            assert!(head.starts_with(&format!("POST {path}{what}{query} HTTP/1.1\r\n")), "{head}");
            assert!(head.lines().any(|header| header == "api-key: key-test-1234"), "{head}");
            assert!(!head.contains("authorization"), "{head}");
            assert!(body.starts_with(r#"{"model":"my model/1","#), "{body}");
        }
        assert!(upstream.request().await.1.starts_with("GET /openai/"));
    }
}
