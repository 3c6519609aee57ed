//! `tidewire extract-text`: reads one document from stdin and writes its text to stdout. The server starts it for each
//! file; it is no command for people, though they may use it.

use super::Outcome;
use crate::documents::{MAX_DOCUMENT_BYTES, REFUSED, confine};
use clap::Args;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use tidewire_extract::{Bounds, Media, Unreadable, extract};

/// Arguments of `tidewire extract-text`.
#[derive(Args, Debug)]
pub(crate) struct ExtractArgs {
    /// pdf, docx, html, markdown or text; without it the bytes tell
    #[arg(long = "type", value_name = "TYPE")]
    media: Option<Media>,
}

/// Runs the command. A document without text is exit code 3, with the reason on stdout.
pub(crate) fn run(args: &ExtractArgs) -> Outcome {
    confine()?;
    let mut bytes = Vec::new();
    io::stdin().lock().take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes)?;
    let read = if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        Err(Unreadable::TooLarge(format!("it has more than {MAX_DOCUMENT_BYTES} bytes")))
    } else {
        extract(&bytes, args.media, Bounds::default())
    };
    let (said, code) = match read {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(unreadable) => (unreadable.to_string(), ExitCode::from(REFUSED)),
    };
    let mut out = io::stdout().lock();
    out.write_all(said.as_bytes())?;
    out.flush()?;
    Ok(code)
}
