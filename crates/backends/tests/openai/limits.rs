//! What an upstream tells of its limits, and headers from the configuration.

use super::KEY;
use super::runs::{answer, begin, failure, hello};
use super::upstream::{Upstream, document};
use std::time::Duration;
use tidewire_backends::Settings;
use tidewire_backends::openai::OpenAi;
use tidewire_core::port::{Counted, UpstreamLimit};

const HEADERS: &str = "x-ratelimit-limit-requests: 60\r\nx-ratelimit-remaining-requests: 0\r\n\
     x-ratelimit-reset-requests: 6m0s\r\nx-ratelimit-remaining-tokens: 149984\r\nx-ratelimit-reset-tokens: 1s\r\n";

#[tokio::test]
async fn limits_come_with_answers_and_with_refusals() {
    let answers = [
        document("200 OK", HEADERS, include_str!("../transcripts/openai_document.json")),
        document("429 Too Many Requests", HEADERS, include_str!("../transcripts/openai_rate.json")),
        document("200 OK", "", include_str!("../transcripts/openai_document.json")),
    ];
    let upstream = Upstream::start(answers).await;
    let backend = super::backend(&upstream);
    let expected = [
        UpstreamLimit { of: Counted::Requests, limit: Some(60), remaining: 0, reset: Some(Duration::from_mins(6)) },
        UpstreamLimit { of: Counted::Tokens, limit: None, remaining: 149_984, reset: Some(Duration::from_secs(1)) },
    ];
    assert_eq!(begin(&backend, hello()).await.limits, expected);
    assert_eq!(failure(&backend, hello()).await.limits, expected);
    assert_eq!(begin(&backend, hello()).await.limits, []);
}

#[tokio::test]
async fn headers_of_the_configuration_go_with_each_request() {
    let answers = [include_str!("../transcripts/openai_document.json"), r#"{"data":[]}"#];
    let mut upstream = Upstream::start(answers.map(|body| document("200 OK", "", body))).await;
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let settings = Settings {
        url: upstream.base.clone(),
        key: Some(KEY.to_owned()),
        headers: vec![header("HTTP-Referer", "https://a.example"), header("OpenAI-Organization", "org-1")],
    };
    let backend = OpenAi::with(&settings).unwrap();
    answer(&backend, hello()).await;
    tidewire_core::port::Backend::models(&backend).await.unwrap();
    for _ in 0..2 {
        let (_, head, _) = upstream.request().await;
        for line in
            ["http-referer: https://a.example", "openai-organization: org-1", "authorization: Bearer sk-test-1234"]
        {
            assert!(head.lines().any(|header| header == line), "{head}");
        }
    }
}
