//! `tidewire task`: submit, look at, follow, stop and list tasks.

pub(super) mod table;
mod waterfall;

use super::Outcome;
use super::remote::Remote;
use super::show::{Form, Interrupt, Show};
use super::terminal::Terminal;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::value::RawValue;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tidewire_client::proto::Submission;
use tidewire_client::proto::feedback::{NewFeedback, Score};
use tidewire_client::{Filter, Http, Position, Stopwatch};

/// Arguments of `tidewire task`.
#[derive(Subcommand, Debug)]
pub(crate) enum TaskCommand {
    /// Submit a task and print its id
    Submit(SubmitArgs),
    /// Print a task
    Get(OneArgs),
    /// Print a task's answer while it is made; Ctrl-C leaves, and the task goes on
    Follow(FollowArgs),
    /// Stop a task
    Stop(OneArgs),
    /// Try a failed task again; prints the new task's id
    Retry(OneArgs),
    /// Print a task's story: what it waited for and when, as bars over time
    Trace(OneArgs),
    /// Say what you think of a task's answer
    Judge(JudgeArgs),
    /// List tasks, newest first
    List(ListArgs),
}

#[derive(Args, Debug)]
pub(crate) struct JudgeArgs {
    #[command(flatten)]
    remote: Remote,
    /// The task's id
    id: String,
    /// How good its answer is: `up`, `down`, or a number from -1 to 1
    #[arg(long, value_name = "SCORE", allow_hyphen_values = true)]
    score: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// A word for charts; can be given several times
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    remote: Remote,
    /// The model's public name
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The question; without one and without --input: what is piped in
    #[arg(long, value_name = "TEXT", conflicts_with = "input")]
    prompt: Option<String>,
    /// A file of OpenAI chat JSON, with `messages`; - is stdin
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Keep the task in memory only
    #[arg(long)]
    transient: bool,
    #[command(flatten)]
    turn: TurnArgs,
    /// One key, one task
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// A JSON object that is kept with the task
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// Print the answer while it is made
    #[arg(long)]
    follow: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// When a task runs, and for whom.
#[derive(Args, Debug)]
struct TurnArgs {
    /// interactive, normal or bulk
    #[arg(long, value_name = "PRIORITY")]
    priority: Option<String>,
    /// Tasks of one lane run one after another
    #[arg(long, value_name = "NAME")]
    lane: Option<String>,
    /// What it does while its lane is busy: queue, steer or replace
    #[arg(long, value_name = "HOW", requires = "lane")]
    on_busy: Option<String>,
    /// The task that it is started for: it stops with it
    #[arg(long, value_name = "TASK")]
    parent: Option<String>,
    /// Begin after so many milliseconds
    #[arg(long, value_name = "MS")]
    delay_ms: Option<u64>,
    /// What its deployment must have, beside the model; repeatable
    #[arg(long = "need", value_name = "NAME")]
    needs: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct OneArgs {
    #[command(flatten)]
    remote: Remote,
    /// The task's id
    id: String,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct FollowArgs {
    #[command(flatten)]
    remote: Remote,
    /// The task's id
    id: String,
    /// Begin after this offset
    #[arg(long, value_name = "OFFSET")]
    after: Option<u64>,
    /// The epoch that the offset belongs to
    #[arg(long, value_name = "EPOCH", requires = "after")]
    epoch: Option<u32>,
    /// Write each event as a line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    remote: Remote,
    /// Only tasks in this state; several with commas
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only tasks of this model
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Only children of this task
    #[arg(long, value_name = "TASK")]
    parent: Option<String>,
    /// Only tasks of this batch
    #[arg(long, value_name = "BATCH")]
    batch: Option<String>,
    /// Only tasks of this lane
    #[arg(long, value_name = "NAME")]
    lane: Option<String>,
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

/// Runs the command.
pub(crate) async fn run(command: TaskCommand) -> Outcome {
    match command {
        TaskCommand::Submit(args) => submit(args).await,
        TaskCommand::Get(args) => {
            let task = Http::new(&args.remote.endpoint())?.task(&args.id).await?;
            print(args.json, &task, || table::one(&task))
        }
        TaskCommand::Follow(args) => {
            let after = args.after.map(|offset| Position { epoch: args.epoch, offset });
            follow(&args.remote, &args.id, after, args.json, Stopwatch::start()).await
        }
        TaskCommand::Stop(args) => {
            let task = Http::new(&args.remote.endpoint())?.stop(&args.id).await?;
            print(args.json, &task, || format!("{}\n", task.state))
        }
        TaskCommand::Retry(args) => {
            let accepted = Http::new(&args.remote.endpoint())?.retry(&args.id).await?;
            print(args.json, &accepted, || format!("{}\n", accepted.id))
        }
        TaskCommand::Trace(args) => {
            let trace = Http::new(&args.remote.endpoint())?.trace(&args.id).await?;
            print(args.json, &trace, || waterfall::drawn(&trace))
        }
        TaskCommand::Judge(JudgeArgs { remote, id, score, comment, tags, json }) => {
            let score = score.parse().map_or(Score::Word(score), Score::Number);
            let given = Http::new(&remote.endpoint())?.judge(&id, &NewFeedback { score, comment, tags }).await?;
            print(json, &given, || format!("{}\n", given.score))
        }
        TaskCommand::List(ListArgs { remote, state, model, parent, batch, lane, code, limit, cursor, json }) => {
            let filter = Filter { state, model, limit, cursor, parent, batch, lane, code };
            let list = Http::new(&remote.endpoint())?.tasks(&filter).await?;
            print(json, &list, || table::many(&list))
        }
    }
}

async fn submit(args: SubmitArgs) -> Outcome {
    let SubmitArgs { remote, json, follow: follows, .. } = &args;
    let (remote, json, follows) = (remote.clone(), *json, *follows);
    let task = submission(args)?;
    let http = Http::new(&remote.endpoint())?;
    let watch = Stopwatch::start();
    let accepted = http.submit(&task).await?;
    if follows {
        return follow(&remote, &accepted.log, None, json, watch).await;
    }
    print(json, &accepted, || format!("{}\n", accepted.id))
}

fn submission(args: SubmitArgs) -> Result<Submission, Box<dyn std::error::Error>> {
    let (prompt, input) = match (args.prompt, args.input) {
        (Some(prompt), _) => (Some(prompt), None),
        (None, Some(file)) => (None, Some(RawValue::from_string(read(&file)?)?)),
        (None, None) if io::stdin().is_terminal() => {
            return Err("nothing to submit: give --prompt TEXT or --input FILE, or pipe a prompt in".into());
        }
        (None, None) => (Some(io::read_to_string(io::stdin())?), None),
    };
    let turn = args.turn;
    Ok(Submission {
        prompt,
        input,
        model: args.model,
        priority: turn.priority,
        lane: turn.lane,
        on_busy: turn.on_busy,
        parent: turn.parent,
        delay_ms: turn.delay_ms,
        needs: (!turn.needs.is_empty()).then_some(turn.needs),
        durability: args.transient.then(|| "transient".to_owned()),
        idempotency_key: args.idempotency_key,
        metadata: args.metadata.map(RawValue::from_string).transpose()?,
        ..Submission::default()
    })
}

fn read(file: &Path) -> Result<String, Box<dyn std::error::Error>> {
    if file == Path::new("-") {
        return Ok(io::read_to_string(io::stdin())?);
    }
    std::fs::read_to_string(file).map_err(|error| format!("can't read {}: {error}", file.display()).into())
}

async fn follow(remote: &Remote, id: &str, after: Option<Position>, json: bool, watch: Stopwatch) -> Outcome {
    let form = if json { Form::Events } else { Form::Text };
    let shown = remote
        .session(async |session| {
            let mut log = session.follow(id, after).await?;
            Show::new(Terminal::detect(), form, Interrupt::Leaves, watch).run(&session, id, &mut log).await
        })
        .await??;
    Ok(if shown.state() == Some("failed") { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(super) fn print(json: bool, value: &impl Serialize, plain: impl FnOnce() -> String) -> Outcome {
    let text = if json { format!("{}\n", serde_json::to_string_pretty(value)?) } else { plain() };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
