//! The commands.

mod backup;
mod batch;
mod bench;
mod cache;
mod chat;
mod data;
mod dead;
mod doctor;
#[cfg(feature = "documents")]
mod extract_text;
mod file;
mod keys;
mod progress;
mod remote;
mod routes;
mod show;
mod task;
mod terminal;
mod usage;

use crate::config::{self, Config};
use crate::reload::Source;
use crate::{serve, telemetry};
use clap::{Args, Parser, Subcommand};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A command's outcome: an exit code, or an error that is printed.
pub(crate) type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

/// Real-time AI delivery: every prompt becomes a durable task, every answer a resumable log.
#[derive(Parser)]
#[command(name = "tidewire", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve(ServeArgs),
    /// Talk to a model: one question, or a conversation
    Chat(chat::ChatArgs),
    /// Submit, look at, follow and stop tasks
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Submit many tasks at once, and see how far they have come
    #[command(subcommand)]
    Batch(batch::BatchCommand),
    /// List and retry tasks that failed for good
    #[command(subcommand)]
    Dead(dead::DeadCommand),
    /// Upload, list, read back and delete files
    #[command(subcommand)]
    File(file::FileCommand),
    /// Say what was used and what it cost
    Usage(usage::UsageArgs),
    /// Forget answers that are kept
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Show the public models, and how the deployments behind them are
    Routes(routes::RoutesArgs),
    /// Make, list and revoke keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Make tenants, and set what they may use
    #[command(subcommand)]
    Tenants(keys::TenantsCommand),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Say what is missing on this machine, and how to mend it
    Doctor(doctor::DoctorArgs),
    /// Make a backup of a running server's data, or check one
    Backup(backup::BackupArgs),
    /// Make a data directory from a backup
    Restore(backup::RestoreArgs),
    /// Look into a data directory that no server has
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Load a server, and say how it bears it
    Bench(Box<bench::BenchArgs>),
    /// Read a document from stdin and write its text; the server starts this for each file
    #[cfg(feature = "documents")]
    #[command(hide = true)]
    ExtractText(extract_text::ExtractArgs),
}

#[derive(Args)]
struct ServeArgs {
    /// Address and port; one that is not loopback needs a key (see `tidewire keys`). Port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Directory of logs, tasks and settlements
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Configuration file; `tidewire config reference` prints one
    #[arg(long, value_name = "FILE", env = "TIDEWIRE_CONFIG")]
    config: Option<PathBuf>,
    /// An OpenAI-compatible base URL, its /v1 included; repeatable. Its key comes from `OPENAI_API_KEY`.
    /// A model name goes to the first upstream that lists it, else to the first. What its tokens cost is not known: for
    /// budgets and costs name it as a [[deployment]] with its `url`, which takes the price of a known model, or `price_input`
    /// and `price_output`
    #[arg(long, value_name = "URL")]
    upstream: Vec<String>,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Read a configuration as `serve` would, and say what is wrong with it
    Check {
        /// Configuration file
        #[arg(long, value_name = "FILE", env = "TIDEWIRE_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Print every setting with its meaning and its default
    Reference,
}

/// Runs a command.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let outcome = match cli.command {
        Command::Serve(args) => serve_command(args),
        Command::Chat(args) => block_on(chat::run(args)),
        Command::Task(command) => block_on(task::run(command)),
        Command::Batch(command) => block_on(batch::run(command)),
        Command::Dead(command) => block_on(dead::run(command)),
        Command::File(command) => block_on(file::run(command)),
        Command::Cache(command) => block_on(cache::run(command)),
        Command::Routes(args) => block_on(routes::run(args)),
        Command::Keys(command) => block_on(keys::run(command)),
        Command::Tenants(command) => block_on(keys::run_tenants(command)),
        Command::Config(command) => config_command(command),
        Command::Doctor(args) => block_on(doctor::run(args)),
        Command::Backup(args) => block_on(backup::run(args)),
        Command::Restore(args) => backup::restore(&args),
        Command::Usage(args) => block_on(usage::run(args)),
        Command::Data(command) => data::run(&command),
        Command::Bench(args) => block_on(bench::run(*args)),
        #[cfg(feature = "documents")]
        Command::ExtractText(args) => extract_text::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "error: {error}");
        ExitCode::FAILURE
    })
}

fn load(file: Option<&Path>) -> Result<Config, config::ConfigError> {
    config::load(file, config::variables())
}

fn serve_command(args: ServeArgs) -> Outcome {
    let source = Source { file: args.config, listen: args.listen, data: args.data };
    let config = source.load()?;
    let log_filter = telemetry::start_log(config.log.format, &config.log.filter)?;
    runtime()?.block_on(serve::serve(config, source, args.upstream, log_filter))
}

fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    runtime()?.block_on(command)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

fn config_command(command: ConfigCommand) -> Outcome {
    let text = match command {
        ConfigCommand::Check { config } => {
            let named = config.as_ref().map_or_else(|| "the defaults".to_owned(), |path| path.display().to_string());
            load(config.as_deref())?;
            format!("{named}: ok\n")
        }
        ConfigCommand::Reference => config::reference(),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
