//! A load generator for Tidewire: many WebSocket sessions that submit tasks and read each to its end, check every
//! event, and say how long things took and what they cost the server. It speaks only the wire.

mod check;
mod descriptors;
mod histogram;
mod load;
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
