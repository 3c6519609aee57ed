//! A server in front of another one, by `--upstream` alone: any model name goes through.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]

mod support;

use support::{PATIENCE, Server, script_text, scripted, task};
use tidewire_client::Filter;
use tidewire_proto::Submission;

/// Waits until the server in front has heard which models there are.
async fn has_models(server: &Server) {
    let http = server.http();
    let listed = async {
        while http.models().await.unwrap()["data"].as_array().is_none_or(Vec::is_empty) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, listed).await.expect("the upstream says which models it has");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_model_name_goes_through_to_an_upstream_that_is_given_by_its_url() {
    let behind = Server::start(&scripted(8));
    let url = format!("{}/v1", behind.url);
    let front = Server::start_with_arguments("", &["--upstream", &url]);
    has_models(&front).await;
    let http = front.http();

    let accepted = http.submit(&task(serde_json::json!({ "tokens": 20, "delay_ms": 1 }))).await.unwrap();
    assert_eq!(http.text(&accepted.id, Some(PATIENCE)).await.unwrap(), script_text("w", 20));
    let done = http.task(&accepted.id).await.unwrap();
    assert_eq!((done.state.as_str(), done.model.as_str()), ("done", "scripted"), "the only model there is");
    assert_eq!(done.end.unwrap()["usage"]["output_tokens"], 20);

    let named = Submission { model: Some("nobody-has-this".into()), ..task(serde_json::json!({})) };
    let accepted = http.submit(&named).await.unwrap();
    http.text(&accepted.id, Some(PATIENCE)).await.unwrap();
    let failed = http.task(&accepted.id).await.unwrap().end.unwrap();
    assert_eq!((&failed["error"]["code"], &failed["attempts"]), (&"unknown_model".into(), &1.into()), "{failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_goes_through_to_the_server_behind() {
    let behind = Server::start(&scripted(8));
    let url = format!("{}/v1", behind.url);
    let front = Server::start_with_arguments("", &["--upstream", &url]);
    has_models(&front).await;
    let session = front.session().await;
    let endless = task(serde_json::json!({ "tokens": 1_000_000, "delay_ms": 10 }));
    let mut submitted = session.submit(endless).await.unwrap();
    while !submitted.log.next().await.unwrap().unwrap().events().unwrap().iter().any(|event| event.kind == "text") {}
    assert_eq!(session.stop(&submitted.ack.task).await.unwrap(), "stopped");
    let stopped = async {
        loop {
            let filter = Filter { state: Some("stopped".into()), ..Filter::default() };
            if !behind.http().tasks(&filter).await.unwrap().tasks.is_empty() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, stopped).await.expect("the task behind stops, for its caller has left");
}
