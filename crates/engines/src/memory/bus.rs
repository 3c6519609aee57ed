//! Carries signals within this process.

use futures_util::stream;
use tidewire_core::port::{self, Signal, Subscription};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// How many signals a subscriber may be behind before it loses the oldest: a sixth of a second of 25,000
/// events a second, which is longer than any subscriber sleeps.
const BEHIND: usize = 4096;

/// A bus with one node on it.
pub struct Bus {
    signals: broadcast::Sender<Signal>,
}

impl Bus {
    /// Without subscribers.
    pub fn new() -> Self {
        Self { signals: broadcast::Sender::new(BEHIND) }
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self::new()
    }
}

impl port::Bus for Bus {
    fn publish(&self, signal: Signal) {
        // An error says that nobody listens, and then nobody misses it.
        let _ = self.signals.send(signal);
    }

    fn subscribe(&self) -> Subscription {
        Box::pin(stream::unfold(self.signals.subscribe(), |mut signals| async move {
            loop {
                match signals.recv().await {
                    Ok(signal) => return Some((signal, signals)),
                    // Some were lost: go on with the oldest that is left.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        }))
    }
}
