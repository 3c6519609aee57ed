//! What every engine must pass: one conformance suite per port, a clock that a test turns by hand, a network
//! that breaks on demand ([`proxy`]), disks that lose power ([`disk`]), and a model server that says what a test wants
//! and tells what it saw ([`upstream`]).
//!
//! An engine's test says how to open the engine with a [`Harness`], then runs each suite in one line:
//!
//! ```ignore
//! struct Memory;
//! impl Harness for Memory {
//!     type Engine = memory::Engine;
//!     async fn open(&self) -> memory::Engine { memory::Engine::new(/* ... */) }
//! }
//!
//! #[tokio::test(flavor = "multi_thread")]
//! async fn logs() { testkit::event_log::check(&Memory).await }
//! ```
//!
//! A check is a function whose name is the promise. `failures` of a suite names the checks that an engine
//! fails, which is how `tests/broken_engines.rs` proves that the suites find what they are for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "the suites are test code that lives in a library: a check fails by panicking"
)]

mod given;
mod suite;

pub mod backend;
pub mod bus;
pub mod cache;
pub mod clock;
pub mod commit_point;
pub mod directory;
pub mod disk;
pub mod dispatch;
pub mod embedder;
pub mod event_log;
pub mod ledger;
pub mod log_keeping;
pub mod model;
pub mod proxy;
pub mod random;
pub mod task_store;
pub mod upstream;

pub use suite::{Failure, Harness};
