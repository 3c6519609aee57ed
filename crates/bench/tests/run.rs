//! Runs against a small server that speaks the protocol: a good one, and ones that break each promise.
// Clippy knows functions marked as tests, not those that only tests call.
#![allow(clippy::unwrap_used)]

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tidewire_bench::{Load, Options, Report, Script, run};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_websockets::{Message, ServerBuilder, WebSocketStream};

const TOKENS: u32 = 5;

/// What the server does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    LosesAWord,
    DoublesAWord,
    ForgetsTheEnd,
    Refuses,
    /// Cuts the first connection in the middle of its log.
    Cuts,
}

struct Server {
    listener: TcpListener,
    fault: Fault,
    tasks: AtomicUsize,
}

impl Server {
    async fn serve(self: Arc<Self>) {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = self.listener.accept().await.unwrap();
            let server = self.clone();
            connections.spawn(async move {
                // What is no WebSocket asks for metrics, which this server does not have.
                if let Ok((_, socket)) = ServerBuilder::new().accept(stream).await {
                    server.talk(socket).await;
                }
            });
        }
    }

    async fn talk(&self, mut socket: WebSocketStream<TcpStream>) {
        while let Some(Ok(message)) = socket.next().await {
            let Some(text) = message.as_text() else { continue };
            let frame: Value = serde_json::from_str(text).unwrap();
            let answers = match frame["op"].as_str().unwrap() {
                "submit" => self.submitted(&frame),
                "follow" => {
                    let (log, from) = (frame["log"].clone(), frame["after"].as_u64().map_or(0, |after| after + 1));
                    let following = json!({"op": "following", "ref": frame["ref"], "log": log, "epoch": 1, "tail": 0});
                    [vec![following], self.log(&log, from, u64::MAX)].concat()
                }
                op => panic!("{op}"),
            };
            for answer in answers {
                if answer.is_null() {
                    return;
                }
                socket.send(Message::text(answer.to_string())).await.unwrap();
            }
        }
    }

    fn submitted(&self, frame: &Value) -> Vec<Value> {
        let number = self.tasks.fetch_add(1, Relaxed);
        if self.fault == Fault::Refuses {
            let error = json!({"code": "queue_full", "message": "too many", "retry_after_ms": 1});
            return vec![json!({"op": "error", "ref": frame["ref"], "error": error})];
        }
        let log = json!(format!("task_{number}"));
        let ack = json!({"op": "ack", "ref": frame["ref"], "task": log, "log": log, "epoch": 1, "state": "queued"});
        let cut = self.fault == Fault::Cuts && number == 0;
        [vec![ack], self.log(&log, 0, if cut { 3 } else { u64::MAX })].concat()
    }

    /// The frames of a log from an offset on; `null` cuts the connection.
    fn log(&self, log: &Value, from: u64, until: u64) -> Vec<Value> {
        let mut data = vec![("started", json!({"attempt": 1}))];
        data.extend((0..TOKENS).map(|word| ("text", json!(format!("w{word} ")))));
        match self.fault {
            Fault::LosesAWord => drop(data.remove(3)),
            Fault::DoublesAWord => data.insert(3, data[3].clone()),
            _ => {}
        }
        if self.fault != Fault::ForgetsTheEnd {
            data.push(("end", json!({"state": "done", "usage": {"output_tokens": TOKENS}})));
        }
        let mut frames = Vec::new();
        for (offset, (kind, data)) in (0_u64..).zip(data).filter(|(offset, _)| *offset >= from) {
            if offset == until {
                frames.push(Value::Null);
                return frames;
            }
            let event = json!({"offset": offset, "type": kind, "at": 1, "data": data});
            frames.push(
                json!({"op": "events", "log": log, "epoch": 1, "from": offset, "to": offset + 1, "events": [event]}),
            );
        }
        frames.push(json!({"op": "unfollowed", "log": log, "reason": "ended"}));
        frames
    }
}

async fn report(fault: Fault, load: Load) -> Report {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = Options {
        endpoint: listener.local_addr().unwrap().to_string().parse().unwrap(),
        sessions: 4,
        load,
        model: Some("scripted".into()),
        prompt: "Hi".into(),
        script: Some(Script { tokens: TOKENS, delay: Duration::from_millis(1) }),
        max_tokens: None,
        transient: false,
        window_ms: None,
        task_limit: Duration::from_secs(30),
        pid: None,
        progress: false,
    };
    let server = Arc::new(Server { listener, fault, tasks: AtomicUsize::new(0) });
    let mut serving = JoinSet::new();
    serving.spawn(server.serve());
    run(options).await.unwrap()
}

fn closed() -> Load {
    Load::Closed { tasks: 3, ramp: Duration::from_millis(4) }
}

#[tokio::test]
async fn a_good_server_is_clean_in_a_closed_and_in_an_open_loop() {
    let open = Load::Open { per_second: 300.0, duration: Duration::from_millis(40) };
    for load in [closed(), open] {
        let report = report(Fault::None, load).await;
        assert!(report.is_clean(), "{report}");
        assert_eq!((report.tasks.done, report.tokens), (12, 12 * u64::from(TOKENS)), "{report}");
        assert!(report.latency_ms.ack.unwrap().p50 > 0.0);
        assert!(report.latency_ms.total.unwrap().max >= report.latency_ms.first_token.unwrap().p50);
        // The server is this process.
        assert_eq!(report.server.unwrap().pid, std::process::id());
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["events"]["lost"], 0);
        assert!(report.to_string().contains("12 done, 0 failed"), "{report}");
    }
}

#[tokio::test]
async fn each_broken_promise_is_counted() {
    let lost = report(Fault::LosesAWord, closed()).await;
    assert_eq!((lost.events.lost, lost.is_clean()), (12, false), "{lost}");
    let doubled = report(Fault::DoublesAWord, closed()).await;
    assert_eq!((doubled.events.doubled, doubled.is_clean()), (12, false), "{doubled}");
    let endless = report(Fault::ForgetsTheEnd, closed()).await;
    assert_eq!((endless.tasks.unfinished, endless.is_clean()), (12, false), "{endless}");
}

#[tokio::test]
async fn a_refusal_is_named_and_is_no_lost_event() {
    let report = report(Fault::Refuses, closed()).await;
    assert_eq!((report.tasks.refused, report.reasons["queue_full"]), (12, 12));
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn a_cut_is_a_reconnect_and_no_lost_event() {
    let report = report(Fault::Cuts, closed()).await;
    assert_eq!((report.tasks.done, report.events.reconnects), (12, 1), "{report}");
    assert!(report.is_clean(), "{report}");
}
