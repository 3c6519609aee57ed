//! A server in front of another one, by `--upstream` alone: any model name goes through. And what an upstream sees of callers
//! that leave.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]

mod support;

use serde_json::{Value, json};
use support::{PATIENCE, Server, script_text, scripted, task};
use tidewire_client::Filter;
use tidewire_proto::Submission;
use tidewire_testkit::upstream::{Break, Fault, Script, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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

/// A request of a face.
fn request(face: &str, stream: bool) -> Value {
    let messages = json!([{ "role": "user", "content": "go" }]);
    let mut body = json!({ "model": "r", "stream": stream });
    match face {
        "/v1/responses" => body["input"] = json!("go"),
        "/v1/messages" => (body["messages"], body["max_tokens"]) = (messages, json!(100)),
        _ => body["messages"] = messages,
    }
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_closes_the_upstream_on_every_face() {
    // Before the first word, and in the middle.
    for fault in [Fault::Silent, Fault::after(3, Break::Stall)] {
        let upstream = Upstream::start(Script::tokens(20).with(fault.clone()));
        let server = Server::start(&format!(
            "[[deployment]]\nname = \"up\"\nbackend = \"openai\"\nurl = \"{}\"\n[[route]]\nname = \"r\"\n\
             deployments = [\"up\"]\n",
            upstream.url()
        ));
        let faces = ["/v1/chat/completions", "/v1/responses", "/v1/messages"];
        for (place, (face, stream)) in faces.iter().flat_map(|face| [(face, true), (face, false)]).enumerate() {
            let body = request(face, stream).to_string();
            let mut caller = TcpStream::connect(server.address()).await.unwrap();
            let head =
                format!("POST {face} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n", server.address(), body.len());
            caller.write_all([head, body].concat().as_bytes()).await.unwrap();
            upstream.wait_for_calls(place + 1).await;
            if stream && fault != Fault::Silent {
                let mut heard = [0; 1];
                tokio::time::timeout(PATIENCE, caller.read_exact(&mut heard)).await.expect("a word").unwrap();
            }
            drop(caller);
            let left = tokio::time::timeout(PATIENCE, upstream.wait_for_cancel()).await;
            let left = left.unwrap_or_else(|_| panic!("{face}, streamed {stream}, {fault:?}: the upstream goes on"));
            assert!(left.tokens <= 3, "{face}: {left:?}");
        }
    }
}
