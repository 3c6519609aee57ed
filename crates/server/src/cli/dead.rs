//! `tidewire dead`: tasks that failed for good: list them, look at one, try them again.

use super::Outcome;
use super::remote::Remote;
use super::task::{print, table};
use clap::{Args, Subcommand};
use std::fmt::Write;
use std::process::ExitCode;
use tidewire_client::proto::http::{RetriedLetters, RetryLetters};
use tidewire_client::{Filter, Http};

/// Arguments of `tidewire dead`.
#[derive(Subcommand, Debug)]
pub(crate) enum DeadCommand {
    /// List dead letters with their reasons, newest first
    List(ListArgs),
    /// Print one with its reason and its input
    Show(ShowArgs),
    /// Try them again: the ones named, or all that match
    Retry(RetryArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    remote: Remote,
    /// Only tasks of this model
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Only those that failed with this code
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// How many, 1 to 100; 20 unless told otherwise
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Go on where the page before ended
    #[arg(long, value_name = "TASK")]
    cursor: Option<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    remote: Remote,
    /// The task's id
    id: String,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    remote: Remote,
    /// Which; without any, say --all
    #[arg(required_unless_present = "all")]
    ids: Vec<String>,
    /// All that match the filters
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// Only tasks of this model
    #[arg(long, value_name = "NAME", requires = "all")]
    model: Option<String>,
    /// Only those that failed with this code
    #[arg(long, value_name = "CODE", requires = "all")]
    code: Option<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(command: DeadCommand) -> Outcome {
    match command {
        DeadCommand::List(ListArgs { remote, model, code, limit, cursor, json }) => {
            let filter = Filter { model, code, limit, cursor, ..Filter::default() };
            let list = Http::new(&remote.endpoint())?.dead_letters(&filter).await?;
            print(json, &list, || table::dead(&list))
        }
        DeadCommand::Show(args) => {
            let task = Http::new(&args.remote.endpoint())?.task_with_input(&args.id).await?;
            print(args.json, &task, || table::one(&task))
        }
        DeadCommand::Retry(args) => retry(args).await,
    }
}

async fn retry(args: RetryArgs) -> Outcome {
    let http = Http::new(&args.remote.endpoint())?;
    let asked = RetryLetters { tasks: args.ids, model: args.model, code: args.code, ..RetryLetters::default() };
    let mut all = RetriedLetters::default();
    loop {
        let some = http.retry_letters(&asked).await?;
        // A round that got nowhere is the last: what is left is refused, and would be again.
        let goes_on = some.more && !some.retried.is_empty() && some.refused.is_empty();
        all.retried.extend(some.retried);
        all.refused.extend(some.refused);
        all.more = some.more;
        if !goes_on {
            break;
        }
    }
    let whole = all.refused.is_empty();
    print(args.json, &all, || told(&all))?;
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(all: &RetriedLetters) -> String {
    let mut text = String::new();
    for retried in &all.retried {
        // Writing to a string can't fail; so below.
        let _ = writeln!(text, "{} -> {}", retried.task, retried.retried_as);
    }
    for refused in &all.refused {
        let _ = writeln!(text, "{} not: {}", refused.task, refused.error.message);
    }
    let _ = writeln!(text, "{} tried again, {} not", all.retried.len(), all.refused.len());
    text
}
