//! The binary `tidewire`. Reads like a table of contents: what each command does is in `cli`, how a server is
//! put together in `wiring`, how it listens in `listen`, how it ends in `serve`.

mod caches;
mod checker;
mod cli;
mod clock;
mod config;
mod documents;
mod fetch;
mod operations;
#[cfg(feature = "otlp")]
mod otlp;
mod outgoing;
mod reload;
mod serve;
mod telemetry;
mod wiring;

use clap::Parser;
use std::process::ExitCode;

/// Many small allocations from many threads are what a server of streams does all day.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse())
}
