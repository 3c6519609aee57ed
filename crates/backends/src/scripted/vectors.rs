//! Vectors that follow from a text alone, for tests: the same text has the same one everywhere, other texts others.

use super::Scripted;
use async_trait::async_trait;
use tidewire_core::Usage;
use tidewire_core::port::{BackendError, EmbedInput, EmbedRequest, Embedded, Embedder};

/// How long vectors are unless the request says otherwise.
const DIMENSIONS: u32 = 64;
/// The longest: twice the longest of any known model.
const MAX_DIMENSIONS: u32 = 8192;

#[async_trait]
impl Embedder for Scripted {
    async fn embed(&self, request: EmbedRequest) -> Result<Embedded, BackendError> {
        let dimensions = request.dimensions.unwrap_or(DIMENSIONS);
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            return Err(super::invalid(format!("dimensions must be from 1 to {MAX_DIMENSIONS}")));
        }
        let vectors = request.inputs.iter().map(|input| vector(input, dimensions)).collect();
        let input_tokens = request.inputs.iter().map(tokens).sum();
        let usage = Usage { input_tokens, ..Usage::default() };
        Ok(Embedded { vectors, usage, limits: Vec::new() })
    }
}

/// A text has as many tokens as words.
fn tokens(input: &EmbedInput) -> u64 {
    match input {
        EmbedInput::Text(text) => text.split_whitespace().count() as u64,
        EmbedInput::Tokens(tokens) => tokens.len() as u64,
    }
}

/// Of length 1, as those of real models are.
fn vector(input: &EmbedInput, dimensions: u32) -> Vec<f32> {
    let mut state = match input {
        EmbedInput::Text(text) => fnv(text.bytes()),
        EmbedInput::Tokens(tokens) => fnv(tokens.iter().flat_map(|token| token.to_le_bytes())),
    };
    #[allow(clippy::cast_precision_loss)] // 24 bits are what a number of this kind holds.
    let mut vector: Vec<f32> =
        (0..dimensions).map(|_| (next(&mut state) >> 40) as f32 / (1 << 23) as f32 - 1.0).collect();
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    if length > 0.0 {
        for number in &mut vector {
            *number /= length;
        }
    }
    vector
}

/// FNV-1a, of 64 bits.
fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// `SplitMix64`.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
