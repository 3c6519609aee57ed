//! `tidewire bench`: loads a server and says how it went.

mod openai;

use super::Outcome;
use super::remote::Remote;
use clap::Args;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;
use tidewire_bench::{Load, Options, Script};

/// Arguments of `tidewire bench`.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    remote: Remote,
    /// WebSocket connections
    #[arg(long, value_name = "N", default_value_t = 100)]
    sessions: usize,
    /// Tasks of each session, one after the other
    #[arg(long, value_name = "M", default_value_t = 1, conflicts_with = "rate")]
    tasks: usize,
    /// Spread the sessions' first tasks over so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, conflicts_with = "rate")]
    ramp: f64,
    /// Tasks that are due each second over all sessions, whatever became of those before
    #[arg(long, value_name = "PER_SECOND", requires = "duration")]
    rate: Option<f64>,
    /// For so many seconds
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,
    /// The model's public name
    #[arg(long, value_name = "NAME", default_value = "scripted")]
    model: String,
    /// The model is no scripted one: send it no script, and check its events but not its words
    #[arg(long)]
    real: bool,
    /// Tokens of each answer; at most so many with --real
    #[arg(long, value_name = "N", default_value_t = 50)]
    tokens: u32,
    /// Milliseconds from token to token
    #[arg(long, value_name = "MS", default_value_t = 20, conflicts_with = "real")]
    delay_ms: u64,
    /// What each task asks
    #[arg(long, value_name = "TEXT", default_value = "Say something.")]
    prompt: String,
    /// Keep tasks in memory only
    #[arg(long)]
    transient: bool,
    /// Let the server merge what comes within so many milliseconds; 40 unless told otherwise
    #[arg(long, value_name = "MS")]
    window_ms: Option<u64>,
    /// Give up a task after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120.0)]
    timeout: f64,
    /// The server's process; found by its port on this machine unless told
    #[arg(long)]
    pid: Option<u32>,
    /// Write the report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    openai: openai::OpenAiArgs,
}

/// Runs the command. An event that was lost, doubled or out of order is exit code 1.
pub(crate) async fn run(args: BenchArgs) -> Outcome {
    if args.openai.is_asked_for() {
        return openai::run(&args).await;
    }
    let json = args.json;
    let report = tidewire_bench::run(args.options()?).await?;
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        writeln!(out, "{report}")?;
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl BenchArgs {
    fn options(self) -> Result<Options, Box<dyn std::error::Error>> {
        let load = match (self.rate, self.duration) {
            (None, Some(_)) => return Err("--duration wants --rate, or --openai".into()),
            (Some(per_second), Some(duration)) => {
                Load::Open { per_second, duration: Duration::try_from_secs_f64(duration)? }
            }
            _ => Load::Closed { tasks: self.tasks, ramp: Duration::try_from_secs_f64(self.ramp)? },
        };
        let script = Script { tokens: self.tokens, delay: Duration::from_millis(self.delay_ms) };
        Ok(Options {
            endpoint: self.remote.endpoint(),
            sessions: self.sessions,
            load,
            model: Some(self.model),
            prompt: self.prompt,
            script: (!self.real).then_some(script),
            max_tokens: self.real.then_some(self.tokens),
            transient: self.transient,
            window_ms: self.window_ms,
            task_limit: Duration::try_from_secs_f64(self.timeout)?,
            pid: self.pid,
            progress: io::stderr().is_terminal(),
        })
    }
}
