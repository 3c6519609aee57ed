//! How many tokens a request has: counted by the model's tokenizer where one is known, else estimated by its bytes.

mod counter;
mod request;

pub use counter::Counter;
pub use request::{Pieces, estimate, pieces};

use std::sync::Arc;

/// A token of most text is about four bytes of JSON.
pub const BYTES_PER_TOKEN: u64 = 4;

/// Counts the tokens of a text, as the model would see it.
pub trait Tokenizer: Send + Sync {
    /// How many tokens the text has. Linear in its length, also in the worst case.
    fn count(&self, text: &str) -> u64;
}

/// Which model has which tokenizer.
pub trait Tokenizers: Send + Sync {
    /// The tokenizer of a model by its backend's name for it; none where it is not published.
    fn of(&self, model: &str) -> Option<Arc<dyn Tokenizer>>;
}

/// Knows no tokenizer: every count is an estimate.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTokenizers;

impl Tokenizers for NoTokenizers {
    fn of(&self, _: &str) -> Option<Arc<dyn Tokenizer>> {
        None
    }
}

/// A text without a tokenizer that came in pieces of more than this many bytes each came in bundles of tokens: most
/// vocabularies have next to no longer tokens.
const BYTES_OF_LONG_TOKEN: u64 = 16;

/// The tokens of what a model wrote, where it did not say. `pieces` is how many chunks it came in: most models send
/// each token by itself.
pub fn written(text_bytes: u64, pieces: u64) -> u64 {
    if text_bytes > pieces.saturating_mul(BYTES_OF_LONG_TOKEN) { text_bytes / BYTES_PER_TOKEN } else { pieces }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_tokens_unless_they_are_bundles_of_them() {
        assert_eq!(written(0, 0), 0);
        assert_eq!(written(40, 10), 10, "a token a piece");
        assert_eq!(written(4000, 10), 1000, "a hundred tokens a piece");
    }
}
