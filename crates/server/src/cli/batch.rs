//! `tidewire batch`: many tasks at once, from a file of lines.

use super::Outcome;
use super::remote::Remote;
use super::task::print;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tidewire_client::Http;
use tidewire_client::proto::batch::{BatchPart, BatchSubmission, BatchView};

/// How often a batch that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Arguments of `tidewire batch`.
#[derive(Subcommand, Debug)]
pub(crate) enum BatchCommand {
    /// Submit a file with one task a line: JSON with a task's fields, or a plain prompt
    Submit(SubmitArgs),
    /// Print how far a batch has come
    Get(OneArgs),
    /// Wait for a batch, with a progress bar
    Wait(OneArgs),
    /// List batches, oldest first
    List(ListArgs),
    /// Stop a batch, or the tasks of it that are named
    Stop(PartArgs),
    /// Try the failed tasks of a batch again, as a batch of their own
    Retry(PartArgs),
}

#[derive(Args, Debug)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    remote: Remote,
    /// One task a line; - is stdin
    file: PathBuf,
    /// The model of the tasks that name none
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Words that go before every plain prompt
    #[arg(long, value_name = "TEXT")]
    instruction: Option<String>,
    /// One key, one batch
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Wait for the end, with a progress bar
    #[arg(long)]
    wait: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct OneArgs {
    #[command(flatten)]
    remote: Remote,
    /// The batch's id
    id: String,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    remote: Remote,
    /// How many, 1 to 100; 20 unless told otherwise
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Go on where the page before ended
    #[arg(long, value_name = "BATCH")]
    cursor: Option<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PartArgs {
    #[command(flatten)]
    remote: Remote,
    /// The batch's id
    id: String,
    /// Only this task; repeatable
    #[arg(long = "task", value_name = "TASK")]
    tasks: Vec<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(command: BatchCommand) -> Outcome {
    match command {
        BatchCommand::Submit(args) => submit(args).await,
        BatchCommand::Get(args) => {
            let batch = Http::new(&args.remote.endpoint())?.batch(&args.id).await?;
            print(args.json, &batch, || told(&batch))
        }
        BatchCommand::Wait(args) => wait(&Http::new(&args.remote.endpoint())?, &args.id, args.json).await,
        BatchCommand::List(args) => {
            let list = Http::new(&args.remote.endpoint())?.batches(args.limit, args.cursor.as_deref()).await?;
            print(args.json, &list, || {
                if list.batches.is_empty() {
                    return "no batches yet: `tidewire batch submit FILE` makes one\n".to_owned();
                }
                let more = list.next.as_ref().map_or_else(String::new, |next| format!("more: --cursor {next}\n"));
                list.batches.iter().map(told).collect::<String>() + &more
            })
        }
        BatchCommand::Stop(PartArgs { remote, id, tasks, json }) => {
            let batch = Http::new(&remote.endpoint())?.stop_batch(&id, &BatchPart { tasks }).await?;
            print(json, &batch, || told(&batch))
        }
        BatchCommand::Retry(PartArgs { remote, id, tasks, json }) => {
            let accepted = Http::new(&remote.endpoint())?.retry_batch(&id, &BatchPart { tasks }).await?;
            print(json, &accepted, || format!("{}\n", accepted.id))
        }
    }
}

async fn submit(args: SubmitArgs) -> Outcome {
    let text = read(&args.file)?;
    let mut tasks = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        tasks.push(task(line, args.instruction.as_deref()).map_err(|error| format!("line {}: {error}", number + 1))?);
    }
    if tasks.is_empty() {
        return Err(format!("{} has no lines: give one task a line", args.file.display()).into());
    }
    let mut defaults = serde_json::Map::new();
    if let Some(model) = args.model {
        defaults.insert("model".to_owned(), model.into());
    }
    let batch =
        BatchSubmission { tasks, defaults: Some(defaults), idempotency_key: args.idempotency_key, metadata: None };
    let http = Http::new(&args.remote.endpoint())?;
    let accepted = http.submit_batch(&batch).await?;
    if args.wait {
        return wait(&http, &accepted.id, args.json).await;
    }
    print(args.json, &accepted, || format!("{}\n", accepted.id))
}

/// A line as a task: JSON, or a prompt in plain words.
fn task(
    line: &str,
    instruction: Option<&str>,
) -> Result<serde_json::Map<String, serde_json::Value>, serde_json::Error> {
    if line.trim_start().starts_with('{') {
        return serde_json::from_str(line);
    }
    let prompt = instruction.map_or_else(|| line.to_owned(), |instruction| format!("{instruction}\n\n{line}"));
    Ok(serde_json::Map::from_iter([("prompt".to_owned(), prompt.into())]))
}

fn read(file: &Path) -> Result<String, Box<dyn std::error::Error>> {
    if file == Path::new("-") {
        return Ok(io::read_to_string(io::stdin())?);
    }
    std::fs::read_to_string(file).map_err(|error| format!("can't read {}: {error}", file.display()).into())
}

async fn wait(http: &Http, id: &str, json: bool) -> Outcome {
    let first = http.batch(id).await?;
    let bar = if io::stderr().is_terminal() { ProgressBar::new(first.total) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len}  {msg}  {eta} left") {
        bar.set_style(style);
    }
    let mut batch = first;
    while batch.state == "running" {
        bar.set_position(batch.total.saturating_sub(batch.live));
        bar.set_message(format!("{} done, {} failed", batch.done, batch.failed));
        tokio::time::sleep(LOOK).await;
        batch = http.batch(id).await?;
    }
    bar.finish_and_clear();
    let whole = batch.failed == 0;
    print(json, &batch, || told(&batch))?;
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(batch: &BatchView) -> String {
    let BatchView { id, state, total, live, done, failed, stopped, .. } = batch;
    format!("{id}  {state}  {done} of {total} done, {failed} failed, {stopped} stopped, {live} to go\n")
}
