//! The process that reads one document: started from this same program, given the bytes, heard, and ended.
//!
//! What a stranger's document makes its reader do must cost no more than that one file. The process has bounds on
//! memory, time and output, and no environment.

use futures_util::{Stream, StreamExt, pin_mut};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::files::ContentError;
use tidewire_core::port::{Clock, ReadError, Unavailable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// Bytes of a document that are read: a helper holds all of it, and what it unpacks to.
pub(crate) const MAX_DOCUMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of text that are taken from a helper: as many as the reader itself gives at most.
const MAX_TEXT_BYTES: u64 = 16 * 1024 * 1024;

/// Address space of a helper. The largest document takes several times its size while it is parsed.
#[cfg(feature = "documents")]
const MEMORY_BYTES: u64 = 1024 * 1024 * 1024;

/// Seconds of computing: a PDF of a thousand pages takes a few.
#[cfg(feature = "documents")]
const CPU_S: u64 = 20;

/// How long a helper may take in all, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why there is no text.
pub(super) enum Trouble {
    /// The document's own fault; in words for people.
    Refused(String),
    /// The server ends: nothing was found out.
    Stopped,
    /// The engine's: try again later.
    Unavailable(Unavailable),
}

impl Trouble {
    pub(super) fn from_content(error: ContentError) -> Self {
        match error {
            ContentError::Read(ReadError::Unavailable(error)) => Self::Unavailable(error),
            error => Self::Refused(error.to_string()),
        }
    }
}

/// Starts helpers.
pub(super) struct Helper {
    pub(super) clock: Arc<dyn Clock>,
    stop: CancellationToken,
}

impl Helper {
    /// Helpers that end at `stop`.
    pub(super) fn new(clock: Arc<dyn Clock>, stop: CancellationToken) -> Self {
        Self { clock, stop }
    }

    /// The text of a document.
    pub(super) async fn text(
        &self,
        filename: &str,
        media: &str,
        bytes: impl Stream<Item = Result<bytes::Bytes, Trouble>>,
    ) -> Result<String, Trouble> {
        let mut child = start(filename, media)?;
        let told = tokio::select! {
            told = talk(&mut child, bytes) => told,
            () = self.clock.sleep(PATIENCE) => Err(Trouble::Refused(took_too_long())),
            () = self.stop.cancelled() => Err(Trouble::Stopped),
        };
        // Ended or not: killed, and waited for, so that none is left.
        if let Err(error) = child.kill().await {
            tracing::warn!(%error, "a helper could not be ended");
        }
        told
    }
}

fn took_too_long() -> String {
    "the document took too long to read".to_owned()
}

fn start(filename: &str, media: &str) -> Result<Child, Trouble> {
    // Not the path of the program: a new version may lie there by now.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("tidewire").arg("extract-text");
    #[cfg(feature = "documents")]
    match tidewire_extract::Media::guess(filename, media) {
        Some(kind) => {
            command.args(["--type", kind.name()]);
        }
        None if tidewire_extract::Media::is_foreign(media) => {
            return Err(Trouble::Refused(format!("a file of type {media} has no text that can be read")));
        }
        None => {}
    }
    #[cfg(not(feature = "documents"))]
    if !filename.is_empty() || media.is_empty() {
        return Err(Trouble::Refused("this server was built without the feature `documents`".to_owned()));
    }
    // The allocator asks for a gibibyte of address space at once unless told otherwise, which is all there is.
    command.env_clear().env("MIMALLOC_ARENA_RESERVE", "32MiB").current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().map_err(|error| Trouble::Unavailable(Unavailable::new(format!("no helper starts: {error}"))))
}

/// Gives the helper the bytes while it is heard, and waits for its end.
async fn talk(child: &mut Child, bytes: impl Stream<Item = Result<bytes::Bytes, Trouble>>) -> Result<String, Trouble> {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Trouble::Unavailable(Unavailable::new("a helper has no pipes")));
    };
    let feed = async move {
        pin_mut!(bytes);
        while let Some(piece) = bytes.next().await {
            // A helper that wants no more says why in its answer.
            if stdin.write_all(&piece?).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let mut said = Vec::new();
    let hear = async {
        let mut stdout = stdout.take(MAX_TEXT_BYTES + 1);
        stdout.read_to_end(&mut said).await
    };
    let (fed, heard) = tokio::join!(feed, hear);
    fed?;
    let broken = |error: std::io::Error| Trouble::Unavailable(Unavailable::new(format!("a helper broke off: {error}")));
    heard.map_err(broken)?;
    if said.len() as u64 > MAX_TEXT_BYTES {
        return Err(Trouble::Refused(format!("its text has more than {MAX_TEXT_BYTES} bytes")));
    }
    let status = child.wait().await.map_err(broken)?;
    let said = String::from_utf8(said).map_err(|_| Trouble::Refused("the document is damaged".to_owned()))?;
    match status.code() {
        Some(0) => Ok(said),
        Some(code) if code == i32::from(REFUSED) && !said.is_empty() => Err(Trouble::Refused(said)),
        _ => Err(Trouble::Refused(lost(status))),
    }
}

/// What became of a helper that gave no answer.
fn lost(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    // From <signal.h>: the same on every Linux that this runs on.
    const SIGKILL: i32 = 9;
    const SIGXCPU: i32 = 24;
    match status.signal() {
        Some(SIGXCPU | SIGKILL) => took_too_long(),
        _ => "the document is damaged, or takes more memory than a document may: its reader gave up".to_owned(),
    }
}

/// The exit code of a helper whose answer is the reason why there is no text.
pub(crate) const REFUSED: u8 = 3;

/// Bounds what this process may take. Called by the helper itself, before it has read anything.
#[cfg(feature = "documents")]
pub(crate) fn confine() -> std::io::Result<()> {
    use rlimit::{Resource, setrlimit};
    setrlimit(Resource::AS, MEMORY_BYTES, MEMORY_BYTES)?;
    setrlimit(Resource::CPU, CPU_S, CPU_S + 1)?;
    setrlimit(Resource::CORE, 0, 0)?;
    setrlimit(Resource::FSIZE, MAX_TEXT_BYTES, MAX_TEXT_BYTES)
}
