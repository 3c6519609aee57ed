//! Counts what a request will use, by what is known of its model and of its route.

use super::{Tokenizer, Tokenizers, estimate, pieces};
use crate::forecast::Forecast;
use std::sync::Arc;

/// Counts requests. The edge asks it what a request will use, and the worker tells it what it did use.
pub struct Counter {
    tokenizers: Arc<dyn Tokenizers>,
    /// What routes have used by now.
    pub forecast: Forecast,
}

impl Counter {
    /// With these tokenizers.
    pub fn new(tokenizers: Arc<dyn Tokenizers>) -> Self {
        Self { tokenizers, forecast: Forecast::default() }
    }

    /// Without any: for tests.
    pub fn without_tokenizers() -> Self {
        Self::new(Arc::new(super::NoTokenizers))
    }

    /// The tokenizer of a model, by its backend's name for it.
    pub fn tokenizer(&self, model: &str) -> Option<Arc<dyn Tokenizer>> {
        self.tokenizers.of(model)
    }

    /// The request's tokens by its bytes, and by how far that was off on its route.
    pub fn estimate(&self, route: &str, input: &[u8], text_bytes: u64) -> u64 {
        self.forecast.input_tokens(route, estimate(input, text_bytes))
    }

    /// The request's tokens by the model's tokenizer; none where that is not known. Takes some 30 ms for a MiB.
    pub fn exact(&self, model: &str, input: &[u8]) -> Option<u64> {
        let tokenizer = self.tokenizer(model)?;
        let pieces = pieces(input)?;
        Some(pieces.fixed + pieces.texts.iter().map(|text| tokenizer.count(text)).sum::<u64>())
    }
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Counter").field("forecast", &self.forecast).finish_non_exhaustive()
    }
}
