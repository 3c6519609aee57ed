//! Readers that stop reading a live log of 16 MB, past their sockets' buffers: they cost the server almost no memory,
//! hold up nobody, and get the rest, merged, when they read on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy knows tests, not what only they call")]

mod support;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use std::sync::Arc;
use support::{PATIENCE, Server, script_text, scripted, task};
use tidewire_proto::event::Data;
use tidewire_proto::{ClientFrame, Submission, WireEvent};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_websockets::{ClientBuilder, Limits, Message, WebSocketStream};

/// A word is an event: 2048 of 8 KiB.
const WORDS: usize = 2048;
const WORD_BYTES: usize = 8 * 1024;
const FAST: usize = 10;
/// So many that the allocator's noise, up to 20 MB from one log to the next, is small beside what they may cost.
const SLOW: usize = 64;
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

/// A log, and what it will say.
struct Log {
    id: String,
    text: Arc<str>,
}

impl Log {
    async fn submit(server: &Server, durability: &str) -> Self {
        let seed = "w".repeat(WORD_BYTES);
        let script = serde_json::json!({ "tokens": WORDS, "seed": seed, "delay_ms": 0, "first_delay_ms": 500 });
        let task = Submission { durability: Some(durability.to_owned()), ..task(script) };
        let id = server.http().submit(&task).await.unwrap().log;
        Self { id, text: script_text(&seed, WORDS).into() }
    }
}

/// One reader on a connection of its own. It reads from the socket only when it is asked to.
struct Reader {
    socket: WebSocketStream<TcpStream>,
    text: Arc<str>,
    text_bytes: usize,
    next: u64,
    frames: usize,
    ended: bool,
}

impl Reader {
    async fn follow(server: &Server, log: &Log, receive_bytes: Option<u32>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let stream = socket.connect(server.address().parse().unwrap()).await.unwrap();
        let uri = format!("ws://{}/v1/ws", server.address());
        let builder = ClientBuilder::new().uri(&uri).unwrap().limits(Limits::unlimited());
        let (mut socket, _) = builder.connect_on(stream).await.unwrap();
        let (reference, log_id, window_ms) = (None, log.id.clone(), Some(0));
        let frame = ClientFrame::Follow { reference, log: log_id, after: None, epoch: None, window_ms };
        socket.send(Message::text(serde_json::to_string(&frame).unwrap())).await.unwrap();
        Self { socket, text: log.text.clone(), text_bytes: 0, next: 0, frames: 0, ended: false }
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
            match &*event.kind {
                "text" => self.take_text(&event.data),
                "end" => self.ended = true,
                _ => {}
            }
        }
    }

    /// These words have no escapes in JSON. To unescape 400 MB would take a debug build long.
    fn take_text(&mut self, data: &Data<'_>) {
        let Data::Json(json) = data else { panic!("a client reads JSON") };
        let text = json.get().trim_matches('"');
        assert!(self.text[self.text_bytes..].starts_with(text), "other words than the script's before {}", self.next);
        self.text_bytes += text.len();
    }

    async fn read_all(mut self) -> Self {
        while !self.ended {
            self.read().await;
        }
        assert_eq!(self.text_bytes, self.text.len());
        self
    }
}

/// What the server's memory is now.
fn rss_bytes(server: &Server) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse::<i64>().unwrap() * 1024
}

/// A live log that `fast` readers read whole, while `slow` ones stand still after their first frame. By how much the
/// server's memory grew until then, and the slow ones as they stand.
async fn play(server: &Server, durability: &str, fast: usize, slow: usize) -> (i64, Vec<Reader>) {
    let before = rss_bytes(server);
    let log = Log::submit(server, durability).await;
    let (mut standing, mut reading) = (Vec::new(), JoinSet::new());
    for _ in 0..slow {
        standing.push(Reader::follow(server, &log, Some(SLOW_RECEIVE_BYTES)).await);
    }
    for _ in 0..fast {
        reading.spawn(Reader::follow(server, &log, None).await.read_all());
    }
    for reader in &mut standing {
        reader.read().await;
    }
    // Kept until the memory is read, so that their connections count with and without slow ones alike.
    let fast = reading.join_all().await;
    let growth = rss_bytes(server) - before;
    drop(fast);
    (growth, standing)
}

// Transient, because what a durable log leaves in memory (tables that fill and are flushed) differs by 40 MB from
// one log to the next. The connections don't know the difference.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_stand_still_take_no_memory_and_hold_up_nobody() {
    let server = Server::start(&scripted(1));
    let plays = async {
        // What a server keeps from its first log in any case: threads, the allocator's pages.
        play(&server, "transient", 2, 0).await;
        let (without, _) = play(&server, "transient", FAST, 0).await;
        let (with, standing) = play(&server, "transient", FAST, SLOW).await;
        (without, with, standing)
    };
    let (without, with, _standing) = tokio::time::timeout(2 * PATIENCE, plays).await.expect("the fast ones have all");
    let each = (with - without) / i64::try_from(SLOW).unwrap();
    assert!(each < MAX_GROWTH_BYTES, "{each} bytes for each slow reader: {without} without, {with} with {SLOW}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_stood_still_get_the_rest_from_disk_merged() {
    let server = Server::start(&format!("[retention]\nhot_bytes = 1048576\n{}", scripted(1)));
    let (_, standing) =
        tokio::time::timeout(PATIENCE, play(&server, "durable", 2, 2)).await.expect("the fast ones have all");
    for reader in standing {
        let whole = tokio::time::timeout(PATIENCE, reader.read_all()).await.expect("the slow ones have all");
        // At most a quarter of the log was in the socket's buffers, event by event; the rest comes seven at a time.
        assert!(whole.frames < WORDS / 2, "{} frames for {} events", whole.frames, whole.next);
    }
}
