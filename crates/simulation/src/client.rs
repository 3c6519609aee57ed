//! A client over WebSocket: it submits, follows, stops, is cut and comes back, and checks each frame as it comes.
//!
//! It speaks the wire by itself, and trusts nothing that the server says.

mod book;
mod chooses;
mod hears;

use crate::dice::Dice;
use crate::history::History;
use crate::host::{PORT, SERVER};
use crate::tap::Tap;
use book::Book;
use futures_util::{SinkExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};
use turmoil::net::TcpStream;

type Socket = WebSocketStream<Tap>;

/// How long a handshake may take before it is tried again.
const CONNECT: Duration = Duration::from_secs(3);
/// The server says something every 15 s: a connection that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    name: String,
    dice: Dice,
    history: Arc<History>,
    book: Book,
    /// Nothing more goes wrong, and it does nothing more but follow what it began.
    calm: bool,
}

/// Why a connection was left.
enum Left {
    /// Nothing is left to do.
    Done,
    /// It broke, or the client cut it.
    Cut(&'static str),
}

impl Client {
    pub(crate) fn new(name: &str, dice: Dice, history: Arc<History>) -> Self {
        Self { name: name.to_owned(), dice, history, book: Book::default(), calm: false }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Lives until all that it knows of has ended.
    pub(crate) async fn live(mut self) -> turmoil::Result {
        loop {
            if let Some(socket) = self.connect().await {
                self.book.connected();
                match self.talk(socket).await {
                    Left::Done => break,
                    Left::Cut(why) => self.note(format_args!("is cut: {why}")),
                }
            }
            let wait = self.dice.between(0, 1_500);
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        self.note("is done");
        Ok(())
    }

    fn note(&self, what: impl std::fmt::Display) {
        self.history.note(&self.name, what);
    }

    fn violation(&self, what: impl std::fmt::Display) {
        self.history.violation(&self.name, what);
    }

    async fn connect(&self) -> Option<Socket> {
        let handshake = async {
            let stream = TcpStream::connect((SERVER, PORT)).await.map_err(|error| error.to_string())?;
            let uri = format!("ws://{SERVER}:{PORT}/v1/ws");
            let builder = ClientBuilder::new().uri(&uri).map_err(|error| error.to_string())?;
            let tap = Tap::new(stream, &self.name, self.history.clone());
            let (socket, _) = builder.connect_on(tap).await.map_err(|error| error.to_string())?;
            Ok::<_, String>(socket)
        };
        match timeout(CONNECT, handshake).await {
            Ok(Ok(socket)) => Some(socket),
            Ok(Err(error)) => {
                self.note(format_args!("can't connect: {error}"));
                None
            }
            Err(_) => {
                self.note("can't connect in time");
                None
            }
        }
    }

    async fn talk(&mut self, mut socket: Socket) -> Left {
        let mut next_act = Instant::now() + self.pause();
        let mut dead = Instant::now() + SILENCE;
        loop {
            for frame in self.book.outbox() {
                self.note(format_args!("→ {frame}"));
                if socket.send(Message::text(frame)).await.is_err() {
                    return Left::Cut("the connection took no frame");
                }
            }
            if self.calm && self.book.is_done() {
                let _ = timeout(CONNECT, socket.close()).await;
                return Left::Done;
            }
            tokio::select! {
                biased;
                heard = socket.next() => {
                    dead = Instant::now() + SILENCE;
                    match heard {
                        Some(Ok(message)) if message.is_close() => return Left::Cut("the server closed"),
                        Some(Ok(message)) => {
                            if let Some(text) = message.as_text() {
                                self.hear(text);
                            }
                        }
                        Some(Err(_)) | None => return Left::Cut("the connection broke"),
                    }
                }
                () = sleep_until(dead) => return Left::Cut("the server fell silent"),
                () = sleep_until(next_act) => {
                    if !self.act() {
                        return Left::Cut("by itself");
                    }
                    next_act = Instant::now() + self.pause();
                }
            }
        }
    }

    fn pause(&mut self) -> Duration {
        Duration::from_millis(self.dice.between(1, 1_200))
    }
}
