//! Writes a conversation as the tokens that the model was trained to read.

use super::config::Config;
use super::input::{Role, Turn};
use llama_cpp_2::model::{LlamaChatMessage, LlamaChatTemplate, LlamaModel};
use llama_cpp_2::token::LlamaToken;
use std::borrow::Cow;
use std::sync::Arc;

/// More bytes of text a token than any language has. Text beyond this is not even cut into tokens: that would
/// hold up the caller's thread for something that cannot fit.
const MOST_BYTES_A_TOKEN: usize = 32;

/// About how many bytes a token has, for the number in a refusal of text that was not cut into tokens.
const USUAL_BYTES_A_TOKEN: usize = 4;

/// Writes prompts for one model.
pub(super) struct Writer {
    model: Arc<LlamaModel>,
    template: LlamaChatTemplate,
    default_system: Option<Turn>,
    context_tokens: usize,
}

/// What the model reads.
#[derive(Debug)]
pub(super) struct Prompt {
    /// All of it.
    pub(super) tokens: Vec<LlamaToken>,
    /// How many at the end are the answer's beginning, from an earlier attempt.
    pub(super) committed: usize,
}

/// The prompt leaves no room for an answer. Both are tokens.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong {
    pub(super) prompt: usize,
    pub(super) context: usize,
}

/// Why a prompt cannot be written.
#[derive(Debug)]
pub(super) enum Unwritable {
    TooLong(TooLong),
    /// llama.cpp could not apply the template to these messages.
    Template(String),
}

impl Writer {
    /// Tries the template out, so that one that llama.cpp does not know fails at start.
    pub(super) fn new(model: Arc<LlamaModel>, config: &Config, context_tokens: usize) -> Result<Self, String> {
        let template = match &config.template {
            Some(name) => LlamaChatTemplate::new(name).map_err(|error| error.to_string())?,
            None => model.chat_template(None).map_err(|error| {
                format!("the weights hold no chat template ({error}): set `template`, for example to \"chatml\"")
            })?,
        };
        let default_system = config.default_system.clone().map(|text| Turn { role: Role::System, text });
        let writer = Self { model, template, default_system, context_tokens };
        let hello = Turn { role: Role::User, text: "hello".to_owned() };
        match writer.write(&[hello], "") {
            Err(Unwritable::Template(error)) => {
                Err(format!("llama.cpp does not know the weights' chat template ({error}): set `template`"))
            }
            _ => Ok(writer),
        }
    }

    /// The conversation, up to where the assistant speaks, and what it has already said.
    pub(super) fn write(&self, turns: &[Turn], committed: &str) -> Result<Prompt, Unwritable> {
        // A turn costs a token or more, however short it is.
        let bytes = turns.iter().map(|turn| turn.text.len() + MOST_BYTES_A_TOKEN).sum::<usize>() + committed.len();
        if bytes > self.context_tokens * MOST_BYTES_A_TOKEN {
            return Err(self.too_long(bytes / USUAL_BYTES_A_TOKEN));
        }
        let turns = self.with_system(turns);
        let rendered = self.render(&turns).map_err(Unwritable::Template)?;
        let mut tokens = self.tokens(&rendered, &turns);
        if tokens.is_empty() {
            return Err(Unwritable::Template("the template leaves nothing of the messages".to_owned()));
        }
        let start_of_answer = tokens.len();
        tokens.extend(self.model.vocab().tokenize(committed.as_bytes(), false, false));
        // One token at least must be left for the answer.
        if tokens.len() >= self.context_tokens {
            return Err(self.too_long(tokens.len()));
        }
        Ok(Prompt { committed: tokens.len() - start_of_answer, tokens })
    }

    fn too_long(&self, prompt: usize) -> Unwritable {
        Unwritable::TooLong(TooLong { prompt, context: self.context_tokens })
    }

    fn with_system<'a>(&self, turns: &'a [Turn]) -> Cow<'a, [Turn]> {
        match &self.default_system {
            Some(system) if turns.iter().all(|turn| turn.role != Role::System) => {
                Cow::Owned(std::iter::once(system).chain(turns).cloned().collect())
            }
            _ => Cow::Borrowed(turns),
        }
    }

    /// The template, with a mark in place of each message's text.
    fn render(&self, turns: &[Turn]) -> Result<String, String> {
        let message = |(index, turn): (usize, &Turn)| LlamaChatMessage::new(turn.role.name().to_owned(), mark(index));
        let messages: Vec<_> =
            turns.iter().enumerate().map(message).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        self.model.apply_chat_template(&self.template, &messages, true).map_err(|error| error.to_string())
    }

    /// The rendered template as tokens, with each message's text in the place of its mark.
    ///
    /// Control tokens are read in the template only. In one piece a message that holds `<|im_end|>` could end
    /// its own turn and speak as somebody else.
    fn tokens(&self, rendered: &str, turns: &[Turn]) -> Vec<LlamaToken> {
        let vocab = self.model.vocab();
        let mut tokens = Vec::new();
        let mut rest = rendered;
        for (index, turn) in turns.iter().enumerate() {
            // A template may leave a message out, as some do with system messages.
            let Some((before, after)) = rest.split_once(mark(index).as_str()) else { continue };
            tokens.extend(vocab.tokenize(before.as_bytes(), tokens.is_empty(), true));
            tokens.extend(vocab.tokenize(turn.text.as_bytes(), false, false));
            rest = after;
        }
        tokens.extend(vocab.tokenize(rest.as_bytes(), tokens.is_empty(), true));
        tokens
    }
}

/// Stands for one message's text. Private-use characters, which no template has.
fn mark(index: usize) -> String {
    format!("\u{E000}{index}\u{E001}")
}
