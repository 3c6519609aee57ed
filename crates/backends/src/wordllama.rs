//! A model that only embeds, in this process and in microseconds: a vector for each token, added up (`WordLlama`). It knows which
//! words a text has and nothing of their order.

mod table;
mod tokenizer;

use async_trait::async_trait;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use table::Table;
use tidewire_core::Usage;
use tidewire_core::port::{
    Backend, BackendError, EmbedInput, EmbedRequest, Embedded, Embedder, Fault, Model, Request, Run,
};
use tokenizer::Tokenizer;
use tokio::sync::OnceCell;

/// Tokens of one text: what `OpenAI`'s models take. A table could add up any number, but the sum of a longer text
/// is much like that of every other.
pub const MAX_TOKENS: usize = 8192;

/// After so many tokens a call lets others run, and can be dropped: two to three milliseconds.
const TURN_TOKENS: usize = 4096;

/// A table and its tokenizer. Both are read at the first use: until then they take no memory.
pub struct WordLlama {
    name: Arc<str>,
    weights: PathBuf,
    loaded: OnceCell<Arc<Loaded>>,
}

struct Loaded {
    tokenizer: Tokenizer,
    table: Table,
}

/// Why a model can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file is not there, or can't be read.
    #[error("{}: {error}; scripts/fetch-model.sh fetches the built-in one", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {problem}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl WordLlama {
    /// The model in a `.safetensors` file that has `tokenizer.json` beside it, under this name.
    pub fn new(name: impl Into<Arc<str>>, weights: impl Into<PathBuf>) -> Result<Self, LoadError> {
        let model = Self { name: name.into(), weights: weights.into(), loaded: OnceCell::new() };
        for path in [model.weights.clone(), beside(&model.weights)] {
            std::fs::metadata(&path).map_err(|error| LoadError::Unreadable { path, error })?;
        }
        Ok(model)
    }

    async fn loaded(&self) -> Result<&Arc<Loaded>, BackendError> {
        let load = || async {
            let weights = self.weights.clone();
            // 16 MB to read and 60,000 rules to sort: some 40 ms, too long for a thread that serves others.
            let loading = tokio::task::spawn_blocking(move || Loaded::from(&weights)).await;
            let loaded = loading.map_err(|error| BackendError::new(Fault::Broken, error.to_string()))?;
            loaded.map(Arc::new).map_err(|error| BackendError::new(Fault::Broken, error.to_string()))
        };
        self.loaded.get_or_try_init(load).await
    }
}

fn beside(weights: &Path) -> PathBuf {
    weights.with_file_name("tokenizer.json")
}

impl Loaded {
    fn from(weights: &Path) -> Result<Self, LoadError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| LoadError::Unreadable { path: path.to_path_buf(), error })
        };
        let unusable = |path: &Path| {
            let path = path.to_path_buf();
            move |problem| LoadError::Unusable { path, problem }
        };
        let table = Table::read(&read(weights)?).map_err(unusable(weights))?;
        let words = beside(weights);
        let tokenizer = Tokenizer::read(&read(&words)?).map_err(unusable(&words))?;
        if tokenizer.size() > table.rows() {
            let problem = format!("it has {} tokens, and the table {} rows", tokenizer.size(), table.rows());
            return Err(unusable(&words)(problem));
        }
        Ok(Self { tokenizer, table })
    }

    fn tokens(&self, input: &EmbedInput) -> Result<Vec<u32>, BackendError> {
        let tokens = match input {
            // So long a text has too many tokens however they fall: that is known without looking for them.
            EmbedInput::Text(text) if text.len() > MAX_TOKENS.saturating_mul(self.tokenizer.longest_bytes()) => {
                return Err(too_long(format_args!("more than {MAX_TOKENS}")));
            }
            EmbedInput::Text(text) => self.tokenizer.tokens(text),
            EmbedInput::Tokens(tokens) => tokens.clone(),
        };
        if tokens.len() > MAX_TOKENS {
            return Err(too_long(format_args!("{}", tokens.len())));
        }
        if let Some(unknown) = tokens.iter().find(|token| **token as usize >= self.table.rows()) {
            let message = format!("the token {unknown} is none of this model's {}", self.table.rows());
            return Err(BackendError::new(Fault::InvalidRequest, message));
        }
        Ok(tokens)
    }
}

fn too_long(tokens: std::fmt::Arguments<'_>) -> BackendError {
    let message = format!("a text has {tokens} tokens, and this model takes {MAX_TOKENS}: embed its parts");
    BackendError::new(Fault::ContextTooLong, message)
}

#[async_trait]
impl Embedder for WordLlama {
    // Nothing here waits, so the request's timeouts have nothing to bound.
    async fn embed(&self, request: EmbedRequest) -> Result<Embedded, BackendError> {
        if request.model != self.name {
            let message = format!("no model here is called `{}`", request.model);
            return Err(BackendError::new(Fault::UnknownModel, message));
        }
        let loaded = self.loaded().await?;
        let all = loaded.table.columns();
        let dimensions = request.dimensions.map_or(all, |wanted| usize::try_from(wanted).unwrap_or(usize::MAX));
        if !(1..=all).contains(&dimensions) {
            let message = format!("`dimensions` of this model is from 1 to {all}");
            return Err(BackendError::new(Fault::InvalidRequest, message));
        }
        let (mut vectors, mut count, mut turn) = (Vec::with_capacity(request.inputs.len()), 0, 0);
        for input in &request.inputs {
            let tokens = loaded.tokens(input)?;
            vectors.push(loaded.table.embed(&tokens, dimensions));
            count += tokens.len() as u64;
            turn += tokens.len();
            if turn >= TURN_TOKENS {
                turn = 0;
                tokio::task::yield_now().await;
            }
        }
        let usage = Usage { input_tokens: count, ..Usage::default() };
        Ok(Embedded { vectors, usage, limits: Vec::new() })
    }
}

#[async_trait]
impl Backend for WordLlama {
    async fn run(&self, _: Request) -> Result<Run, BackendError> {
        let message = format!("the model `{}` only embeds: it takes `input`, no `messages`", self.name);
        Err(BackendError::new(Fault::InvalidRequest, message))
    }

    async fn models(&self) -> Result<Vec<Model>, BackendError> {
        let context_tokens = u32::try_from(MAX_TOKENS).ok();
        Ok(vec![Model { name: self.name.to_string(), context_tokens }])
    }
}
