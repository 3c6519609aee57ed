//! Takes the text of files that were uploaded, a few at a time, each in a process of its own; and sweeps up behind
//! files that expired or broke off.

mod helper;

pub(crate) use helper::MAX_DOCUMENT_BYTES;
#[cfg(feature = "documents")]
pub(crate) use helper::{REFUSED, confine};

use futures_util::StreamExt;
use futures_util::stream::{FuturesUnordered, unfold};
use helper::{Helper, Trouble};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tidewire_core::TenantId;
use tidewire_core::files::{FileId, Files, Reading, Sweep};
use tidewire_core::port::{Clock, Unavailable};
use tidewire_edge::Identity;
use tokio_util::sync::CancellationToken;

/// A file, and whose it is.
type At = (TenantId, FileId);

/// How often files that expired are looked for, and texts that nobody took.
const SWEEP: Duration = Duration::from_mins(1);

/// Records that one round of sweeping looks at: some milliseconds.
const SWEEP_RECORDS: usize = 500;

/// Files that wait for a reader at once; the sweep finds the rest.
const MAX_WAITING: usize = 10_000;

/// How long after an engine failed it is asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// Reads documents until `draining`, and sweeps until then.
pub(crate) async fn read(
    files: Arc<Files>,
    identity: Arc<Identity>,
    readers: usize,
    clock: Arc<dyn Clock>,
    draining: CancellationToken,
) {
    let Some(mut fresh) = files.unread() else { return };
    let helper = Helper::new(clock.clone(), draining.clone());
    let mut waiting: Vec<At> = Vec::new();
    let mut known: HashSet<At> = HashSet::new();
    let mut running = FuturesUnordered::new();
    let (mut sweep, mut tenants) = (Sweep::default(), identity.tenants());
    // The first sweep is whole, and at once: it finds what an earlier server has left.
    let mut tick = clock.sleep(Duration::ZERO);
    loop {
        while running.len() < readers.max(1) && !draining.is_cancelled() {
            let Some(at) = waiting.pop() else { break };
            running.push(one(&files, &helper, at));
        }
        tokio::select! {
            () = draining.cancelled(), if running.is_empty() => return,
            Some(at) = running.next() => {
                known.remove(&at);
            }
            Some(at) = fresh.recv(), if !draining.is_cancelled() => wait(at, &mut waiting, &mut known),
            () = &mut tick, if !draining.is_cancelled() => {
                // There always is one, and it is looked through to its end before the next.
                let tenant = tenants.last().copied().unwrap_or(TenantId::DEFAULT);
                if let Err(error) = files.sweep(tenant, &mut sweep, SWEEP_RECORDS).await {
                    tracing::error!(%error, "files can't be swept");
                }
                if sweep.removed > 0 {
                    tracing::info!(removed = sweep.removed, "files that expired or broke off are gone");
                }
                sweep.unread.drain(..).for_each(|id| wait((tenant, id), &mut waiting, &mut known));
                if sweep.is_whole() {
                    tenants.pop();
                }
                let all = tenants.is_empty();
                if all {
                    tenants = identity.tenants();
                }
                tick = clock.sleep(if all { SWEEP } else { Duration::ZERO });
            }
        }
    }
}

/// Puts a file in line, once. The newest is read first: somebody waits for it.
fn wait(at: At, waiting: &mut Vec<At>, known: &mut HashSet<At>) {
    if waiting.len() < MAX_WAITING && known.insert(at) {
        waiting.push(at);
    }
}

/// Takes one file's text.
async fn one(files: &Files, helper: &Helper, at: At) -> At {
    if let Err(error) = read_one(files, helper, at).await {
        tracing::error!(file = %at.1, %error, "the file's text can't be kept; the next sweep tries again");
        helper.clock.sleep(PAUSE).await;
    }
    at
}

async fn read_one(files: &Files, helper: &Helper, (tenant, id): At) -> Result<(), Unavailable> {
    let Some(reading) = files.begin_reading(tenant, id).await? else { return Ok(()) };
    let began = helper.clock.monotonic();
    let text = text(files, helper, &reading).await;
    let took_ms = u64::try_from(helper.clock.monotonic().saturating_sub(began).as_millis()).unwrap_or(u64::MAX);
    match text {
        Ok(text) => {
            tracing::debug!(file = %id, bytes = text.len(), took_ms, "read a document");
            files.end_reading(reading, Ok(text)).await
        }
        Err(Trouble::Refused(reason)) => {
            tracing::info!(file = %id, reason, took_ms, "a document has no text");
            files.end_reading(reading, Err(reason)).await
        }
        Err(Trouble::Stopped) => files.hand_back(reading).await,
        Err(Trouble::Unavailable(error)) => {
            files.hand_back(reading).await?;
            Err(error)
        }
    }
}

async fn text(files: &Files, helper: &Helper, reading: &Reading) -> Result<String, Trouble> {
    let file = &reading.file;
    if file.bytes > MAX_DOCUMENT_BYTES {
        let message = format!("the document is too large: {} bytes, and {MAX_DOCUMENT_BYTES} are read", file.bytes);
        return Err(Trouble::Refused(message));
    }
    let content = files.content(reading.tenant, file).await.map_err(|error| Trouble::from_content(error.into()))?;
    let pieces = unfold(content, |mut content| async move {
        let piece = content.next().await.map_err(Trouble::from_content).transpose()?;
        Some((piece, content))
    });
    helper.text(&file.filename, &file.media, pieces).await
}
