//! What a running task may spend: what was reserved for it at admission, and more of it ahead of what the model writes, so
//! that no token waits for the ledger.

use crate::Worker;
use crate::draft::Barred;
use crate::ends::failure;
use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::pin::Pin;
use std::sync::Arc;
use tidewire_core::port::{Amounts, Limited, Over, Reservation, ReserveError, Unavailable};
use tidewire_core::tokens::{self, Tokenizer, pieces};
use tidewire_core::{Failure, Price, Spec, Task, Usage};

/// What is asked for at once, at the least: seconds of a fast model, and a cent of the dearest.
const LEAST_TOP_UP: u64 = 256;

/// Of what is held, a quarter more at a time: an answer of any length asks but a few times.
const TOP_UP_PART: u64 = 4;

/// How far ahead of the end of the reservation more is asked for: tokens of half a second of a fast model. Of a small
/// reservation its last quarter, so that answers as long as most ask for nothing.
const AHEAD: u64 = 64;
const AHEAD_PART: u64 = 4;

/// A request of up to so many bytes was counted at admission, where it is worth it.
const COUNTED_AT_ADMISSION_BYTES: usize = 8 * 1024;

/// So much text is counted without letting others run: two milliseconds.
const COUNTED_IN_A_ROW_BYTES: usize = 64 * 1024;

type Asking<'w> = Pin<Box<dyn Future<Output = Result<(), ReserveError>> + Send + 'w>>;

/// One attempt's purse.
pub(crate) struct Purse<'w> {
    worker: &'w Worker,
    task: &'w Task,
    /// The dearest that its route may come to.
    price: Price,
    /// What the request has, of tokens that the model reads.
    input_tokens: u64,
    /// The longest that the answer may get, by the request.
    max_tokens: u64,
    /// What is held by now.
    held: Amounts,
    /// Output tokens that were used before this run.
    used_before: u64,
    asking: Option<(u64, Asking<'w>)>,
    refused: Option<Over>,
    /// Nothing is spent any more.
    closed: bool,
}

impl<'w> Purse<'w> {
    /// Opens it: waits until the reservation survives a crash, and counts what admission only estimated.
    pub(crate) async fn open(worker: &'w Worker, task: &'w Task, input: &Bytes) -> Result<Self, Barred> {
        secure(worker, task).await.map_err(|error| Barred::Unavailable(error.reason))?;
        let plan = worker.catalog.plan();
        let route = plan.route(&task.spec.capability);
        let price = route.map(|route| plan.dearest(route)).unwrap_or_default();
        let as_admitted = input.len() == task.spec.input.len() && input.len() <= COUNTED_AT_ADMISSION_BYTES;
        let input_tokens = if as_admitted {
            task.spec.reserved.input_tokens
        } else {
            let model =
                route.and_then(|route| plan.members(route).next()).map(|(first, _)| first.model(&task.spec.model));
            let tokenizer = model.and_then(|model| worker.counter.tokenizer(&model));
            match tokenizer {
                Some(tokenizer) => count(&*tokenizer, input).await,
                None => worker.counter.estimate(&task.spec.model, input, 0),
            }
        };
        Ok(Self {
            worker,
            task,
            price,
            input_tokens,
            max_tokens: max_tokens(input),
            held: task.spec.reserved,
            used_before: 0,
            asking: None,
            refused: None,
            closed: false,
        })
    }

    /// What the request has, of tokens that the model reads.
    pub(crate) fn input_tokens(&self) -> u64 {
        self.input_tokens
    }

    /// What one more reading of the request takes; nothing where nothing is reserved.
    pub(crate) fn reading(&self) -> Option<Amounts> {
        let input_tokens = self.input_tokens;
        self.is_kept().then(|| self.priced(Usage { input_tokens, ..Usage::default() }))
    }

    /// What comes now was paid for before.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// Makes sure of what the next run reads, after what was used before it. Else why the task ends.
    pub(crate) async fn cover(&mut self, used: Usage) -> Result<(), Failure> {
        self.used_before = used.output_tokens;
        if !self.is_kept() {
            return Ok(());
        }
        let reads = used.input_tokens + self.input_tokens;
        let more = Usage {
            input_tokens: reads.saturating_sub(self.held.input_tokens),
            output_tokens: if used.output_tokens > 0 && used.output_tokens >= self.held.output_tokens {
                self.chunk(used.output_tokens)
            } else {
                0
            },
            ..Usage::default()
        };
        if more == Usage::default() {
            return Ok(());
        }
        let amounts = self.priced(more);
        match self.worker.ledger.top_up(self.task.at(), amounts, self.worker.clock.now()).await {
            Ok(()) => {
                self.held.input_tokens += amounts.input_tokens;
                self.held.output_tokens += amounts.output_tokens;
                Ok(())
            }
            Err(ReserveError::Over(over)) => Err(refusal(&over)),
            // What was reserved still stands; what goes beyond it is settled as it comes.
            Err(ReserveError::Unavailable(_)) => Ok(()),
        }
    }

    /// The run has written so much by now: asks for more where that nears the end of what is held.
    pub(crate) fn wrote(&mut self, tokens: u64) {
        let ahead = AHEAD.min(self.task.spec.reserved.output_tokens / AHEAD_PART).max(1);
        let written = self.used_before + tokens;
        let enough = self.held.output_tokens >= self.used_before.saturating_add(self.max_tokens);
        // What writes no tokens, as an embedding, needs none.
        if tokens == 0 || !self.is_kept() || enough || self.asking.is_some() || self.refused.is_some() {
            return;
        }
        if written + ahead >= self.held.output_tokens {
            let chunk = self.chunk(written);
            let amounts = self.priced(Usage { output_tokens: chunk, ..Usage::default() });
            let asking = self.worker.ledger.top_up(self.task.at(), amounts, self.worker.clock.now());
            self.asking = Some((chunk, asking));
        }
    }

    /// The answer to what was asked for; never, where nothing is.
    pub(crate) async fn answered(&mut self) {
        let Some((chunk, asking)) = &mut self.asking else { return std::future::pending().await };
        let (chunk, answer) = (*chunk, asking.await);
        self.asking = None;
        match answer {
            // An engine that is away refuses nobody: what is used is settled once it is back.
            Ok(()) | Err(ReserveError::Unavailable(_)) => self.held.output_tokens += chunk,
            Err(ReserveError::Over(over)) => self.refused = Some(over),
        }
    }

    /// Whether a run that has written so much must wait for the answer, or end.
    pub(crate) fn is_spent(&self, tokens: u64) -> bool {
        self.is_kept() && self.used_before + tokens > self.held.output_tokens
    }

    /// Why a run that has spent all ends, where more was refused.
    pub(crate) fn refused(&self) -> Option<Failure> {
        self.refused.as_ref().map(refusal)
    }

    /// Tasks of an older version have none.
    fn is_kept(&self) -> bool {
        !self.closed && self.task.spec.reserved.requests > 0
    }

    /// How much more is asked for by a run that has written so much. It grows with what is held: else an answer of
    /// megabytes would ask a thousand times, and wait for each answer.
    fn chunk(&self, written: u64) -> u64 {
        let held = self.held.output_tokens;
        let left = self.used_before.saturating_add(self.max_tokens).saturating_sub(held);
        let short = written.saturating_sub(held);
        (LEAST_TOP_UP.max(held / TOP_UP_PART) + short).min(left.max(1))
    }

    fn priced(&self, more: Usage) -> Amounts {
        let (input_tokens, output_tokens) = (more.input_tokens, more.output_tokens);
        Amounts { requests: 0, input_tokens, output_tokens, cost: self.price.of(&more) }
    }
}

/// Waits until the reservation survives a crash.
async fn secure(worker: &Worker, task: &Task) -> Result<(), Unavailable> {
    if task.spec.reserved.requests == 0 || worker.ledger.secure(task.at()).await.is_ok() {
        return Ok(());
    }
    // A task is there whose commit was taken for failed, and its reservation was given back. It was promised to nobody,
    // but it runs: what it uses is counted, and no limit is asked again.
    let Spec { payer, reserved, model, .. } = &task.spec;
    let reservation = Reservation {
        task: task.at(),
        at: worker.clock.now(),
        payer: payer.clone(),
        route: model.as_str().into(),
        amounts: *reserved,
        accounts: Arc::new([]),
    };
    match worker.ledger.reserve(reservation).await {
        Ok(_) => worker.ledger.secure(task.at()).await,
        Err(ReserveError::Unavailable(error)) => Err(error),
        Err(ReserveError::Over(over)) => Err(Unavailable::new(over.to_string())),
    }
}

/// Counts a long request, and lets others run meanwhile. A cut between two stretches is one token off at most.
async fn count(tokenizer: &dyn Tokenizer, input: &[u8]) -> u64 {
    let Some(pieces) = pieces(input) else { return tokens::estimate(input, 0) };
    let mut tokens = pieces.fixed;
    for text in &pieces.texts {
        let mut rest: &str = text;
        while !rest.is_empty() {
            let (stretch, after) = rest.split_at(cut(rest));
            tokens += tokenizer.count(stretch);
            rest = after;
            if !rest.is_empty() {
                tokio::task::yield_now().await;
            }
        }
    }
    tokens
}

/// Where a stretch ends: before a space, where there is one near.
fn cut(text: &str) -> usize {
    if text.len() <= COUNTED_IN_A_ROW_BYTES {
        return text.len();
    }
    let end = text.floor_char_boundary(COUNTED_IN_A_ROW_BYTES);
    text[..end].rfind(' ').filter(|space| *space > end / 2).unwrap_or(end)
}

/// The bound that the request sets for its answer.
fn max_tokens(input: &[u8]) -> u64 {
    #[derive(Default, Deserialize)]
    struct Bound<'a> {
        #[serde(borrow, default)]
        max_tokens: Option<&'a RawValue>,
        #[serde(borrow, default)]
        max_completion_tokens: Option<&'a RawValue>,
    }
    // Most requests name none, and are not read for it.
    if memmem::find(input, b"max_").is_none() && memmem::find(input, b"\\u").is_none() {
        return u64::MAX;
    }
    let bound: Bound<'_> = serde_json::from_slice(input).unwrap_or_default();
    let bound = bound.max_completion_tokens.or(bound.max_tokens);
    bound.and_then(|number| number.get().parse().ok()).unwrap_or(u64::MAX)
}

fn refusal(over: &Over) -> Failure {
    let (code, what) = match over.what {
        Limited::CostPerDay | Limited::CostPerMonth => ("budget_exceeded", "money"),
        Limited::Requests => ("rate_limited", "requests"),
        Limited::InputTokens => ("rate_limited", "input tokens"),
        Limited::OutputTokens => ("rate_limited", "output tokens"),
    };
    let message = format!(
        "the task needed more {what} than was reserved for it, and there was no room for more: what was written stands. \
         Raise the limit, or bound the answer (`max_tokens`)"
    );
    let retry_after_ms = over.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    Failure { retry_after_ms, ..failure(code, &message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Words;

    impl Tokenizer for Words {
        fn count(&self, text: &str) -> u64 {
            text.split_whitespace().count() as u64
        }
    }

    #[tokio::test]
    async fn a_long_text_is_counted_in_stretches_and_no_word_is_cut() {
        let words = 100_000;
        let text = "word ".repeat(words);
        let input = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#);
        // The role is a word too; three tokens are around the message, three open the answer.
        assert_eq!(count(&Words, input.as_bytes()).await, words as u64 + 1 + 6);
        let unbroken = "é".repeat(100_000);
        assert!(unbroken.is_char_boundary(cut(&unbroken)));
    }

    #[test]
    fn the_newer_name_of_the_bound_counts() {
        assert_eq!(max_tokens(br#"{"max_tokens":5,"max_completion_tokens":7}"#), 7);
        assert_eq!(max_tokens(br#"{"messages":[]}"#), u64::MAX);
    }
}
