//! One running request: what it has read and said, and whom it tells.

use super::input::Options;
use super::prompt::Prompt;
use super::sampler::{Likelihood, Sampler, Scratch};
use super::text::Text;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::vocab::LlamaVocab;
use std::collections::VecDeque;
use tokio::sync::mpsc;

/// Events of a request besides those of its tokens: that it began, the text held back at the end, the end.
const OTHER_EVENTS: usize = 3;

/// What the engine says about a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It has a sequence, and its prompt is being read.
    Began {
        /// Tokens of the prompt that need not be read, because an earlier request began with them.
        cached_tokens: usize,
    },
    /// Text of the answer.
    Text {
        /// Whole characters, no part of a stop string.
        text: String,
        /// Its tokens and how likely they were, where the request asked.
        tokens: Vec<Token>,
        /// Tokens that the model has written in this run so far, with those whose text is still held back.
        output_tokens: usize,
    },
    /// The answer is whole. Nothing follows.
    End {
        /// Why it ended.
        finish: Finish,
        /// Tokens that the model wrote in this run, without the one that ends a turn.
        output_tokens: usize,
    },
    /// The model failed. Nothing follows.
    Failed(String),
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended its turn, or a stop string came.
    Stop,
    /// `max_tokens`, or the end of the context.
    Length,
}

impl Finish {
    /// `OpenAI`'s `finish_reason`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// A token of the answer, and how likely it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// It.
    pub chosen: Chance,
    /// The likeliest in its place, as many as the request asked for.
    pub top: Vec<Chance>,
}

/// A token's bytes, which need not be whole characters, and the natural logarithm of its chance.
#[derive(Clone, Debug, PartialEq)]
pub struct Chance {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The logarithm, 0 or less.
    pub logprob: f32,
}

/// A running request.
pub(super) struct Sequence {
    reply: mpsc::Sender<Event>,
    prompt: Vec<LlamaToken>,
    /// Tokens that the model has read: those of the prompt first, then those of the answer.
    position: usize,
    /// The token to read next, once the prompt is read.
    next: Option<LlamaToken>,
    /// Bound on `written`.
    room: usize,
    written: usize,
    sampler: Sampler,
    text: Text,
    alternatives: Option<u8>,
    /// Tokens whose text is held back, and where in the text they start.
    untold: VecDeque<(usize, Token)>,
}

/// Whether a request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Going,
    Over,
}

/// The channel for a request's events. It never fills, because a token makes one event at most: so the engine
/// waits for no reader, and a reader that does not read costs no more than its answer.
pub(super) fn channel(room: usize) -> (mpsc::Sender<Event>, mpsc::Receiver<Event>) {
    mpsc::channel(room + OTHER_EVENTS)
}

/// How many tokens a run may write: what `max_tokens` leaves after the committed ones, and what fits.
pub(super) fn room(options: &Options, prompt: &Prompt, context_tokens: usize) -> usize {
    let asked = usize::try_from(options.max_tokens).unwrap_or(usize::MAX).saturating_sub(prompt.committed);
    asked.min(context_tokens - prompt.tokens.len())
}

impl Sequence {
    /// A request that has read nothing yet.
    pub(super) fn new(prompt: Prompt, options: Options, seed: u64, room: usize, reply: mpsc::Sender<Event>) -> Self {
        let text = Text::new(options.stop.clone());
        let alternatives = options.logprobs;
        let mut sampler = Sampler::new(options, seed);
        let (asked, committed) = prompt.tokens.split_at(prompt.tokens.len() - prompt.committed);
        for token in asked {
            sampler.read(token.0);
        }
        for token in committed {
            sampler.accept(token.0);
        }
        Self {
            reply,
            prompt: prompt.tokens,
            position: 0,
            next: None,
            room,
            written: 0,
            sampler,
            text,
            alternatives,
            untold: VecDeque::new(),
        }
    }

    /// Nobody waits for it any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// The prompt.
    pub(super) fn prompt(&self) -> &[LlamaToken] {
        &self.prompt
    }

    /// Tokens that the model has read.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// The token to read next; none while the prompt is being read.
    pub(super) fn next(&self) -> Option<LlamaToken> {
        self.next
    }

    /// The first tokens are known from an earlier request.
    pub(super) fn begin(&mut self, cached_tokens: usize) {
        self.position = cached_tokens;
        self.tell(Event::Began { cached_tokens });
    }

    /// The model has read this many tokens more.
    pub(super) fn advance(&mut self, tokens: usize) {
        self.position += tokens;
    }

    /// Chooses the next token and tells what it says.
    pub(super) fn choose(&mut self, logits: &[f32], vocab: &LlamaVocab<'_>, scratch: &mut Scratch) -> Progress {
        let Some(token) = self.sampler.pick(logits, scratch) else {
            return self.fail("the model's output is not a number");
        };
        let token = LlamaToken(token);
        if vocab.is_eog(token) {
            return self.end(Finish::Stop);
        }
        self.sampler.accept(token.0);
        self.written += 1;
        let bytes = vocab.token_to_piece(token, false, None);
        if let Some(alternatives) = self.alternatives {
            let likelihood = Likelihood::of(token.0, logits, alternatives, scratch);
            self.untold.push_back((self.text.received(), described(&bytes, &likelihood, vocab)));
        }
        let released = self.text.push(&bytes);
        self.say(released.text);
        if released.stopped {
            return self.close(Finish::Stop);
        }
        if self.written >= self.room {
            return self.end(Finish::Length);
        }
        self.next = Some(token);
        Progress::Going
    }

    /// The model failed.
    pub(super) fn fail(&mut self, why: impl Into<String>) -> Progress {
        self.tell(Event::Failed(why.into()));
        Progress::Over
    }

    /// The answer ends here, with all that was held back.
    pub(super) fn end(&mut self, finish: Finish) -> Progress {
        let rest = self.text.finish();
        self.say(rest);
        self.close(finish)
    }

    fn close(&mut self, finish: Finish) -> Progress {
        self.tell(Event::End { finish, output_tokens: self.written });
        Progress::Over
    }

    fn say(&mut self, text: String) {
        if !text.is_empty() {
            let tokens = self.told();
            self.tell(Event::Text { text, tokens, output_tokens: self.written });
        }
    }

    /// The tokens whose text has been shown since the last time, in whole or in part.
    fn told(&mut self) -> Vec<Token> {
        let shown = self.text.shown();
        let count = self.untold.iter().take_while(|(start, _)| *start < shown).count();
        self.untold.drain(..count).map(|(_, token)| token).collect()
    }

    fn tell(&self, event: Event) {
        // It fails only where the reader has gone, which `is_abandoned` then says.
        let _ = self.reply.try_send(event);
    }
}

fn described(bytes: &[u8], likelihood: &Likelihood, vocab: &LlamaVocab<'_>) -> Token {
    let other =
        |&(token, logprob): &(i32, f32)| Chance { bytes: vocab.token_to_piece(LlamaToken(token), true, None), logprob };
    Token {
        chosen: Chance { bytes: bytes.to_vec(), logprob: likelihood.chosen },
        top: likelihood.top.iter().map(other).collect(),
    }
}
