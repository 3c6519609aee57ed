//! `tidewire bench --openai URL`: loads any OpenAI-compatible endpoint, with a control beside it.

use super::BenchArgs;
use crate::cli::Outcome;
use crate::cli::remote::Key;
use clap::Args;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;
use tidewire_bench::openai::{self, Length, Load, Options, Target};
use tidewire_client::Endpoint;

/// Arguments of `tidewire bench --openai`; the key, model, tokens, prompt, rate, duration, timeout and pid are those above.
#[derive(Args, Debug)]
#[command(next_help_heading = "Any OpenAI-compatible endpoint")]
pub(super) struct OpenAiArgs {
    /// Load this endpoint, its /v1 included, in place of a tidewire's sessions
    #[arg(long, value_name = "URL", conflicts_with_all = ["sessions", "tasks", "ramp", "real", "delay_ms", "transient", "window_ms"])]
    openai: Option<Endpoint>,
    /// The endpoint that it stands in front of: asked in turns with it, and reported beside it
    #[arg(long, value_name = "URL", requires = "openai")]
    direct: Option<Endpoint>,
    /// The direct endpoint's key
    #[arg(long, value_name = "KEY", requires = "direct", env = "TIDEWIRE_BENCH_DIRECT_KEY", hide_env_values = true)]
    direct_key: Option<Key>,
    /// Ask for streams
    #[arg(long, requires = "openai")]
    stream: bool,
    /// Clients that each ask again when they are answered; 32 unless told otherwise
    #[arg(long, value_name = "N", requires = "openai", conflicts_with = "rate")]
    concurrency: Option<usize>,
    /// So many requests, in place of a duration
    #[arg(long, value_name = "N", requires = "openai", conflicts_with_all = ["rate", "duration"])]
    requests: Option<u64>,
    /// First look for the concurrency, up to --concurrency (256), that gets the most requests a second done
    #[arg(long, requires = "openai", conflicts_with = "rate")]
    saturate: bool,
    /// With --direct, ask one side for so many seconds before it is the other's turn
    #[arg(long, value_name = "SECONDS", requires = "openai", default_value_t = 1.0)]
    slice: f64,
}

/// How long each side is asked where nothing is said.
const DEFAULT_SECONDS: f64 = 10.0;
/// Clients of a closed loop where nothing is said.
const DEFAULT_CONCURRENCY: usize = 32;
/// The most clients that saturation is looked for with, where nothing is said.
const MOST_CONCURRENCY: usize = 256;

impl OpenAiArgs {
    pub(super) fn is_asked_for(&self) -> bool {
        self.openai.is_some()
    }
}

/// Runs the command. A request that failed is exit code 1; refusals (429) are answers.
pub(super) async fn run(args: &BenchArgs) -> Outcome {
    let report = openai::run(options(args)?).await?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        writeln!(out, "{report}")?;
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn options(args: &BenchArgs) -> Result<Options, Box<dyn std::error::Error>> {
    let asked = &args.openai;
    let target = |base: &Endpoint, key: Option<&Key>| {
        let key = key.map(|key| key.secret().to_owned());
        Target { base: base.clone(), key }
    };
    let default_concurrency = if asked.saturate { MOST_CONCURRENCY } else { DEFAULT_CONCURRENCY };
    let load = match args.rate {
        Some(per_second) => Load::Open { per_second },
        None => Load::Closed { concurrency: asked.concurrency.unwrap_or(default_concurrency) },
    };
    let length = match asked.requests {
        Some(requests) => Length::Requests(requests),
        None => Length::Time(Duration::try_from_secs_f64(args.duration.unwrap_or(DEFAULT_SECONDS))?),
    };
    Ok(Options {
        target: asked
            .openai
            .as_ref()
            .map(|base| target(base, args.remote.key()))
            .ok_or("--openai names the endpoint")?,
        direct: asked.direct.as_ref().map(|base| target(base, asked.direct_key.as_ref())),
        model: args.model.clone(),
        prompt: args.prompt.clone(),
        tokens: Some(args.tokens),
        stream: asked.stream,
        load,
        length,
        slice: Duration::try_from_secs_f64(asked.slice)?,
        limit: Duration::try_from_secs_f64(args.timeout)?,
        saturate: asked.saturate,
        pid: args.pid,
    })
}
