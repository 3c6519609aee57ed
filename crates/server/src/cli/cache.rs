//! `tidewire cache`: answers that are kept.

use super::Outcome;
use super::remote::Remote;
use clap::{Args, Subcommand};
use std::io::{self, Write};
use std::process::ExitCode;
use tidewire_client::Http;
use tidewire_client::proto::admin::PurgeBody;

/// What to do with kept answers.
#[derive(Subcommand, Debug)]
pub(crate) enum CacheCommand {
    /// Forget kept answers: those of a route, one of them, or all
    Purge(PurgeArgs),
}

/// Arguments of `tidewire cache purge`.
#[derive(Args, Debug)]
pub(crate) struct PurgeArgs {
    #[command(flatten)]
    remote: Remote,
    /// Those of this route
    #[arg(long, value_name = "NAME", conflicts_with = "answer")]
    route: Option<String>,
    /// The one of this key, as `tidewire task show` says it
    #[arg(long, value_name = "KEY")]
    answer: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(command: CacheCommand) -> Outcome {
    let CacheCommand::Purge(PurgeArgs { remote, route, answer }) = command;
    let purged = Http::new(&remote.endpoint())?.purge_cache(&PurgeBody { route, key: answer }).await?;
    writeln!(io::stdout(), "forgot {} kept answers", purged.purged)?;
    Ok(ExitCode::SUCCESS)
}
