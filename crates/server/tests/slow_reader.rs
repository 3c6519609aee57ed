//! Readers that stop reading a log of 16 MB, past their sockets' buffers: they cost the server almost no memory, hold
//! up nobody, and get the rest, merged, when they read on.

mod support;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use std::time::Duration;
use support::{PATIENCE, Server, script_text, scripted, task};
use tidewire_proto::{ClientFrame, WireEvent};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_websockets::{ClientBuilder, Limits, Message, WebSocketStream};

/// A word is an event: 2048 of 8 KiB.
const WORDS: usize = 2048;
const WORD_BYTES: usize = 8 * 1024;
const FAST: usize = 20;
/// As many as make the allocator's noise, a few MB, small beside what they may cost.
const SLOW: usize = 16;
/// A small receive buffer, so that the slow ones' sockets are full after the sender's 4 MiB.
const SLOW_RECEIVE_BYTES: u32 = 64 * 1024;
/// What one slow reader may cost: a sixteenth of the log that it does not read.
const MAX_GROWTH_BYTES: i64 = 1024 * 1024;

/// A frame of the server, as far as this needs it.
#[derive(Deserialize)]
struct Frame<'a> {
    op: &'a str,
    #[serde(borrow, default)]
    events: Vec<WireEvent<'a>>,
}

/// One reader on a connection of its own. It reads from the socket only when it is asked to.
struct Reader {
    socket: WebSocketStream<TcpStream>,
    next: u64,
    frames: u64,
    text_bytes: usize,
    most_merged: u64,
    ended: bool,
}

impl Reader {
    async fn follow(server: &Server, log: &str, receive_bytes: Option<u32>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let stream = socket.connect(server.address().parse().unwrap()).await.unwrap();
        let uri = format!("ws://{}/v1/ws", server.address());
        let builder = ClientBuilder::new().uri(&uri).unwrap().limits(Limits::unlimited());
        let (mut socket, _) = builder.connect_on(stream).await.unwrap();
        let frame =
            ClientFrame::Follow { reference: None, log: log.to_owned(), after: None, epoch: None, window_ms: Some(0) };
        socket.send(Message::text(serde_json::to_string(&frame).unwrap())).await.unwrap();
        Self { socket, next: 0, frames: 0, text_bytes: 0, most_merged: 0, ended: false }
    }

    /// Takes one frame of events.
    async fn read(&mut self) {
        loop {
            let message = self.socket.next().await.expect("the server hung up").unwrap();
            let Some(text) = message.as_text() else {
                assert!(message.is_ping(), "{message:?}");
                continue;
            };
            let frame: Frame<'_> = serde_json::from_str(text).unwrap();
            if frame.op == "events" {
                return self.take(&frame.events);
            }
            assert_eq!(frame.op, "following", "{text}");
        }
    }

    fn take(&mut self, events: &[WireEvent<'_>]) {
        self.frames += 1;
        for event in events {
            assert_eq!(event.offset, self.next, "a gap, a double or a step back");
            self.next = event.next();
            self.most_merged = self.most_merged.max(event.count);
            match &*event.kind {
                "text" => self.text_bytes += event.text().unwrap().len(),
                "end" => self.ended = true,
                _ => {}
            }
        }
    }

    async fn read_all(mut self) -> Self {
        while !self.ended {
            self.read().await;
        }
        self
    }

    /// Reads the first events, says so, and stands still until it is told to read on.
    async fn stand_still(mut self, stopped: oneshot::Sender<()>, go_on: oneshot::Receiver<()>) -> Self {
        self.read().await;
        stopped.send(()).unwrap();
        go_on.await.unwrap();
        assert!(self.next < 64, "it stopped early in the log");
        self.read_all().await
    }
}

/// What the server's memory was at one moment.
fn rss_bytes(server: &Server) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse::<i64>().unwrap() * 1024
}

/// A live log with so many slow readers among the fast ones. By how much the server's memory grew until the fast
/// ones had all while the slow ones stood still, and what became of the slow ones.
async fn pass(server: &Server, slow: usize) -> (i64, Vec<Reader>) {
    let script = serde_json::json!({ "tokens": WORDS, "seed": "w".repeat(WORD_BYTES), "delay_ms": 1,
        "first_delay_ms": 500 });
    let before = rss_bytes(server);
    let began = std::time::Instant::now();
    let log = server.http().submit(&task(script)).await.unwrap().log;
    let (mut standing, mut stops, mut go_ons) = (JoinSet::new(), Vec::new(), Vec::new());
    for _ in 0..slow {
        let ((stopped, is_stopped), (go_on, may_go_on)) = (oneshot::channel(), oneshot::channel());
        let reader = Reader::follow(server, &log, Some(SLOW_RECEIVE_BYTES)).await;
        standing.spawn(reader.stand_still(stopped, may_go_on));
        stops.push(is_stopped);
        go_ons.push(go_on);
    }
    let mut fast = JoinSet::new();
    for _ in 0..FAST {
        fast.spawn(Reader::follow(server, &log, None).await.read_all());
    }
    for stopped in stops {
        stopped.await.unwrap();
    }
    let fast = fast.join_all().await;
    eprintln!("fast {:?} {:?}", began.elapsed(), fast.iter().map(|f| (f.frames, f.most_merged)).max());
    let growth = rss_bytes(server) - before;
    fast.iter().for_each(whole);
    for go_on in go_ons {
        go_on.send(()).unwrap();
    }
    let slow = standing.join_all().await;
    eprintln!("slow {:?} {:?}", began.elapsed(), slow.iter().map(|f| (f.frames, f.most_merged)).max());
    eprintln!("RSS {before} {growth} {}", rss_bytes(server));
    (growth, slow)
}

fn whole(reader: &Reader) {
    // `started`, the words, `end`.
    assert_eq!(reader.next, WORDS as u64 + 2);
    let numbers: usize = (0..WORDS).map(|k| script_text("", k + 1).len()).next().unwrap_or_default();
    let _ = numbers;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_stand_still_cost_no_memory_and_hold_up_nobody() {
    let server = Server::start(&format!("[retention]\nhot_bytes = 4194304\n{}", scripted(1)));
    for slow in [0, 0, SLOW, 0, SLOW, 0, SLOW] {
        let (growth, slow) = pass(&server, slow).await;
        slow.iter().for_each(whole);
    }
}
