//! The engine's thread: shares one model among many requests, one step after the other.

use super::rows::with_fillers;
use super::sampler::Scratch;
use super::sequence::{Progress, Sequence};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::vocab::LlamaVocab;
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;

/// Tokens of prompts that are read in one step, while others wait for their next token. 64 take 80 ms on two
/// cores, as long as a step of 32 sequences: so a newcomer at most doubles the others' time per token. Fewer
/// would be slower in all, because every call reads all weights once (6 ms).
///
/// A prompt is cut at multiples of this, and each piece is computed in a call of its own. Its numbers then
/// depend on nothing but the prompt: neither on what else runs, nor on what the cache held before.
pub(super) const PIECE_TOKENS: usize = 64;

/// What a row reads that is computed only to make the others faster. Any token will do.
const FILLER: LlamaToken = LlamaToken(0);

/// A request that has no sequence yet.
pub(super) struct Submission {
    pub(super) sequence: Sequence,
    /// Its place among those that wait; given back when it gets a sequence, or is abandoned.
    pub(super) place: OwnedSemaphorePermit,
}

/// One of the model's sequences.
struct Slot {
    /// Its number at llama.cpp.
    id: i32,
    /// What its cache holds while it is free, and a prompt that begins so need not read again: whole pieces.
    cached: Vec<LlamaToken>,
    work: Option<Sequence>,
}

impl Slot {
    /// How many tokens its cache holds.
    fn position(&self) -> usize {
        self.work.as_ref().map_or(self.cached.len(), Sequence::position)
    }
}

/// Runs steps until the last sender has gone.
pub(super) struct Scheduler<'model> {
    context: LlamaContext<'model>,
    vocab: LlamaVocab<'model>,
    slots: Vec<Slot>,
    waiting: VecDeque<Submission>,
    /// Slots whose prompt is being read; the first is served next.
    reading: VecDeque<usize>,
    batch: LlamaBatch<'static>,
    scratch: Scratch,
    /// The model can forget the end of a sequence. Recurrent ones cannot: they keep a sum of all that they read.
    forgets: bool,
    /// Requests that have a sequence, for those who ask from outside.
    running: Arc<AtomicUsize>,
}

impl<'model> Scheduler<'model> {
    pub(super) fn new(
        model: &'model LlamaModel,
        context: LlamaContext<'model>,
        parallel: u32,
        running: Arc<AtomicUsize>,
    ) -> Self {
        let slots = (0..).take(usize::try_from(parallel).unwrap_or(1));
        let slots: Vec<_> = slots.map(|id| Slot { id, cached: Vec::new(), work: None }).collect();
        Self {
            context,
            vocab: model.vocab(),
            forgets: !model.is_recurrent() && !model.is_hybrid(),
            batch: LlamaBatch::new(slots.len().max(PIECE_TOKENS), 1),
            slots,
            waiting: VecDeque::new(),
            reading: VecDeque::new(),
            scratch: Scratch::default(),
            running,
        }
    }

    /// Works until the channel is closed, and then stops at once: whoever still runs sees its own channel end.
    pub(super) fn run(mut self, submissions: &mut Receiver<Submission>) {
        while self.take_in(submissions) {
            self.drop_abandoned();
            self.admit();
            self.write();
            self.read();
        }
    }

    /// Takes what has been submitted, and waits for something where there is nothing to do. False at the end.
    fn take_in(&mut self, submissions: &mut Receiver<Submission>) -> bool {
        let idle = self.waiting.is_empty() && self.slots.iter().all(|slot| slot.work.is_none());
        if idle {
            match submissions.blocking_recv() {
                Some(submission) => self.waiting.push_back(submission),
                None => return false,
            }
        }
        // Bounded by the places that a submission has to hold.
        loop {
            match submissions.try_recv() {
                Ok(submission) => self.waiting.push_back(submission),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn drop_abandoned(&mut self) {
        self.waiting.retain(|submission| !submission.sequence.is_abandoned());
        for index in 0..self.slots.len() {
            if self.slots[index].work.as_ref().is_some_and(Sequence::is_abandoned) {
                self.release(index);
            }
        }
    }

    /// Gives free slots to those who wait.
    fn admit(&mut self) {
        while let Some(index) = self.waiting.front().and_then(|first| self.slot_for(first.sequence.prompt())) {
            let Some(Submission { mut sequence, place }) = self.waiting.pop_front() else { return };
            let known = known(&self.slots[index].cached, sequence.prompt());
            self.forget(index, known);
            self.slots[index].cached.clear();
            // Before the request hears of it: who asks then how busy the engine is must not be told the past.
            drop(place);
            self.running.fetch_add(1, Ordering::Relaxed);
            sequence.begin(known);
            self.slots[index].work = Some(sequence);
            self.reading.push_back(index);
        }
    }

    /// The free slot that knows most of a prompt, then the one that has least to lose, then the lowest, so that
    /// those that run stay close together: see `rows`.
    fn slot_for(&self, prompt: &[LlamaToken]) -> Option<usize> {
        let free = (0..self.slots.len()).filter(|&index| self.slots[index].work.is_none());
        free.rev().max_by_key(|&index| {
            let cached = &self.slots[index].cached;
            (known(cached, prompt), Reverse(cached.len()))
        })
    }

    /// Empties a slot's cache but for its first tokens.
    fn forget(&mut self, index: usize, from: usize) {
        let id = u32::try_from(self.slots[index].id).ok();
        // It fails only for a model that cannot forget a part, and from those all is taken.
        let _ = self.context.clear_kv_cache_seq(id, u32::try_from(from).ok(), None);
    }

    /// Frees a slot, and keeps what a later prompt may begin with.
    fn release(&mut self, index: usize) {
        let Some(work) = self.slots[index].work.take() else { return };
        self.reading.retain(|&reading| reading != index);
        self.running.fetch_sub(1, Ordering::Relaxed);
        // The answer's own tokens were computed among others' and are not kept: a prompt that holds them would
        // get other numbers than if it were read afresh, and perhaps another answer.
        let read = if self.forgets { work.position().min(work.prompt().len()) } else { 0 };
        let whole = read / PIECE_TOKENS * PIECE_TOKENS;
        self.slots[index].cached = work.prompt()[..whole].to_vec();
        self.forget(index, whole);
    }

    /// One token for each sequence that has read its prompt.
    fn write(&mut self) {
        let writes = |slot: &Slot| slot.work.as_ref().and_then(Sequence::next).is_some();
        let writing: Vec<usize> = (0..self.slots.len()).filter(|&index| writes(&self.slots[index])).collect();
        if writing.is_empty() {
            return;
        }
        let rows = if self.forgets { with_fillers(&writing, self.slots.len()) } else { writing };
        self.batch.clear();
        for &index in &rows {
            let slot = &self.slots[index];
            let next = slot.work.as_ref().and_then(Sequence::next);
            add(&mut self.batch, next.unwrap_or(FILLER), slot.position(), slot.id, next.is_some());
        }
        let decoded = self.context.decode(&mut self.batch);
        for (row, index) in (0..).zip(rows) {
            if writes(&self.slots[index]) {
                self.settle(index, row, 1, decoded.as_ref().err());
            } else {
                self.forget(index, self.slots[index].position());
            }
        }
    }

    /// A piece of prompt for each of those that read, in turn, as far as the step's budget goes.
    fn read(&mut self) {
        let mut budget = PIECE_TOKENS;
        while let Some(&index) = self.reading.front() {
            let Some(work) = &self.slots[index].work else { return };
            let start = work.position();
            let end = work.prompt().len().min((start / PIECE_TOKENS + 1) * PIECE_TOKENS);
            if end - start > budget {
                return;
            }
            budget -= end - start;
            self.reading.pop_front();
            self.read_piece(index, start, end);
        }
    }

    fn read_piece(&mut self, index: usize, start: usize, end: usize) {
        let slot = &self.slots[index];
        let Some(work) = &slot.work else { return };
        let last = work.prompt().len() - 1;
        self.batch.clear();
        for (position, &token) in (start..).zip(&work.prompt()[start..end]) {
            add(&mut self.batch, token, position, slot.id, position == last);
        }
        let decoded = self.context.decode(&mut self.batch);
        if decoded.is_ok() && end <= last {
            if let Some(work) = &mut self.slots[index].work {
                work.advance(end - start);
            }
            self.reading.push_back(index);
        } else {
            let row = i32::try_from(end - start - 1).unwrap_or(0);
            self.settle(index, row, end - start, decoded.err().as_ref());
        }
    }

    /// After a call that gave a slot's next logits, or failed.
    fn settle<E: std::error::Error>(&mut self, index: usize, row: i32, tokens: usize, error: Option<&E>) {
        let Some(work) = &mut self.slots[index].work else { return };
        let progress = if let Some(error) = error {
            tracing::error!(%error, "llama.cpp could not compute a step");
            work.fail(format!("llama.cpp could not compute a step: {error}"))
        } else {
            work.advance(tokens);
            work.choose(self.context.get_logits_ith(row), &self.vocab, &mut self.scratch)
        };
        if progress == Progress::Over {
            self.release(index);
        }
    }
}

/// How many tokens of a prompt a cache holds: whole pieces, and never all of it, because the last one's logits
/// are wanted.
fn known(cached: &[LlamaToken], prompt: &[LlamaToken]) -> usize {
    let usable = &prompt[..prompt.len().saturating_sub(1)];
    let same = cached.iter().zip(usable).take_while(|(cached, token)| cached == token).count();
    same / PIECE_TOKENS * PIECE_TOKENS
}

fn add(batch: &mut LlamaBatch<'_>, token: LlamaToken, position: usize, sequence: i32, logits: bool) {
    let position = i32::try_from(position).unwrap_or(i32::MAX);
    // It has room for all sequences and for a piece, and neither is exceeded.
    let added = batch.add(token, position, &[sequence], logits);
    debug_assert!(added.is_ok(), "the batch is too small");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pieces_are_known_and_never_all_of_a_prompt() {
        let tokens: Vec<LlamaToken> = (0..200).map(LlamaToken).collect();
        assert_eq!(known(&tokens[..128], &tokens), 128);
        assert_eq!(known(&tokens, &tokens[..128]), 64);
        assert_eq!(known(&tokens[..64], &tokens[1..]), 0);
        assert_eq!(known(&tokens[..128], &tokens[..100]), 64);
        assert_eq!(known(&[], &tokens), 0);
        assert_eq!(known(&tokens, &[]), 0);
    }
}
