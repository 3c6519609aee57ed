//! `tidewire backup` and `tidewire restore`: the data of a running server as one file, and back.

use super::Outcome;
use super::progress::{Of, bar};
use super::remote::Remote;
use super::terminal::Terminal;
use crate::wiring::store::{self, Contents};
use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tidewire_client::Http;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    command: Option<BackupCommand>,
    #[command(flatten)]
    remote: Remote,
    /// Where to write the backup; there must be no such file yet
    #[arg(required = true)]
    file: Option<PathBuf>,
}

#[derive(Subcommand)]
enum BackupCommand {
    /// Check a backup from its first byte to its last
    Verify {
        /// The backup
        file: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct RestoreArgs {
    /// The backup
    file: PathBuf,
    /// Directory to restore into: empty, or not there yet
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

pub(crate) async fn run(args: BackupArgs) -> Outcome {
    match (args.command, args.file) {
        (Some(BackupCommand::Verify { file }), _) => verify(&file),
        (None, Some(file)) => make(&args.remote, &file).await,
        (None, None) => Err("name the file to write".into()),
    }
}

async fn make(remote: &Remote, file: &Path) -> Outcome {
    if file.exists() {
        return Err(format!("{} is there already: choose another name", file.display()).into());
    }
    let partial = file.with_added_extension("partial");
    let made = write(remote, &partial).await.and_then(|()| {
        let checked = check(&partial)?;
        fs::rename(&partial, file)?;
        let directory = file.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()?;
        Ok(checked)
    });
    match made {
        Ok(contents) => {
            tell(&format!("{}: {}", file.display(), summary(&contents)))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            // Half a backup is none.
            let _ = fs::remove_file(&partial);
            Err(error)
        }
    }
}

async fn write(remote: &Remote, partial: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut backup = Http::new(&remote.endpoint())?.backup().await?;
    let mut file = File::create(partial).map_err(|error| format!("{}: {error}", partial.display()))?;
    let bar = bar(Of::Stream, "writing");
    while let Some(piece) = backup.next().await? {
        file.write_all(&piece).map_err(|error| format!("{}: {error}", partial.display()))?;
        bar.inc(piece.len() as u64);
    }
    file.sync_all()?;
    bar.finish_and_clear();
    Ok(())
}

fn check(path: &Path) -> Result<Contents, Box<dyn std::error::Error>> {
    let mut file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let bar = bar(Of::Bytes(file.metadata()?.len()), "checking");
    let (_, contents) = store::verify(&mut file, &mut |at| bar.set_position(at))?;
    bar.finish_and_clear();
    Ok(contents)
}

fn verify(path: &Path) -> Outcome {
    let contents = check(path)?;
    tell(&format!("{} is whole: {}", path.display(), summary(&contents)))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn restore(args: &RestoreArgs) -> Outcome {
    let mut file = File::open(&args.file).map_err(|error| format!("{}: {error}", args.file.display()))?;
    let bar = bar(Of::Bytes(file.metadata()?.len()), "restoring");
    let contents = store::restore(&mut file, &args.data, &mut |at| bar.set_position(at))?;
    bar.finish_and_clear();
    tell(&format!("restored {} into {}", summary(&contents), args.data.display()))?;
    tell(&format!("start it with: tidewire serve --data {}", args.data.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// What a backup holds, in a line.
fn summary(contents: &Contents) -> String {
    let count = |name: &str| contents.values.get(name).copied().unwrap_or_default();
    let tasks = count("live") + count("tasks");
    let line =
        format!("{tasks} tasks ({} live), {} logs, {}", count("live"), count("logs"), HumanBytes(contents.bytes));
    match contents.damaged {
        0 => line,
        damaged => format!("{line}; {damaged} values were damaged already: `tidewire data check` names them"),
    }
}

fn tell(line: &str) -> io::Result<()> {
    Terminal::detect().write(&format!("{line}\n"))
}
