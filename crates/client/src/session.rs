//! Tasks and logs over one WebSocket that comes back after a cut: what was asked and not answered is asked
//! again, and each followed log goes on after its last event.
//!
//! A session spawns nothing. [`Session::open`] gives a [`Driver`] beside it; whoever opened it runs the
//! driver, in a task of its own or joined with the work in one.

mod book;
mod counts;
mod cursor;
mod driver;
mod follow;

pub use counts::Counts;
pub use cursor::Position;
pub use driver::Driver;
pub use follow::{Batch, Follow};

use crate::backoff::Backoff;
use crate::endpoint::Endpoint;
use crate::error::{ConnectError, Over, SessionError};
use crate::socket::Socket;
use book::Command;
use counts::Counters;
use std::sync::Arc;
use tidewire_proto::Submission;
use tidewire_proto::http::Ack;
use tokio::sync::{mpsc, oneshot, watch};

/// Commands that wait for the driver. It takes them at once unless 64 requests wait for their answer.
const COMMANDS: usize = 16;

/// How a session behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How it comes back after a cut. With `attempts: 0` it does not.
    pub backoff: Backoff,
    /// Asks the server to merge what comes within so many milliseconds; 40 unless told otherwise.
    pub window_ms: Option<u64>,
}

/// How the connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It stands.
    Connected,
    /// It was cut; this attempt to come back is under way or waits for its turn.
    Reconnecting {
        /// From 1.
        attempt: u32,
        /// Why the connection was cut, or why the last attempt failed.
        reason: String,
    },
    /// It is gone for good.
    Over(Over),
}

/// An acknowledged task, and its log.
#[derive(Debug)]
pub struct Submitted {
    /// What the server said.
    pub ack: Ack,
    /// The log, from its start.
    pub log: Follow,
}

/// The handle of a session. Clones share the connection; the session closes when the last handle and the last
/// [`Follow`] are dropped.
#[derive(Clone, Debug)]
pub struct Session {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
    counters: Arc<Counters>,
}

impl Session {
    /// Connects. The driver has to run for any call to be answered.
    pub async fn open(endpoint: &Endpoint, options: Options) -> Result<(Self, Driver), ConnectError> {
        let socket = Socket::connect(endpoint).await?;
        let (commands, taken) = mpsc::channel(COMMANDS);
        let (told, status) = watch::channel(Status::Connected);
        let counters = Arc::new(Counters::default());
        let driver = Driver::new(endpoint.clone(), options, socket, taken, told, counters.clone());
        Ok((Self { commands, status, counters }, driver))
    }

    /// Submits a task, and resolves once it is committed. A cut before that is no failure: the task is sent
    /// again, with the same idempotency key, so that there is one task in the end. A key is made up where the
    /// task has none.
    ///
    /// The returned log holds events from here on: read it, or drop it.
    pub async fn submit(&self, mut task: Submission) -> Result<Submitted, SessionError> {
        task.idempotency_key.get_or_insert_with(|| format!("{:032x}", rand::random::<u128>()));
        let (inbox, log) = follow::pair(self.commands.clone());
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Submit { task: Box::new(task), inbox, reply }, answer).await.map(|ack| Submitted { ack, log })
    }

    /// Follows a log: after this event, or from its start. Resolves once the server has set the cursor.
    pub async fn follow(&self, log: &str, after: Option<Position>) -> Result<Follow, SessionError> {
        let (inbox, follow) = follow::pair(self.commands.clone());
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Follow { log: log.to_owned(), after, inbox, reply }, answer).await.map(|()| follow)
    }

    /// Stops a task. Resolves with the task's state: `stopped`, what it had ended as, or `running` where it
    /// takes over two seconds.
    pub async fn stop(&self, task: &str) -> Result<String, SessionError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Stop { task: task.to_owned(), reply }, answer).await
    }

    /// Asks the server for a sign of life.
    pub async fn ping(&self) -> Result<(), SessionError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Ping { reply }, answer).await
    }

    /// How the connection is, now and whenever it changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// What the session had to mend so far.
    pub fn counts(&self) -> Counts {
        self.counters.read()
    }

    async fn ask<T>(
        &self,
        command: Command,
        answer: oneshot::Receiver<Result<T, SessionError>>,
    ) -> Result<T, SessionError> {
        if self.commands.send(command).await.is_err() {
            return Err(self.over());
        }
        answer.await.unwrap_or_else(|_| Err(self.over()))
    }

    fn over(&self) -> SessionError {
        match &*self.status.borrow() {
            Status::Over(over) => over.clone().into(),
            // The driver was dropped in the middle of its work.
            _ => Over::Dropped.into(),
        }
    }
}
