//! An answer after the checker outside: asked about the text so far after so many characters, and at the end.
//!
//! Where nothing may pass unchecked (`closed`), text is held until it was checked, and the model waits meanwhile. Else
//! (`open`) text passes at once, and the opinion comes beside it. Reasoning and tool calls are not shown to the checker.

use super::{Guard, MAX_CHECKED_BYTES};
use futures_util::{FutureExt, StreamExt, stream};
use std::collections::VecDeque;
use std::pin::Pin;
use tidewire_core::guard::{Checking, OnFailure};
use tidewire_core::port::{BackendError, Chunk, Chunks, Opinion, Reason, Stage};

/// The word for why an answer ended that the checker cut off, as OpenAI has it.
pub(super) const FILTERED: &str = "content_filter";

type Said = Result<Chunk, BackendError>;
type Asking = Pin<Box<dyn Future<Output = Result<Opinion, BackendError>> + Send>>;

/// An answer after the checker.
pub(super) struct Checked {
    said: Option<Chunks>,
    out: VecDeque<Said>,
    /// The text so far that was told or may be.
    so_far: String,
    /// Text that is held until it was checked.
    held: VecDeque<Chunk>,
    /// Characters since the checker was asked.
    since: usize,
    /// An opinion on what has passed already.
    asking: Option<Asking>,
    finish: Option<Reason>,
    checking: Checking,
    guard: Guard,
}

enum Heard {
    Said(Option<Said>),
    Opinion(Result<Opinion, BackendError>),
}

impl Checked {
    pub(super) fn chunks(said: Chunks, before: String, checking: Checking, guard: Guard) -> Chunks {
        let checked = Self {
            said: Some(said),
            out: VecDeque::new(),
            so_far: before,
            held: VecDeque::new(),
            since: 0,
            asking: None,
            finish: None,
            checking,
            guard,
        };
        Box::pin(stream::unfold(checked, |mut checked| async move {
            let next = checked.next().await?;
            Some((next, checked))
        }))
    }

    async fn next(&mut self) -> Option<Said> {
        loop {
            if let Some(said) = self.out.pop_front() {
                return Some(said);
            }
            match self.hear().await? {
                Heard::Said(Some(Ok(chunk))) => self.take(chunk).await,
                // What is held is lost with the answer: another attempt says it again.
                Heard::Said(Some(Err(error))) => self.end(Err(error)),
                Heard::Said(None) => return None,
                Heard::Opinion(opinion) => self.heed(opinion),
            }
        }
    }

    /// What comes first: the model's next word, or an opinion on the last ones. At the end the opinion alone.
    async fn hear(&mut self) -> Option<Heard> {
        let Some(said) = &mut self.said else {
            let opinion = self.asking.take()?.await;
            return Some(Heard::Opinion(opinion));
        };
        let Some(asking) = &mut self.asking else { return Some(Heard::Said(said.next().await)) };
        let heard = tokio::select! {
            biased;
            opinion = asking => Heard::Opinion(opinion),
            next = said.next() => Heard::Said(next),
        };
        if matches!(heard, Heard::Opinion(_)) {
            self.asking = None;
        }
        Some(heard)
    }

    async fn take(&mut self, chunk: Chunk) {
        let closed = self.checking.on_failure == OnFailure::Closed;
        match chunk {
            Chunk::Text(text) => {
                let said = String::from_utf8_lossy(&text);
                self.since += said.chars().count();
                self.so_far.push_str(&said);
                self.pass(Chunk::Text(text.clone()), closed);
            }
            logprobs @ Chunk::Logprobs(_) => self.pass(logprobs, closed),
            Chunk::Finish(reason) => {
                self.said = None;
                self.finish = Some(reason);
            }
            other => self.out.push_back(Ok(other)),
        }
        let due = self.since >= self.checking.every_chars || (self.finish.is_some() && self.since > 0);
        if closed && due {
            let opinion = self.ask().await;
            self.heed(opinion);
        } else if due && self.asking.is_none() {
            self.asking = Some(self.ask());
        } else if self.finish.is_some() && self.asking.is_none() {
            self.whole();
        }
    }

    fn pass(&mut self, chunk: Chunk, closed: bool) {
        if closed { self.held.push_back(chunk) } else { self.out.push_back(Ok(chunk)) }
    }

    /// Asks about the text so far.
    fn ask(&mut self) -> Asking {
        self.since = 0;
        let from = self.so_far.ceil_char_boundary(self.so_far.len().saturating_sub(MAX_CHECKED_BYTES));
        let (guard, checking, text) = (self.guard.clone(), self.checking.clone(), self.so_far[from..].to_owned());
        async move { guard.ask(&checking, Stage::Answer, text).await }.boxed()
    }

    /// Does what the checker says.
    fn heed(&mut self, opinion: Result<Opinion, BackendError>) {
        let mut opinion = match opinion {
            Ok(opinion) => opinion,
            Err(error) => return self.end(Err(error)),
        };
        match (opinion.allow, opinion.replacement.take()) {
            (true, None) => self.out.extend(self.held.drain(..).map(Ok)),
            (true, Some(replacement)) => self.replace(&replacement),
            (false, Some(replacement)) => {
                self.guard.replaced();
                self.held.clear();
                self.out.push_back(Ok(Chunk::Text(replacement.into())));
                return self.end(Ok(Chunk::Finish(FILTERED.into())));
            }
            (false, None) => {
                let refused = self.guard.refused(Stage::Answer, &opinion);
                return self.end(Err(refused));
            }
        }
        if self.finish.is_some() && self.asking.is_none() {
            if self.since > 0 {
                // What came while the opinion was on its way.
                self.asking = Some(self.ask());
            } else {
                self.whole();
            }
        }
    }

    /// Another text in the place of what is held. What has passed already stays.
    fn replace(&mut self, replacement: &str) {
        if self.held.is_empty() {
            return;
        }
        self.guard.replaced();
        let held: usize =
            self.held.drain(..).map(|chunk| if let Chunk::Text(text) = chunk { text.len() } else { 0 }).sum();
        self.so_far.truncate(self.so_far.floor_char_boundary(self.so_far.len().saturating_sub(held)));
        self.so_far.push_str(replacement);
        self.out.push_back(Ok(Chunk::Text(replacement.to_owned().into())));
    }

    /// The answer is whole, as the model ended it.
    fn whole(&mut self) {
        if let Some(reason) = self.finish.take() {
            // Log probabilities of text that was checked already.
            self.out.extend(self.held.drain(..).map(Ok));
            self.end(Ok(Chunk::Finish(reason)));
        }
    }

    /// The answer ends so. What ran for it stops at once.
    fn end(&mut self, last: Said) {
        (self.said, self.asking, self.finish) = (None, None, None);
        self.held.clear();
        self.out.push_back(last);
    }
}
