//! A server that says what the test tells it to: real sockets, no model, no clock.
// Clippy knows functions marked as tests, not those that only tests call.
#![allow(clippy::unwrap_used)]

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tidewire_client::proto::Submission;
use tidewire_client::{Answer, Submitted};
use tidewire_client::{Backoff, Driver, Endpoint, Follow, Options, Over, Session, SessionError};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_websockets::{CloseCode, Message, ServerBuilder, WebSocketStream};

pub(crate) const LOG: &str = "task_1";
pub(crate) const EPOCH: u32 = 7;

pub(crate) struct Server {
    listener: TcpListener,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.listener.local_addr().unwrap().to_string().parse().unwrap()
    }

    /// The next client.
    pub(crate) async fn accept(&self) -> Peer {
        let (stream, _) = self.listener.accept().await.unwrap();
        let (request, socket) = ServerBuilder::new().accept(stream).await.unwrap();
        assert_eq!(request.uri().path(), "/v1/ws");
        Peer { socket }
    }

    /// A session and its server side.
    pub(crate) async fn open(&self, backoff: Backoff) -> (Session, Running, Peer) {
        let options = Options { backoff, window_ms: None };
        let endpoint = self.endpoint();
        let (opened, peer) = tokio::join!(Session::open(&endpoint, options), self.accept());
        let (session, driver) = opened.unwrap();
        (session, Running::start(driver), peer)
    }
}

/// The driver, at work.
pub(crate) struct Running(JoinSet<Over>);

impl Running {
    fn start(driver: Driver) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.run());
        Self(tasks)
    }

    pub(crate) async fn end(&mut self) -> Over {
        self.0.join_next().await.unwrap().unwrap()
    }
}

/// The server's side of one connection.
pub(crate) struct Peer {
    socket: WebSocketStream<TcpStream>,
}

impl Peer {
    /// The client's next frame; `None` once the client has gone.
    pub(crate) async fn hear(&mut self) -> Option<Value> {
        loop {
            let message = self.socket.next().await?.ok()?;
            if let Some(text) = message.as_text() {
                return Some(serde_json::from_str(text).unwrap());
            }
        }
    }

    /// The client's next frame, which has this op.
    pub(crate) async fn expect(&mut self, op: &str) -> Value {
        let frame = self.hear().await.unwrap();
        assert_eq!(frame["op"], op, "{frame}");
        frame
    }

    pub(crate) async fn say(&mut self, frame: Value) {
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
    }

    pub(crate) async fn acknowledge(&mut self, submit: &Value, known: bool) {
        let ack = json!({"op": "ack", "ref": submit["ref"], "task": LOG, "log": LOG, "epoch": EPOCH, "state": "queued", "known": known});
        self.say(ack).await;
    }

    pub(crate) async fn following(&mut self, follow: &Value, tail: u64) {
        self.say(json!({"op": "following", "ref": follow["ref"], "log": LOG, "epoch": EPOCH, "tail": tail})).await;
    }

    pub(crate) async fn refuse(&mut self, asked: &Value, code: &str) {
        self.say(json!({"op": "error", "ref": asked["ref"], "error": {"code": code, "message": "no"}})).await;
    }

    /// Sends the log's events `from..to`, in one frame.
    pub(crate) async fn events(&mut self, events: &[Value], from: usize, to: usize) {
        self.say(frame(events, from, to)).await;
    }

    pub(crate) async fn ended(&mut self) {
        self.say(json!({"op": "unfollowed", "log": LOG, "reason": "ended"})).await;
    }

    pub(crate) async fn close(mut self, code: u16) {
        let code = CloseCode::try_from(code).unwrap();
        self.socket.send(Message::close(Some(code), "for a reason")).await.unwrap();
        while self.socket.next().await.is_some() {}
    }
}

fn frame(events: &[Value], from: usize, to: usize) -> Value {
    json!({"op": "events", "log": LOG, "epoch": EPOCH, "from": from, "to": to, "events": events[from..to]})
}

/// A log that says `words` words; its last event is its end.
pub(crate) fn log_of(words: usize) -> Vec<Value> {
    let mut events = vec![json!({"offset": 0, "type": "started", "at": 1, "data": {"attempt": 1}})];
    for word in 0..words {
        events.push(json!({"offset": word + 1, "type": "text", "at": 1, "data": format!("w{word} ")}));
    }
    events.push(json!({"offset": words + 1, "type": "end", "at": 1, "data": {"state": "done"}}));
    events
}

pub(crate) fn text_of(words: usize) -> String {
    use std::fmt::Write;
    (0..words).fold(String::new(), |mut text, word| {
        write!(text, "w{word} ").unwrap();
        text
    })
}

pub(crate) fn task() -> Submission {
    Submission { prompt: Some("Hi".into()), ..Submission::default() }
}

/// A submitted task, acknowledged by the peer.
pub(crate) async fn submitted(session: &Session, peer: &mut Peer) -> Submitted {
    let (submitted, ()) = tokio::join!(session.submit(task()), async {
        let submit = peer.expect("submit").await;
        peer.acknowledge(&submit, false).await;
    });
    submitted.unwrap()
}

/// Reads a log to its end, and checks that it is dense.
pub(crate) async fn read(log: &mut Follow) -> Result<Answer, SessionError> {
    let mut answer = Answer::default();
    let mut next = None;
    while let Some(batch) = log.next().await {
        let batch = batch?;
        if batch.starts_over {
            answer.start_over();
            next = None;
        }
        let mut at = next.unwrap_or(batch.from);
        for event in batch.events().unwrap() {
            assert_eq!(event.offset, at, "dense and in order");
            at = event.next();
            answer.apply(&event);
        }
        assert_eq!(at, batch.to);
        next = Some(at);
    }
    Ok(answer)
}
