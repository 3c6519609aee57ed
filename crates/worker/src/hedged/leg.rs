//! One of the two that a run asks: what it says first, and what it has used where it is left.

use futures_util::{FutureExt, StreamExt, stream};
use std::sync::{Arc, Mutex, PoisonError};
use tidewire_core::port::{Backend, BackendError, Chunk, Fault, Request, Run};
use tidewire_core::{Usage, tokens};

/// What of a loser's answer has arrived is counted, and it is left. So many pieces are more than lie in one read.
const MAX_LATE_PIECES: usize = 4096;

/// What was heard of a run that may be left.
#[derive(Default)]
pub(super) struct Heard(Mutex<(bool, Option<Usage>)>);

impl Heard {
    fn note(&self, change: impl FnOnce(&mut (bool, Option<Usage>))) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What it used that was left before its first word, or failed: what it counted itself, else what the request has. One
    /// that refused, or was never reached, has read nothing.
    pub(super) fn usage(&self, input_tokens: u64, error: Option<&BackendError>) -> Usage {
        let (accepted, counted) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unread = |error: &BackendError| error.status.is_some() || error.fault != Fault::TimedOut;
        match counted {
            Some(counted) => Usage { estimated: true, ..counted },
            None if !accepted && error.is_some_and(unread) => Usage::default(),
            None => Usage { input_tokens, estimated: true, ..Usage::default() },
        }
    }
}

/// What one of the two came to first.
pub(super) enum Word {
    Said(Run),
    /// It failed; where the upstream had taken the request, with what it had said until then.
    Failed(BackendError, Option<Run>),
}

impl Word {
    pub(super) fn into_run(self) -> Result<Run, BackendError> {
        match self {
            Self::Said(run) | Self::Failed(_, Some(run)) => Ok(run),
            Self::Failed(error, None) => Err(error),
        }
    }
}

/// A run up to its first word.
pub(super) async fn first_word(backend: Arc<dyn Backend>, request: Request, heard: Arc<Heard>) -> Word {
    let Run { begins, mut chunks, limits } = match backend.run(request).await {
        Ok(run) => run,
        Err(error) => return Word::Failed(error, None),
    };
    heard.note(|heard| heard.0 = true);
    let mut head = Vec::new();
    let mut failed = Some(BackendError::new(Fault::Broken, "the answer broke off"));
    while let Some(chunk) = chunks.next().await {
        let counted = if let Ok(Chunk::Usage(usage)) = &chunk { Some(*usage) } else { None };
        failed = chunk.as_ref().err().cloned();
        head.push(chunk);
        match counted {
            // A count is no word yet.
            Some(usage) => heard.note(|heard| heard.1 = Some(usage)),
            None => break,
        }
    }
    let run = Run { begins, chunks: Box::pin(stream::iter(head).chain(chunks)), limits };
    match failed {
        Some(error) => Word::Failed(error, Some(run)),
        None => Word::Said(run),
    }
}

/// What has arrived of an answer that is left; nothing where its deployment gave no count and no word.
pub(super) fn arrived(word: Word, input_tokens: u64) -> Option<Usage> {
    let mut run = word.into_run().ok()?;
    let (mut pieces, mut bytes, mut counted) = (0, 0, None);
    for _ in 0..MAX_LATE_PIECES {
        match run.chunks.next().now_or_never() {
            Some(Some(Ok(Chunk::Usage(usage)))) => {
                counted = Some(usage);
                (pieces, bytes) = (0, 0);
            }
            Some(Some(Ok(Chunk::Text(data) | Chunk::Reasoning(data) | Chunk::ToolCall(data)))) => {
                pieces += 1;
                bytes += data.len() as u64;
            }
            // All of it is there: its own count is right.
            Some(Some(Ok(Chunk::Finish(_)))) if counted.is_some() && pieces == 0 => return counted,
            Some(Some(Ok(_))) => {}
            _ => break,
        }
    }
    let counted = counted.unwrap_or(Usage { input_tokens, ..Usage::default() });
    let output_tokens = counted.output_tokens + tokens::written(bytes, pieces);
    Some(Usage { output_tokens, estimated: true, ..counted })
}
