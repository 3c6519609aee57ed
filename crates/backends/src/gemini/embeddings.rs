//! Vectors in Gemini's form.

use crate::json::{Array, Object};
use crate::upstream::invalid;
use bytes::Bytes;
use serde::Deserialize;
use tidewire_core::Usage;
use tidewire_core::port::{BackendError, EmbedInput, EmbedRequest, Fault};

/// The longest answer: 100 inputs, the most that the API takes, with 3,072 decimals each, five times over.
pub(super) const MAX_VECTORS_BYTES: usize = 32 * 1024 * 1024;
/// About so many bytes of a text are a token, where the API does not count them.
const BYTES_PER_TOKEN: u64 = 4;

/// The request's body; `model` as it is in the URL.
pub(super) fn body(request: &EmbedRequest, model: &str) -> Result<Bytes, BackendError> {
    let mut requests = Array::default();
    for input in &request.inputs {
        let EmbedInput::Text(text) = input else {
            return Err(invalid("Gemini's API takes texts, not tokens of another model"));
        };
        let mut parts = Array::default();
        parts.push(&Object::default().text("text", text).end());
        let mut one = Object::default();
        one.text("model", model).named("content", &Object::default().named("parts", &parts.end()).end());
        one.maybe("outputDimensionality", request.dimensions.map(|count| count.to_string()).as_deref());
        requests.push(&one.end());
    }
    Ok(Object::default().named("requests", &requests.end()).end().into())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    embeddings: Vec<Entry>,
    #[serde(default)]
    usage_metadata: Option<Tokens>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    values: Vec<f32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tokens {
    #[serde(default)]
    prompt_token_count: Option<u64>,
}

/// One vector for each input, in their order, and what they used.
pub(super) fn parse(body: &[u8], inputs: &[EmbedInput]) -> Result<(Vec<Vec<f32>>, Usage), BackendError> {
    let broken = |message: String| BackendError::new(Fault::Broken, message);
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| broken("the upstream's vectors can't be read".to_owned()))?;
    let vectors: Vec<_> = answer.embeddings.into_iter().map(|entry| entry.values).collect();
    if vectors.len() != inputs.len() || vectors.iter().any(Vec::is_empty) {
        return Err(broken(format!("the upstream gave {} vectors for {} inputs", vectors.len(), inputs.len())));
    }
    let told = answer.usage_metadata.and_then(|tokens| tokens.prompt_token_count);
    let estimate = || {
        let bytes = inputs.iter().map(|input| match input {
            EmbedInput::Text(text) => text.len() as u64,
            EmbedInput::Tokens(tokens) => tokens.len() as u64 * BYTES_PER_TOKEN,
        });
        bytes.sum::<u64>().div_ceil(BYTES_PER_TOKEN)
    };
    let input_tokens = told.unwrap_or_else(estimate);
    Ok((vectors, Usage { input_tokens, estimated: told.is_none(), ..Usage::default() }))
}
