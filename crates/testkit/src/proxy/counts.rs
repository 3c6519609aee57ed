//! What a proxy has done, so that a test can tell a fault that happened from one that was only planned.

use super::End;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a proxy has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that came in.
    pub connections: u64,
    /// Connections that were cut.
    pub cuts: u64,
    /// Connections that were reset.
    pub resets: u64,
    /// Connections that fell silent.
    pub silences: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    connections: AtomicU64,
    cuts: AtomicU64,
    resets: AtomicU64,
    silences: AtomicU64,
}

impl Counters {
    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    pub(super) fn ended(&self, end: End) {
        let counter = match end {
            End::Cut => &self.cuts,
            End::Reset => &self.resets,
            End::HalfOpen => &self.silences,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> Counts {
        Counts {
            connections: self.connections.load(Relaxed),
            cuts: self.cuts.load(Relaxed),
            resets: self.resets.load(Relaxed),
            silences: self.silences.load(Relaxed),
        }
    }
}
