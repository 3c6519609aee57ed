//! Where logs, queue, ledger and cache live: one folder and one cargo feature an engine.

pub mod by_durability;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "memory")]
pub mod memory;
#[cfg(any(feature = "embedded", feature = "memory"))]
mod shelf;
