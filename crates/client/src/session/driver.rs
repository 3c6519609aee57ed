//! The loop that keeps a session alive: it reads and writes the socket, and makes a new one after a cut.

use super::book::{Book, Command};
use super::counts::{Counters, count};
use super::{Options, Status};
use crate::backoff::Backoff;
use crate::endpoint::Endpoint;
use crate::error::Over;
use crate::socket::{Cut, Socket};
use std::sync::Arc;
use std::time::Duration;
use tidewire_proto::close::may_reconnect;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How often the server sends a sign of life at least (PROTOCOL.md).
const PING_EVERY: Duration = Duration::from_secs(15);
/// So many intervals without any sign, and the connection is taken for dead.
const QUIET_INTERVALS: u32 = 3;

/// Runs a session. Run it, or nothing happens; it ends when the session is over.
pub struct Driver {
    endpoint: Endpoint,
    backoff: Backoff,
    /// The socket of [`super::Session::open`], until the loop takes it.
    first: Socket,
    wire: Wire,
}

struct Wire {
    commands: mpsc::Receiver<Command>,
    status: watch::Sender<Status>,
    counters: Arc<Counters>,
    book: Book,
}

enum Left {
    /// All handles were dropped.
    Unused(Socket),
    Cut(Cut),
}

impl Driver {
    pub(super) fn new(
        endpoint: Endpoint,
        options: Options,
        first: Socket,
        commands: mpsc::Receiver<Command>,
        status: watch::Sender<Status>,
        counters: Arc<Counters>,
    ) -> Self {
        let book = Book::new(options.window_ms, counters.clone());
        let wire = Wire { commands, status, counters, book };
        Self { endpoint, backoff: options.backoff, first, wire }
    }

    /// Keeps the session alive until its last handle is dropped or it can't come back.
    pub async fn run(self) -> Over {
        let Self { endpoint, backoff, first, mut wire } = self;
        let over = wire.keep(first, &endpoint, &backoff).await;
        // First the reason, then the news: a call that fails looks there for why.
        wire.status.send_replace(Status::Over(over.clone()));
        wire.book.close(&over);
        over
    }
}

impl Wire {
    async fn keep(&mut self, mut socket: Socket, endpoint: &Endpoint, backoff: &Backoff) -> Over {
        loop {
            let reason = match self.serve(socket).await {
                Left::Unused(socket) => {
                    socket.close().await;
                    return Over::Dropped;
                }
                Left::Cut(Cut::Closed { code, reason }) if !may_reconnect(code) => {
                    return Over::Closed { code, reason };
                }
                Left::Cut(Cut::Closed { code, reason }) => format!("closed by the server ({code} {reason})"),
                Left::Cut(Cut::Broken(reason)) => reason,
            };
            socket = match self.reconnect(endpoint, backoff, reason).await {
                Ok(socket) => socket,
                Err(over) => return over,
            };
            count(&self.counters.reconnects);
            self.book.resume();
            self.status.send_replace(Status::Connected);
        }
    }

    async fn serve(&mut self, mut socket: Socket) -> Left {
        let mut ticks = interval(PING_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut quiet = 0;
        loop {
            for frame in self.book.outbox() {
                if let Err(cut) = socket.queue(frame).await {
                    return Left::Cut(cut);
                }
            }
            tokio::select! {
                // Commands first: a stop has to get through while events pour in. There are few of them.
                biased;
                command = self.commands.recv(), if self.book.has_room() => match command {
                    Some(command) => self.book.command(command),
                    None => return Left::Unused(socket),
                },
                heard = socket.next() => {
                    quiet = 0;
                    match heard {
                        Ok(Some(frame)) => self.book.heard(frame),
                        Ok(None) => {}
                        Err(cut) => return Left::Cut(cut),
                    }
                }
                _ = ticks.tick() => {
                    quiet += 1;
                    if quiet > QUIET_INTERVALS {
                        return Left::Cut(Cut::Broken("the server fell silent".to_owned()));
                    }
                }
            }
        }
    }

    async fn reconnect(&mut self, endpoint: &Endpoint, backoff: &Backoff, cause: String) -> Result<Socket, Over> {
        let mut last = cause;
        for attempt in 1..=backoff.attempts {
            self.status.send_replace(Status::Reconnecting { attempt, reason: last });
            let wait = backoff.wait(attempt, &mut rand::rng());
            self.during(sleep(wait)).await?;
            match self.during(Socket::connect(endpoint)).await? {
                Ok(socket) => return Ok(socket),
                Err(error) if error.may_pass() => last = error.to_string(),
                Err(error) => return Err(Over::GaveUp { attempts: attempt, last: error.to_string() }),
            }
        }
        Err(Over::GaveUp { attempts: backoff.attempts, last })
    }

    /// Lets requests gather meanwhile, and notices when nobody is left who could make one.
    async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Over> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                command = self.commands.recv(), if self.book.has_room() => match command {
                    Some(command) => self.book.command(command),
                    None => return Err(Over::Dropped),
                },
            }
        }
    }
}
