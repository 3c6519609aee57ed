//! A scripted model server: speaks OpenAI's chat completions, embeddings and models, and Anthropic's and Gemini's streams,
//! over HTTP/1.1 on loopback, says and breaks what a test tells it, and tells what it saw: each call, the tokens that it really sent, and when a client
//! went away.
//!
//! ```ignore
//! let upstream = Upstream::start(Script::tokens(50).with(Fault::after(20, Break::Stall)));
//! // ... point a deployment at upstream.url(), begin a chat, stop it ...
//! let cancel = upstream.wait_for_cancel().await;
//! assert_eq!(cancel.tokens, charged_tokens);
//! ```

mod connection;
mod dialects;
mod embeddings;
mod frames;
mod program;
mod request;
mod script;
mod seen;

pub use embeddings::embedding;
pub use request::Path;
pub use script::{Break, Fault, Refusal, Reported, Script};
pub use seen::{Call, Counts, State};

use connection::{Connection, PATIENCE};
use program::Program;
use seen::Seen;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections that wait to be accepted: a burst of a benchmark's.
const BACKLOG: u32 = 4096;

/// What all connections share.
#[derive(Debug)]
struct Shared {
    program: Program,
    seen: Seen,
    resume: watch::Sender<u64>,
}

/// A running scripted model server. Dropping it ends its connections.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    /// Holds the port while nothing listens on it, so that a connection is refused and nobody else takes it.
    _port: TcpSocket,
    shared: Arc<Shared>,
    tracker: TaskTracker,
    /// Ends what listens now; none while it is down.
    listening: Mutex<Option<CancellationToken>>,
    /// Cancels already told of.
    told: Mutex<Vec<usize>>,
}

impl Upstream {
    /// Listens on a free loopback port, and remembers every call. Within a runtime of tokio.
    pub fn start(script: Script) -> Self {
        Self::listen(0, script, Seen::new(true)).expect("a free port on loopback")
    }

    /// Listens on this port (0 is a free one), and only counts: for benchmarks.
    pub fn counting(port: u16, script: Script) -> io::Result<Self> {
        Self::listen(port, script, Seen::new(false))
    }

    fn listen(port: u16, script: Script, seen: Seen) -> io::Result<Self> {
        let held = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let address = held.local_addr()?;
        let shared = Shared { program: Program::new(script), seen, resume: watch::Sender::new(0) };
        let upstream = Self {
            address,
            _port: held,
            shared: Arc::new(shared),
            tracker: TaskTracker::new(),
            listening: Mutex::new(None),
            told: Mutex::new(Vec::new()),
        };
        upstream.up()?;
        Ok(upstream)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL, as an OpenAI client wants it.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Plays this from now on, to all models that have no script of their own. Answers under way go on as they began.
    pub fn play(&self, script: Script) {
        self.shared.program.everybody(script);
    }

    /// Plays this to one model from now on, and lists it in `/v1/models`.
    pub fn play_to(&self, model: &str, script: Script) {
        self.shared.program.model(model, script);
    }

    /// Plays this to the next call that has not been promised another one; called again, to the one after.
    pub fn play_once(&self, script: Script) {
        self.shared.program.once(script);
    }

    /// Lets all answers that stand still now go on.
    pub fn resume(&self) {
        self.shared.resume.send_modify(|times| *times += 1);
    }

    /// Refuses connections, and resets those that there are, until [`Upstream::up`].
    pub fn down(&self) {
        if let Some(listening) = self.listening.lock().unwrap().take() {
            listening.cancel();
        }
    }

    /// Listens again.
    pub fn up(&self) -> io::Result<()> {
        let mut listening = self.listening.lock().unwrap();
        if listening.is_none() {
            let listener = bind(self.address)?.listen(BACKLOG)?;
            let end = CancellationToken::new();
            self.tracker.spawn(accept(listener, self.shared.clone(), self.tracker.clone(), end.clone()));
            *listening = Some(end);
        }
        Ok(())
    }

    /// Sums over all calls.
    pub fn counts(&self) -> Counts {
        self.shared.seen.counts()
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.seen.calls().clone()
    }

    /// Waits until what was seen gives an answer, and panics where it does not come.
    pub async fn wait_for<T>(&self, what: &str, look: impl FnMut(&[Call]) -> Option<T>) -> T {
        let found = tokio::time::timeout(PATIENCE, self.shared.seen.wait(look)).await;
        found.unwrap_or_else(|_| panic!("the upstream did not see {what}: {:?}", self.calls()))
    }

    /// Waits until there were so many calls.
    pub async fn wait_for_calls(&self, count: usize) {
        self.wait_for("enough calls", |calls| (calls.len() >= count).then_some(())).await;
    }

    /// Waits until an answer stands still, as its script says.
    pub async fn wait_for_stall(&self) -> Call {
        self.wait_for("a stall", |calls| calls.iter().find(|call| call.state == State::Stalled).cloned()).await
    }

    /// Waits for the next call whose client goes away before its answer is whole. Each is told of once.
    pub async fn wait_for_cancel(&self) -> Call {
        let cancelled = |calls: &[Call]| {
            let mut told = self.told.lock().unwrap();
            let fresh = |(at, call): &(usize, &Call)| call.state == State::Cancelled && !told.contains(at);
            let (at, call) = calls.iter().enumerate().find(fresh)?;
            told.push(at);
            Some(call.clone())
        };
        self.wait_for("a cancel", cancelled).await
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.down();
    }
}

/// A socket on this address. Two may have it, of which one listens.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    // A port whose last connections are not quite over can be had again at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tracker: TaskTracker, end: CancellationToken) {
    loop {
        let client = tokio::select! {
            () = end.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        // A client that was gone before it was accepted is no connection.
        let Ok((socket, _)) = client else { continue };
        let (shared, end) = (shared.clone(), end.clone());
        tracker.spawn(async move {
            // Dropping a connection closes it, whatever it was about to do.
            end.run_until_cancelled(Connection::new(socket, &shared).serve()).await;
        });
    }
}

#[cfg(test)]
mod tests;
