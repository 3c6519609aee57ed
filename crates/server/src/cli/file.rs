//! `tidewire file`: upload, list, read back and delete files.

use super::Outcome;
use super::remote::Remote;
use clap::{Args, Subcommand};
use futures_util::{StreamExt, pin_mut};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tidewire_client::proto::http::{FileList, FileView};
use tidewire_client::{Http, NewFile};
use tokio_util::io::ReaderStream;

/// How much of a file is read at once.
const READ_BYTES: usize = 256 * 1024;

/// How long `put --wait` and `text` wait for a file's text.
const PATIENCE: Duration = Duration::from_mins(5);

/// Arguments of `tidewire file`.
#[derive(Subcommand, Debug)]
pub(crate) enum FileCommand {
    /// Upload files and print their ids, one a line
    Put(PutArgs),
    /// List files, newest first
    List(ListArgs),
    /// Write a file's bytes to stdout or to a file
    Get(GetArgs),
    /// Print a file's text, as a model gets it
    Text(TextArgs),
    /// Delete files
    Delete(DeleteArgs),
}

#[derive(Args, Debug)]
pub(crate) struct PutArgs {
    #[command(flatten)]
    remote: Remote,
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What they are for; messages can name files for `user_data` and `assistants`
    #[arg(long, value_name = "PURPOSE", default_value = "user_data")]
    purpose: String,
    /// Let them go by themselves after so many seconds, 3600 to 2592000
    #[arg(long, value_name = "SECONDS")]
    expires_after: Option<u64>,
    /// Wait until their text is there; a file without text is exit code 1
    #[arg(long)]
    wait: bool,
    /// Write each file as a line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    remote: Remote,
    /// How many, 1 to 10000; 20 unless told otherwise
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// Go on after this file
    #[arg(long, value_name = "FILE")]
    after: Option<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    remote: Remote,
    /// The file's id
    id: String,
    /// Write to this file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct TextArgs {
    #[command(flatten)]
    remote: Remote,
    /// The file's id
    id: String,
}

#[derive(Args, Debug)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    remote: Remote,
    /// The files' ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(command: FileCommand) -> Outcome {
    match command {
        FileCommand::Put(args) => put(args).await,
        FileCommand::List(ListArgs { remote, limit, after, json }) => {
            let list = Http::new(&remote.endpoint())?.files(Some(limit), after.as_deref()).await?;
            print(json, &list, || table(&list))
        }
        FileCommand::Get(args) => get(args).await,
        FileCommand::Text(TextArgs { remote, id }) => {
            let text = Http::new(&remote.endpoint())?.file_text(&id, Some(PATIENCE)).await?;
            io::stdout().write_all(text.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        FileCommand::Delete(DeleteArgs { remote, ids }) => {
            let http = Http::new(&remote.endpoint())?;
            for id in ids {
                http.delete_file(&id).await?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn put(args: PutArgs) -> Outcome {
    let http = Http::new(&args.remote.endpoint())?;
    let mut code = ExitCode::SUCCESS;
    for path in &args.files {
        let expires_after = args.expires_after.map(Duration::from_secs);
        let mut file = upload(&http, path, &args.purpose, expires_after).await?;
        if args.wait {
            // Its error is in the record, which says more than this call.
            let _ = http.file_text(&file.id, Some(PATIENCE)).await;
            file = http.file(&file.id).await?;
            if let Some(reason) = file.status_details.as_deref().filter(|_| file.status == "error") {
                writeln!(io::stderr(), "{}: {reason}", file.filename)?;
                code = ExitCode::FAILURE;
            }
        }
        let line = if args.json { serde_json::to_string(&file)? } else { file.id };
        writeln!(io::stdout(), "{line}")?;
    }
    Ok(code)
}

async fn upload(
    http: &Http,
    path: &Path,
    purpose: &str,
    expires_after: Option<Duration>,
) -> Result<FileView, Box<dyn std::error::Error>> {
    let unreadable = |error: io::Error| format!("can't read {}: {error}", path.display());
    let opened = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let about = opened.metadata().await.map_err(unreadable)?;
    if !about.is_file() {
        return Err(format!("{} is no file", path.display()).into());
    }
    let filename = path.file_name().map_or_else(|| "upload".into(), |name| name.to_string_lossy().into_owned());
    let bar = bar(about.len(), &filename)?;
    let sent = bar.clone();
    let content = ReaderStream::with_capacity(opened, READ_BYTES).inspect(move |piece| {
        sent.inc(piece.as_ref().map_or(0, |piece| piece.len() as u64));
    });
    let media = "application/octet-stream".to_owned();
    let file = NewFile { filename, media, purpose: purpose.to_owned(), bytes: about.len(), expires_after };
    let uploaded = http.upload_file(&file, content).await;
    bar.finish_and_clear();
    Ok(uploaded?)
}

/// A bar on stderr, where a person looks at it.
fn bar(bytes: u64, filename: &str) -> Result<ProgressBar, indicatif::style::TemplateError> {
    if !io::stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")?;
    Ok(ProgressBar::new(bytes).with_style(style).with_message(filename.to_owned()))
}

async fn get(args: GetArgs) -> Outcome {
    let http = Http::new(&args.remote.endpoint())?;
    let content = http.file_content(&args.id).await?;
    let mut out: Box<dyn Write> = match &args.output {
        Some(path) => {
            let made = std::fs::File::create(path);
            Box::new(made.map_err(|error| format!("can't write {}: {error}", path.display()))?)
        }
        None => Box::new(io::stdout()),
    };
    pin_mut!(content);
    while let Some(piece) = content.next().await {
        out.write_all(&piece?)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn table(list: &FileList) -> String {
    let mut text = String::new();
    for file in &list.data {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{}  {:>12}  {:<9}  {}", file.id, file.bytes, file.status, file.filename);
    }
    if let Some(last) = list.last_id.as_deref().filter(|_| list.has_more) {
        let _ = writeln!(text, "more: --after {last}");
    }
    text
}

fn print(json: bool, value: &impl Serialize, plain: impl FnOnce() -> String) -> Outcome {
    let text = if json { format!("{}\n", serde_json::to_string_pretty(value)?) } else { plain() };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
