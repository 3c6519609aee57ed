//! What is counted over an answer: tokens, where the backend counts none, and how fast they come.

use crate::pump::Finish;
use std::time::Duration;
use tidewire_core::port::{BackendError, Chunk, Fault};
use tidewire_core::{Timestamp, Usage, tokens};

/// The counts of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    counted: Option<Usage>,
    /// Pieces since the backend's last count, and their bytes.
    uncounted: u64,
    uncounted_bytes: u64,
    /// Pieces of text and reasoning, and when the first and the last of them came.
    pub(crate) pieces: u64,
    span: Option<(Timestamp, Timestamp)>,
    /// The backend has taken the request.
    pub(crate) begun: bool,
}

impl Tally {
    /// Counts a chunk. Whether it was the first piece.
    pub(crate) fn count(&mut self, chunk: &Chunk, at: Timestamp) -> bool {
        let before = self.pieces;
        match chunk {
            Chunk::Text(data) | Chunk::Reasoning(data) | Chunk::ToolCall(data) => {
                self.uncounted += 1;
                self.uncounted_bytes += data.len() as u64;
                self.pieces += 1;
                let first = self.span.map_or(at, |(first, _)| first);
                self.span = Some((first, at));
            }
            Chunk::Usage(usage) => {
                self.counted = Some(*usage);
                (self.uncounted, self.uncounted_bytes) = (0, 0);
            }
            Chunk::Logprobs(_) | Chunk::Embedding(_) | Chunk::Finish(_) => {}
        }
        before == 0 && self.pieces > 0
    }

    /// The mean from one piece to the next.
    pub(crate) fn per_token(&self) -> Option<Duration> {
        let (first, last) = self.span.filter(|_| self.pieces > 1)?;
        Some(last.since(first) / u32::try_from(self.pieces - 1).unwrap_or(u32::MAX))
    }

    /// Tokens that were written by now: by the backend's last count, and what came since.
    pub(crate) fn written(&self) -> u64 {
        let counted = self.counted.map_or(0, |usage| usage.output_tokens);
        counted + tokens::written(self.uncounted_bytes, self.uncounted)
    }

    /// The backend's own count where the answer is whole; else its last one and what came since, marked as an estimate.
    /// Where it gave none, it read what the request has.
    pub(crate) fn usage(&self, finish: &Finish, input_tokens: u64) -> Usage {
        let counted = self.counted.unwrap_or_default();
        if self.counted.is_some() && (self.uncounted == 0 || matches!(finish, Finish::Whole(_))) {
            return counted;
        }
        // An upstream that refused, or was never reached, has read and written nothing.
        let unread = |error: &BackendError| !self.begun && (error.status.is_some() || error.fault != Fault::TimedOut);
        if matches!(finish, Finish::Failed(error) if unread(error)) {
            return counted;
        }
        let input_tokens = if self.counted.is_some() { counted.input_tokens } else { input_tokens };
        Usage { input_tokens, output_tokens: self.written(), estimated: true, ..counted }
    }
}
