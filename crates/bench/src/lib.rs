//! A load generator for Tidewire: many WebSocket sessions that submit tasks and read each to its end, check every
//! event, and say how long things took and what they cost the server; or any OpenAI-compatible endpoint, with a control
//! beside it ([`openai`]). It speaks only the wire.

mod check;
mod descriptors;
mod histogram;
mod load;
pub mod openai;
mod options;
mod process;
mod progress;
mod report;
mod run;
mod tally;
mod task;

pub use options::{Load, Options, Script};
pub use report::{Disk, Events, Latencies, Quantiles, Report, Server, Tasks};
pub use run::{Error, run};
