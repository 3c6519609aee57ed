//! A model server that plays back transcripts: one answer for each request, in the order given, cut into pieces as
//! a test wants. It tells what it was sent, and when a client went away.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

/// When a test gives up: never reached by one that passes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What an upstream does in answer to a request.
#[derive(Clone)]
pub(crate) enum Step {
    /// Writes these bytes, in one piece.
    Send(Vec<u8>),
    /// Waits until the test lets it go on.
    Await(Arc<Notify>),
    /// Says nothing more, until the client goes away.
    Stall,
    /// Closes the connection.
    Close,
}

/// What an upstream saw.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Saw {
    /// A request, on the connection with this number.
    Request { connection: usize, head: String, body: String },
    /// The client closed the connection with this number.
    Gone { connection: usize },
}

/// A running upstream. Dropping it closes everything.
pub(crate) struct Upstream {
    pub(crate) base: String,
    seen: mpsc::UnboundedReceiver<Saw>,
    _serving: JoinSet<()>,
}

impl Upstream {
    /// Begins to listen, with one answer for each request to come.
    pub(crate) async fn start(answers: impl IntoIterator<Item = Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
        let (saw, seen) = mpsc::unbounded_channel();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            for connection in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                socket.set_nodelay(true).unwrap();
                connections.spawn(serve(socket, connection, answers.clone(), saw.clone()));
            }
        });
        Self { base, seen, _serving: serving }
    }

    /// The next thing that it saw.
    pub(crate) async fn saw(&mut self) -> Saw {
        tokio::time::timeout(PATIENCE, self.seen.recv()).await.expect("nothing was seen").unwrap()
    }

    /// The next request: its connection, head and body.
    pub(crate) async fn request(&mut self) -> (usize, String, String) {
        match self.saw().await {
            Saw::Request { connection, head, body } => (connection, head, body),
            other @ Saw::Gone { .. } => panic!("{other:?}, where a request was to come"),
        }
    }
}

async fn serve(
    mut socket: TcpStream,
    connection: usize,
    answers: Arc<Mutex<VecDeque<Vec<Step>>>>,
    saw: mpsc::UnboundedSender<Saw>,
) {
    while let Some((head, body)) = read_request(&mut socket).await {
        saw.send(Saw::Request { connection, head, body }).ok();
        let answer = answers.lock().unwrap().pop_front().expect("a request more than answers");
        for step in answer {
            match step {
                Step::Send(bytes) => {
                    if socket.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                Step::Await(gate) => gate.notified().await,
                Step::Stall => while socket.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {},
                Step::Close => return,
            }
        }
    }
    saw.send(Saw::Gone { connection }).ok();
}

/// A request's head and body; `None` when the client has gone.
async fn read_request(socket: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let whole = end + 4 + length.map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= whole {
                let original = String::from_utf8(bytes[..end].to_vec()).unwrap();
                return Some((original, String::from_utf8(bytes[end + 4..whole].to_vec()).unwrap()));
            }
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// An answer of server-sent events: whole, in pieces of at most so many bytes.
pub(crate) fn events(transcript: &str, piece_bytes: usize) -> Vec<Step> {
    let mut steps = unfinished(transcript, piece_bytes);
    steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
    steps
}

/// The same without the end of its body.
pub(crate) fn unfinished(transcript: &str, piece_bytes: usize) -> Vec<Step> {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut steps = vec![Step::Send(head.into())];
    steps.extend(transcript.as_bytes().chunks(piece_bytes).map(chunk));
    steps
}

/// One HTTP chunk.
pub(crate) fn chunk(piece: &[u8]) -> Step {
    let mut bytes = format!("{:x}\r\n", piece.len()).into_bytes();
    bytes.extend_from_slice(piece);
    bytes.extend_from_slice(b"\r\n");
    Step::Send(bytes)
}

/// An answer in one piece. The headers are whole lines, each with its end.
pub(crate) fn document(status: &str, headers: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n");
    vec![Step::Send([head.as_bytes(), body.as_bytes()].concat())]
}
