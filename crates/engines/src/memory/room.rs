//! How many bytes the engine holds, and the bound on them.

use std::sync::atomic::{AtomicUsize, Ordering};
use tidewire_core::port::Unavailable;

pub(super) struct Room {
    used: AtomicUsize,
    bound: usize,
}

impl Room {
    pub(super) fn new(bound: usize) -> Self {
        Self { used: AtomicUsize::new(0), bound }
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn bound(&self) -> usize {
        self.bound
    }

    /// Takes room, or refuses where there is not enough.
    pub(super) fn take(&self, bytes: usize) -> Result<(), Unavailable> {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= self.bound {
            return Ok(());
        }
        self.give_back(bytes);
        Err(Unavailable::new(format_args!("memory for transient tasks is full: {before} of {} bytes", self.bound)))
    }

    /// Takes room beyond the bound too: for what must be said, such as that a task has ended.
    pub(super) fn take_anyway(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}
