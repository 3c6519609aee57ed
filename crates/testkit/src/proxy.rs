//! A TCP proxy that does to connections what networks do: it delays, narrows, cuts, resets and falls silent.
//!
//! What happens to a connection is a [`Plan`], asked for by the connection's number, so that a seed repeats a run:
//!
//! ```ignore
//! let proxy = Proxy::start(server, |number| match number {
//!     0 => Plan::down(Fault::cut_after(500)),
//!     _ => Plan::default(),
//! }).await;
//! ```

mod counts;
mod relay;

pub use counts::Counts;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How a connection ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides are closed in order (FIN), as when a load balancer lets go.
    Cut,
    /// Both sides are reset (RST), as when a machine has lost its state.
    Reset,
    /// Nothing is passed on any more, and nothing is closed, as when a phone leaves the network.
    HalfOpen,
}

/// An end, and how many bytes are passed on before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// So many bytes go through, and not one more.
    pub after_bytes: u64,
    /// What happens then.
    pub end: End,
}

impl Fault {
    /// A cut after so many bytes.
    pub const fn cut_after(after_bytes: u64) -> Self {
        Self { after_bytes, end: End::Cut }
    }

    /// A reset after so many bytes.
    pub const fn reset_after(after_bytes: u64) -> Self {
        Self { after_bytes, end: End::Reset }
    }

    /// Silence after so many bytes.
    pub const fn silent_after(after_bytes: u64) -> Self {
        Self { after_bytes, end: End::HalfOpen }
    }
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// How long each piece waits before it is passed on.
    pub delay: Duration,
    /// At most so many bytes in a second.
    pub bytes_per_second: Option<u64>,
    /// How it ends before its time. The end is the whole connection's, whichever direction reaches it.
    pub fault: Option<Fault>,
}

/// What is done to one connection. The default passes all on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// From the client to the target.
    pub up: Way,
    /// From the target to the client.
    pub down: Way,
}

impl Plan {
    /// A fault on what the client sends.
    pub fn up(fault: Fault) -> Self {
        Self { up: Way { fault: Some(fault), ..Way::default() }, ..Self::default() }
    }

    /// A fault on what the target sends.
    pub fn down(fault: Fault) -> Self {
        Self { down: Way { fault: Some(fault), ..Way::default() }, ..Self::default() }
    }
}

/// A running proxy. Dropping it ends its connections; [`Proxy::shutdown`] also waits for that.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    counts: Arc<counts::Counters>,
    tracker: TaskTracker,
    end: CancellationToken,
}

impl Proxy {
    /// Listens on a free loopback port, and passes connections on to `target`. The plan is asked for with each
    /// connection's number, counted from 0.
    pub async fn start(target: SocketAddr, plan: impl FnMut(u64) -> Plan + Send + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (tracker, end) = (TaskTracker::new(), CancellationToken::new());
        let counts = Arc::new(counts::Counters::default());
        let accepting = accept(listener, target, plan, counts.clone(), tracker.clone(), end.clone());
        tracker.spawn(accepting);
        Ok(Self { address, counts, tracker, end })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.counts.read()
    }

    /// Ends every connection and the listener, and returns once all are closed.
    pub async fn shutdown(self) {
        self.end.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    mut plan: impl FnMut(u64) -> Plan + Send + 'static,
    counts: Arc<counts::Counters>,
    tracker: TaskTracker,
    end: CancellationToken,
) {
    let mut number = 0;
    loop {
        let client = tokio::select! {
            () = end.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        // A client that was gone before it was accepted is no connection.
        let Ok((client, _)) = client else { continue };
        let (counts, end, plan) = (counts.clone(), end.clone(), plan(number));
        number += 1;
        counts.connected();
        tracker.spawn(async move {
            // A target that refuses is told to the client as the end of its connection.
            let Ok(target) = TcpStream::connect(target).await else { return };
            relay::relay(client, target, plan, &counts, &end).await;
        });
    }
}

#[cfg(test)]
mod tests;
