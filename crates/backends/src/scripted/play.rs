//! One run of a script: its tokens, each at its time.

use super::script::{Accident, Script};
use super::stats::Guard;
use bytes::Bytes;
use futures_core::Stream;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tidewire_core::Usage;
use tidewire_core::port::{BackendError, Chunk, Fault, Reason, Timeouts};
use tokio::time::Sleep;

type Item = Result<Chunk, BackendError>;

pub(super) struct Play {
    script: Script,
    text: Bytes,
    /// Where the next token begins.
    at: usize,
    /// Which token that is.
    token: usize,
    /// How many tokens this run has played.
    played: u64,
    accident: Option<Accident>,
    input_words: u64,
    timeouts: Timeouts,
    /// When the next step is due. Each step's time counts from the last one's, not from when that was noticed.
    due: Pin<Box<Sleep>>,
    /// The wait for the next step is longer than the request allows: the timer stands at the timeout.
    too_late: bool,
    /// What comes in the same moment as the last step.
    ready: VecDeque<Item>,
    state: State,
    guard: Guard,
}

#[derive(PartialEq)]
enum State {
    /// The timer runs.
    Waiting,
    /// Only `ready` is left.
    Ending,
}

impl Play {
    pub(super) fn new(
        script: Script,
        text: String,
        from: usize,
        accident: Option<Accident>,
        input_words: u64,
        timeouts: Timeouts,
        guard: Guard,
    ) -> Self {
        let token = text[..from].matches(' ').count();
        let mut play = Self {
            due: Box::pin(tokio::time::sleep(script.first_delay().min(timeouts.first_token))),
            too_late: script.first_delay() > timeouts.first_token,
            script,
            text: Bytes::from(text),
            at: from,
            token,
            played: 0,
            accident,
            input_words,
            timeouts,
            ready: VecDeque::new(),
            state: State::Waiting,
            guard,
        };
        if play.stalls() {
            play.due = Box::pin(tokio::time::sleep(timeouts.first_token));
            play.too_late = true;
        }
        play
    }

    fn stalls(&self) -> bool {
        self.accident == Some(Accident::Stall) && self.token >= self.script.fail_at.unwrap_or(0)
    }

    /// What happens when the time has come.
    fn step(&mut self) {
        if self.too_late {
            self.end_with(Some(Err(BackendError::new(Fault::TimedOut, "the script gave no token in time"))));
            return;
        }
        if let Some(accident) = self.accident.filter(|_| self.token >= self.script.fail_at.unwrap_or(0)) {
            let error = accident.by_status().unwrap_or((Fault::Broken, None));
            self.end_with((accident != Accident::Cut).then(|| Err(self.script.told(error))));
            return;
        }
        if self.played == 0
            && let Some(reasoning) = self.script.reasoning.take()
        {
            self.ready.push_back(Ok(Chunk::Reasoning(reasoning.into())));
        }
        if self.at < self.text.len() {
            let rest = &self.text[self.at..];
            let length = rest.iter().position(|byte| *byte == b' ').map_or(rest.len(), |space| space + 1);
            self.ready.push_back(Ok(Chunk::Text(self.text.slice(self.at..self.at + length))));
            self.at += length;
            self.token += 1;
            self.played += 1;
        }
        if self.at < self.text.len() || self.fails_after_the_last() {
            self.schedule();
        } else {
            self.end_well();
        }
    }

    /// A fault in the place of the token after the last: the text is whole, and its end is missing.
    fn fails_after_the_last(&self) -> bool {
        self.accident.is_some() && Some(self.token) == self.script.fail_at
    }

    fn schedule(&mut self) {
        let mut wait = self.script.delay();
        self.too_late = self.stalls() || wait > self.timeouts.between_tokens;
        if self.too_late {
            wait = self.timeouts.between_tokens;
        }
        if wait > Duration::ZERO {
            let next = self.due.deadline() + wait;
            self.due.as_mut().reset(next);
        }
    }

    fn end_well(&mut self) {
        if let Some(calls) = self.script.tool_calls.take() {
            self.ready.push_back(Ok(Chunk::ToolCall(calls.to_string().into())));
        }
        if self.script.usage {
            let usage = Usage { input_tokens: self.input_words, output_tokens: self.played, ..Usage::default() };
            self.ready.push_back(Ok(Chunk::Usage(usage)));
        }
        let sequence = self.script.stop_sequence.take().map(Into::into);
        let finish = Chunk::Finish(Reason { word: self.script.finish_reason.as_str().into(), sequence });
        self.end_with(Some(Ok(finish)));
    }

    fn end_with(&mut self, last: Option<Item>) {
        self.ready.extend(last);
        self.state = State::Ending;
    }
}

impl Stream for Play {
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        let play = self.get_mut();
        loop {
            if let Some(item) = play.ready.pop_front() {
                if play.state == State::Ending && play.ready.is_empty() {
                    play.guard.close();
                }
                return Poll::Ready(Some(item));
            }
            if play.state == State::Ending {
                play.guard.close();
                return Poll::Ready(None);
            }
            // Also takes from the task's budget, so that a script without delays leaves others their turn.
            ready!(play.due.as_mut().poll(context));
            play.step();
        }
    }
}
