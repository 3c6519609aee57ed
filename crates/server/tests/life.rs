//! The life of tasks over the real faces: stop, disconnect, retries, draining, and what an upstream sees of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::disallowed_methods, reason = "a test has no shutdown to wait for its tasks")]

mod support;

use futures_util::SinkExt;
use std::collections::HashMap;
use std::time::Duration;
use support::{PATIENCE, Server, script_text, scripted, task};
use tidewire_client::{Answer, Follow};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_websockets::Message;

async fn whole(log: &mut Follow) -> Answer {
    let mut answer = Answer::default();
    let read = async {
        while let Some(batch) = log.next().await {
            for event in batch.unwrap().events().unwrap() {
                answer.apply(&event);
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the log ends");
    answer
}

/// Reads until text has come.
async fn some_text(log: &mut Follow) {
    let mut answer = Answer::default();
    while answer.text().is_empty() {
        let batch = tokio::time::timeout(PATIENCE, log.next()).await.expect("text comes").unwrap().unwrap();
        for event in batch.events().unwrap() {
            answer.apply(&event);
        }
    }
}

/// An upstream that streams a token every 10 ms, and notes when its connection closes.
async fn endless_upstream() -> (String, tokio::sync::oneshot::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (closed, is_closed) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut closed = Some(closed);
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            if request[..read].starts_with(b"GET") {
                let body = r#"{"object":"list","data":[{"id":"endless","object":"model"}]}"#;
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all((head + body).as_bytes()).await;
                continue;
            }
            let closed = closed.take();
            tokio::spawn(async move {
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
                    .await;
                let (mut from, mut to) = stream.split();
                let speak = async {
                    let mut tick = tokio::time::interval(Duration::from_millis(10));
                    let token = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word \"}}]}\n\n";
                    while to.write_all(token.as_bytes()).await.is_ok() {
                        tick.tick().await;
                    }
                };
                let mut rest = Vec::new();
                tokio::select! {
                    () = speak => {}
                    _ = from.read_to_end(&mut rest) => {}
                }
                if let Some(closed) = closed {
                    let _ = closed.send(());
                }
            });
        }
    });
    (url, is_closed)
}

fn upstream(url: &str) -> String {
    format!("[[deployment]]\nname = \"endless\"\nbackend = \"openai\"\nurl = \"{url}\"\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_from_another_connection_closes_the_upstream_and_records_the_usage() {
    let (url, closed) = endless_upstream().await;
    let server = Server::start(&upstream(&url));
    let (submitter, other) = (server.session().await, server.session().await);
    let prompt = tidewire_proto::Submission { prompt: Some("go".into()), ..Default::default() };
    let mut submitted = submitter.submit(prompt).await.unwrap();
    some_text(&mut submitted.log).await;
    assert_eq!(other.stop(&submitted.ack.task).await.unwrap(), "stopped");
    let after_the_ack = tokio::time::timeout(PATIENCE, async {
        let mut texts_after = 0;
        while let Some(batch) = submitted.log.next().await {
            texts_after += batch.unwrap().events().unwrap().iter().filter(|event| event.kind == "end").count();
        }
        texts_after
    });
    assert_eq!(after_the_ack.await.unwrap(), 1, "one end");
    tokio::time::timeout(PATIENCE, closed).await.expect("the upstream's connection is closed").unwrap();
    let task = server.http().task(&submitted.ack.task).await.unwrap();
    let usage = &task.end.unwrap()["usage"];
    assert!(usage["output_tokens"].as_u64() > Some(0), "{usage}");
    assert_eq!(usage["estimated"], true, "the upstream was cut before it could count");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queued_task_stops_at_once() {
    let server = Server::start(&scripted(1));
    let session = server.session().await;
    let endless = || task(serde_json::json!({ "tokens": 1_000_000, "delay_ms": 1000 }));
    let _running = session.submit(endless()).await.unwrap();
    let queued = session.submit(endless()).await.unwrap();
    assert_eq!(session.stop(&queued.ack.task).await.unwrap(), "stopped");
    let shown = server.http().task(&queued.ack.task).await.unwrap();
    assert_eq!((shown.state.as_str(), shown.attempts), ("stopped", 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_outlives_its_submitter_unless_it_was_told_to_stop_with_it() {
    let server = Server::start(&scripted(8));
    let script = || serde_json::json!({ "tokens": 30, "delay_ms": 10 });
    let (stays, stops) = {
        let session = server.session().await;
        let mut stays = session.submit(task(script())).await.unwrap();
        let endless = task(serde_json::json!({ "tokens": 1_000_000, "delay_ms": 10 }));
        let stops = tidewire_proto::Submission { on_disconnect: Some("stop".into()), ..endless };
        let mut stops = session.submit(stops).await.unwrap();
        some_text(&mut stays.log).await;
        some_text(&mut stops.log).await;
        (stays.ack.task, stops.ack.task)
    };
    let http = server.http();
    assert_eq!(http.text(&stays, Some(PATIENCE)).await.unwrap(), script_text("w", 30));
    assert_eq!(http.task(&stays).await.unwrap().state, "done");
    http.text(&stops, Some(PATIENCE)).await.unwrap();
    assert_eq!(http.task(&stops).await.unwrap().state, "stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_breaks_is_followed_by_one_that_goes_on_or_starts_over() {
    let config = format!("[worker]\nbackoff_ms = 1\n{}", scripted(8));
    let server = Server::start(&config);
    let session = server.session().await;
    for continues in [true, false] {
        let script = serde_json::json!({ "tokens": 20, "delay_ms": 1, "continues": continues,
            "fail_at": 9, "fault": "cut", "fail_attempts": 2, "key": format!("k{continues}") });
        let mut submitted = session.submit(task(script)).await.unwrap();
        let answer = whole(&mut submitted.log).await;
        assert_eq!(answer.text(), script_text("w", 20));
        let end = answer.end().unwrap();
        // A run that goes on skips the words it has, so it meets the fault at the ninth word again only once.
        assert_eq!((&end["state"], end["attempts"].as_u64() > Some(1)), (&"done".into(), true), "{end}");
        assert_eq!(server.http().text(&submitted.ack.task, None).await.unwrap(), script_text("w", 20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_that_stays_ends_the_task_with_its_code() {
    let server = Server::start(&format!("[worker]\nbackoff_ms = 1\n{}", scripted(8)));
    let session = server.session().await;
    for (fault, code, attempts) in [("overloaded", "upstream_overloaded", 3), ("invalid", "invalid_input", 1)] {
        let mut submitted = session.submit(task(serde_json::json!({ "fault": fault }))).await.unwrap();
        let answer = whole(&mut submitted.log).await;
        let end = answer.end().unwrap();
        assert_eq!((&end["state"], &end["error"]["code"]), (&"failed".into(), &code.into()), "{end}");
        assert_eq!(end["attempts"], attempts);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_a_task_that_runs_and_one_that_waits() {
    let server = Server::start(&scripted(1));
    let session = server.session().await;
    let endless = || task(serde_json::json!({ "tokens": 1_000_000, "delay_ms": 20 }));
    let within = |millis| tidewire_proto::Submission { deadline_ms: Some(millis), ..endless() };
    let mut running = session.submit(within(1500)).await.unwrap();
    let mut waiting = session.submit(within(1)).await.unwrap();
    for log in [&mut running.log, &mut waiting.log] {
        let answer = whole(log).await;
        assert_eq!(answer.end().unwrap()["error"]["code"], "deadline_exceeded");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_hands_running_tasks_back_and_the_next_server_ends_them() {
    let mut server = Server::start(&format!("[worker]\ndrain_ms = 50\n{}", scripted(8)));
    let session = server.session().await;
    let mut submitted = session.submit(task(serde_json::json!({ "tokens": 60, "delay_ms": 20 }))).await.unwrap();
    some_text(&mut submitted.log).await;
    let drained = tokio::task::spawn_blocking(move || (server.terminate(), server));
    let (code, mut server) = tokio::time::timeout(PATIENCE, drained).await.expect("the drain ends").unwrap();
    assert_eq!(code, Some(0));
    server.restart();
    let mut log = session.follow(&submitted.ack.task, None).await.unwrap();
    let answer = whole(&mut log).await;
    assert_eq!(answer.text(), script_text("w", 60));
    assert_eq!(answer.end().unwrap()["attempts"], 1, "an attempt that was handed back does not count");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_follows_of_one_log_the_last_counts() {
    let mut server = Server::start(&scripted(8));
    let mut logs = Vec::new();
    for _ in 0..40 {
        let accepted = server.http().submit(&task(serde_json::json!({ "tokens": 5, "delay_ms": 0 }))).await.unwrap();
        server.http().text(&accepted.id, Some(PATIENCE)).await.unwrap();
        logs.push(accepted.id);
    }
    // After a restart the first look at a log goes to the disk, so that answers could overtake each other.
    server.kill();
    server.restart();
    let mut socket = support::keyed::try_connect(&server, "/v1/ws", None).await.unwrap();
    // As many as may wait for their answer.
    for asked in logs.chunks(16) {
        for log in asked {
            for frame in [
                serde_json::json!({ "op": "follow", "ref": "later", "log": log, "after": 2 }),
                serde_json::json!({ "op": "unfollow", "ref": "none", "log": log }),
                serde_json::json!({ "op": "follow", "ref": "all", "log": log }),
            ] {
                socket.send(Message::text(frame.to_string())).await.unwrap();
            }
        }
        let mut open: HashMap<&str, Vec<String>> = asked.iter().map(|log| (log.as_str(), Vec::new())).collect();
        let mut ended = 0;
        while ended < asked.len() {
            let heard = support::keyed::next(&mut socket).await.unwrap();
            let said = open.get_mut(heard["log"].as_str().unwrap()).unwrap();
            match heard["op"].as_str().unwrap() {
                "events" => said.push(format!("from {}", heard["from"])),
                _ => said.push(heard["ref"].as_str().unwrap_or("ended").to_owned()),
            }
            // The first cursor may have told what it had, and its end, before it was taken away.
            let last = said.iter().any(|said| said == "all");
            if !last {
                said.retain(|said| said != "from 3" && said != "ended");
            }
            ended += usize::from(last && heard["reason"] == "ended");
        }
        for said in open.into_values() {
            assert_eq!(said, ["later", "none", "all", "from 0", "ended"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_has_one_server() {
    let server = Server::start(&scripted(1));
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_tidewire"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(server.dir.path().join("data"))
        .env("TIDEWIRE_BUILT_IN__ENABLED", "false")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && said.contains(&server.pid().to_string()), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transient_tasks_leave_nothing_but_their_settlement() {
    let mut server = Server::start(&scripted(4));
    let transient = tidewire_proto::Submission {
        durability: Some("transient".into()),
        ..task(serde_json::json!({ "tokens": 3, "delay_ms": 0 }))
    };
    let accepted = server.http().submit(&transient).await.unwrap();
    assert_eq!(server.http().text(&accepted.id, Some(PATIENCE)).await.unwrap(), script_text("w", 3));
    server.kill();
    server.restart();
    let gone = server.http().task(&accepted.id).await.unwrap_err();
    assert!(gone.to_string().contains("unknown_task"), "{gone}");
}
