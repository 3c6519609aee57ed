//! What a session had to mend, counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a session had to mend so far.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts { $($(#[$doc])* pub $name: u64,)* }

        #[derive(Debug, Default)]
        pub(super) struct Counters { $(pub(super) $name: AtomicU64,)* }

        impl Counters {
            pub(super) fn read(&self) -> Counts {
                Counts { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counts! {
    /// Connections made after the first.
    reconnects,
    /// Frames whose `from` did not follow the last offset; the log was followed anew from there.
    gaps,
    /// Frames that had come before, and were dropped.
    duplicates,
    /// Requests that were sent again after a cut.
    resent,
    /// Logs that were followed from their start again, because the server could not resume them.
    started_over,
    /// Times that a reader was too slow, and its log was left to the server until it caught up.
    fell_behind,
    /// Frames that could not be read.
    unreadable,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
