//! Server, worker and clients in one process, on a made-up network and a made-up clock: a seed decides all that
//! chance decides elsewhere, so that a run that failed can be had again, byte for byte.
//!
//! ```text
//!  client-0 ─┐                    ┌─ edge ─┐
//!  client-1 ─┼── turmoil's TCP ───┤        ├── disk (delays, stalls) ── memory engine, kept outside the host
//!  client-2 ─┘                    └─ pool ─┘
//! ```
//!
//! [`plan`] is what a seed decides, [`run`] drives it, [`history`] is what the clients saw, and [`check`] holds
//! that against the promises of PROTOCOL.md. One process runs one seed: the standard library's and tokio's own
//! randomness come from the seed too, and are drawn from once per process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::disallowed_methods,
    reason = "test code that lives in a crate: a run fails by panicking, and its time is made up"
)]

mod check;
mod client;
mod clock;
mod dice;
mod disk;
mod history;
mod host;
mod plan;
mod run;
mod settling;
mod tap;

pub use history::History;
pub use plan::Plant;
pub use run::run;
