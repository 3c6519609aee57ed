//! What /metrics says after traffic: OpenTelemetry's names and boundaries, the upstream's own counts, and no series more
//! than the configuration gives reason for, however many tasks, keys and users there were.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use support::{PATIENCE, Server, ask};
use tidewire_testkit::upstream::{Fault, Script, Upstream};

const TOKENS: u32 = 4;

/// Labels that there may be. None of them names somebody or something that comes and goes.
const LABELS: &[&str] = &[
    "le",
    "amount",
    "error_type",
    "gen_ai_operation_name",
    "gen_ai_request_model",
    "gen_ai_provider_name",
    "gen_ai_token_type",
    "tidewire_deployment",
    // Of routes and breakers.
    "deployment",
    "route",
    "state",
    "outcome",
    // Of guardrails.
    "rule",
    "action",
];

/// One line of Prometheus text.
#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

fn samples(text: &str) -> Vec<Sample> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
            let labels = labels.map(|label| {
                let (key, value) = label.split_once("=\"").unwrap();
                (key.to_owned(), value.trim_end_matches('"').to_owned())
            });
            Sample { name: name.to_owned(), labels: labels.collect(), value: value.parse().unwrap() }
        })
        .collect()
}

async fn metrics(server: &Server) -> Vec<Sample> {
    let (status, _, body) = ask(server, "GET", "/metrics", "", "").await;
    assert_eq!(status, 200, "{body}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    samples(&body)
}

/// The sum over all series of this name that have these labels.
fn sum(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let has = |sample: &&Sample| {
        sample.name == name && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|it| it == value))
    };
    samples.iter().filter(has).map(|sample| sample.value).sum()
}

fn boundaries(samples: &[Sample], name: &str) -> Vec<String> {
    let bucket = format!("{name}_bucket");
    let mut seen = BTreeSet::new();
    let of_name = samples.iter().filter(|sample| sample.name == bucket);
    of_name.map(|sample| sample.labels["le"].clone()).filter(|le| seen.insert(le.clone())).collect()
}

async fn chat(server: &Server, model: &str, user: &str, stream: bool) -> u16 {
    let body = serde_json::json!({
        "model": model, "stream": stream, "user": user, "messages": [{"role": "user", "content": "Hi"}],
    });
    let headers = format!("content-type: application/json\r\nidempotency-key: key-of-{user}\r\n");
    ask(server, "POST", "/v1/chat/completions", &headers, &body.to_string()).await.0
}

async fn traffic(server: &Server, from: usize, to: usize) {
    for number in from..to {
        assert_eq!(chat(server, "public", &format!("user-{number}"), number % 2 == 0).await, 200);
        let unknown = chat(server, &format!("model-of-{number}"), "somebody", false).await;
        assert!((400..500).contains(&unknown), "{unknown}");
    }
}

/// Waits until all tasks are settled.
async fn settled(server: &Server) -> Vec<Sample> {
    let settled = async {
        loop {
            let samples = metrics(server).await;
            let open = sum(&samples, "tidewire_reservations", &[]) + sum(&samples, "tidewire_tasks_running", &[]);
            if open == 0.0 {
                return samples;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("all reservations are settled")
}

fn near(value: f64, expected: f64) {
    assert!((value - expected).abs() < 1e-6, "{value}, where {expected} was expected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_have_opentelemetrys_names_and_tell_what_the_upstream_sent() {
    let upstream = Upstream::start(Script::tokens(TOKENS));
    let server = Server::start(&config(&upstream));
    traffic(&server, 0, 6).await;
    upstream.play_once(Script::failing(Fault::context_too_long()));
    assert_eq!(chat(&server, "public", "one-more", false).await, 400);
    let embeddings = r#"{"model":"public","input":["a","b"]}"#;
    assert_eq!(ask(&server, "POST", "/v1/embeddings", "content-type: application/json\r\n", embeddings).await.0, 200);
    let samples = settled(&server).await;

    let of_embeddings = [("gen_ai_operation_name", "embeddings"), ("gen_ai_request_model", "public")];
    near(sum(&samples, "gen_ai_server_request_duration_seconds_count", &of_embeddings), 1.0);
    near(sum(&samples, "gen_ai_client_operation_duration_seconds_count", &of_embeddings), 1.0);
    let served = [("gen_ai_operation_name", "chat"), ("gen_ai_request_model", "public")];
    let count = |name: &str| sum(&samples, &format!("{name}_count"), &served);
    near(count("gen_ai_server_request_duration_seconds"), 7.0);
    near(count("gen_ai_server_time_to_first_token_seconds"), 6.0);
    near(count("gen_ai_server_time_per_output_token_seconds"), 6.0);
    near(count("gen_ai_client_operation_duration_seconds"), 7.0);
    let failed = sum(
        &samples,
        "gen_ai_client_operation_duration_seconds_count",
        &[("error_type", "context_too_long"), ("gen_ai_provider_name", "openai")],
    );
    near(failed, 1.0);
    let output = sum(&samples, "gen_ai_client_token_usage_sum", &[("gen_ai_token_type", "output")]);
    #[allow(clippy::cast_precision_loss)]
    near(output, upstream.counts().tokens as f64);
    near(output, f64::from(6 * TOKENS));

    let first = ["0.001", "0.005", "0.01", "0.02", "0.04", "0.06", "0.08", "0.1", "0.25", "0.5"];
    assert_eq!(boundaries(&samples, "gen_ai_server_time_to_first_token_seconds")[..10], first);
    assert_eq!(boundaries(&samples, "gen_ai_server_time_per_output_token_seconds").len(), 13 + 1);
    assert_eq!(boundaries(&samples, "gen_ai_client_token_usage")[..4], ["1.0", "4.0", "16.0", "64.0"]);

    let imbalance: Vec<_> = samples.iter().filter(|sample| sample.name == "tidewire_ledger_imbalance").collect();
    assert_eq!(imbalance.len(), 4);
    assert!(imbalance.iter().all(|sample| sample.value == 0.0), "{imbalance:?}");
    assert!(sum(&samples, "process_cpu_seconds_total", &[]) > 0.0);
    assert!(sum(&samples, "process_resident_memory_bytes", &[]) > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_id_becomes_a_label_and_more_callers_make_no_more_series() {
    let upstream = Upstream::start(Script::tokens(TOKENS));
    let server = Server::start(&config(&upstream));
    traffic(&server, 0, 3).await;
    let few = settled(&server).await.len();
    traffic(&server, 3, 20).await;
    let samples = settled(&server).await;
    assert_eq!(samples.len(), few, "series grow with callers");
    for sample in &samples {
        for (label, value) in &sample.labels {
            assert!(LABELS.contains(&label.as_str()), "{label} is new: does the configuration bound it? {sample:?}");
            let is_id = ["task_", "key", "user", "tenant", "model-of"].iter().any(|id| value.contains(id));
            assert!(!is_id || value == "user", "{sample:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_only_callers_chose_count_together() {
    let upstream = Upstream::start(Script::tokens(TOKENS));
    let server = Server::start_with_arguments("", &["--upstream", &upstream.url()]);
    for number in 0..5 {
        assert_eq!(chat(&server, &format!("made-up-{number}"), "somebody", false).await, 200);
    }
    let samples = settled(&server).await;
    let others = sum(&samples, "gen_ai_server_request_duration_seconds_count", &[("gen_ai_request_model", "_OTHER")]);
    near(others, 5.0);
    assert!(!samples.iter().any(|sample| sample.labels.values().any(|value| value.contains("made-up"))));
}

fn config(upstream: &Upstream) -> String {
    format!(
        "[[deployment]]\nname = \"public\"\nbackend = \"openai\"\nurl = \"{}\"\nmodel = \"theirs\"\n",
        upstream.url()
    )
}

#[tokio::test]
async fn what_screens_have_seen_is_counted_all_of_it_or_nothing() {
    let server = Server::start("");
    let send = async |body: &str| {
        let (status, _, answer) =
            ask(&server, "POST", "/v1/measures", "content-type: application/json\r\n", body).await;
        (status, answer)
    };
    let measures = r#"{"measures": [{"name": "ttft", "ms": 12.5, "task": "task_x"}, {"name": "ttar", "ms": 20}]}"#;
    assert_eq!(send(measures).await.0, 204);
    for wrong in [
        r#"{"measures": [{"name": "ttft", "ms": 1}, {"name": "tpot", "ms": 1}]}"#,
        r#"{"measures": [{"name": "ttft", "ms": 1}, {"name": "ttar", "ms": -1}]}"#,
    ] {
        let (status, answer) = send(wrong).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer.contains("invalid_request"), "{answer}");
    }
    let samples = metrics(&server).await;
    let value = |name: &str| samples.iter().find(|sample| sample.name == name).unwrap().value;
    assert_eq!(value("tidewire_client_ttft_seconds_count").to_string(), "1");
    assert_eq!(value("tidewire_client_ttft_seconds_sum").to_string(), "0.0125");
    assert_eq!(value("tidewire_client_ttar_seconds_count").to_string(), "1");
}
