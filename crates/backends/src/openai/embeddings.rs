//! Vectors in OpenAI's form.

use crate::json::{Array, Object, quoted};
use crate::upstream::invalid;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tidewire_core::Usage;
use tidewire_core::port::{BackendError, EmbedInput, EmbedRequest, Fault};

/// The longest answer: 2,048 inputs, the most that OpenAI takes, with 3,072 numbers each, as base64 or a part of them
/// as decimals.
pub(super) const MAX_VECTORS_BYTES: usize = 64 * 1024 * 1024;

/// The request's body. Inputs are all texts or all tokens: the API takes no mixture.
pub(super) fn body(request: &EmbedRequest) -> Result<Bytes, BackendError> {
    let kind = |input: &EmbedInput| matches!(input, EmbedInput::Text(_));
    if request.inputs.windows(2).any(|pair| kind(&pair[0]) != kind(&pair[1])) {
        return Err(invalid("inputs must be all texts or all tokens"));
    }
    let mut inputs = Array::default();
    for input in &request.inputs {
        match input {
            EmbedInput::Text(text) => inputs.push(&quoted(text)),
            EmbedInput::Tokens(tokens) => {
                let mut array = Array::default();
                array.extend(tokens.iter().map(ToString::to_string));
                inputs.push(&array.end());
            }
        }
    }
    let mut object = Object::default();
    // A third of the bytes of decimals. OpenAI's own clients ask for it, so that all servers know it; one that
    // answers in decimals all the same is understood.
    object.text("model", &request.model).named("input", &inputs.end()).text("encoding_format", "base64");
    if let Some(dimensions) = request.dimensions {
        object.named("dimensions", &dimensions.to_string());
    }
    Ok(object.end().into())
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Vec<Entry<'a>>,
    #[serde(default)]
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(default)]
    index: Option<usize>,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

#[derive(Deserialize)]
struct Tokens {
    #[serde(default)]
    prompt_tokens: Option<u64>,
}

/// One vector for each of `count` inputs, in their order, and what they used.
pub(super) fn parse(body: &[u8], count: usize) -> Result<(Vec<Vec<f32>>, Usage), BackendError> {
    let broken = |message: String| BackendError::new(Fault::Broken, message);
    let unreadable = || broken("the upstream's vectors can't be read".to_owned());
    let answer: Answer = serde_json::from_slice(body).map_err(|_| unreadable())?;
    let mut vectors = vec![None; count];
    for (place, entry) in answer.data.iter().enumerate() {
        let vector = vector(entry.embedding.get()).ok_or_else(unreadable)?;
        match vectors.get_mut(entry.index.unwrap_or(place)) {
            Some(slot @ None) => *slot = Some(vector),
            _ => return Err(broken("the upstream gave a vector twice, or for no input".to_owned())),
        }
    }
    let vectors: Option<Vec<_>> = vectors.into_iter().collect();
    let vectors =
        vectors.ok_or_else(|| broken(format!("the upstream gave {} vectors for {count} inputs", answer.data.len())))?;
    let told = answer.usage.and_then(|usage| usage.prompt_tokens);
    Ok((vectors, Usage { input_tokens: told.unwrap_or(0), estimated: told.is_none(), ..Usage::default() }))
}

/// Base64 of little-endian numbers of 32 bits, or decimals.
fn vector(json: &str) -> Option<Vec<f32>> {
    let Some(text) = crate::json::text(json) else { return serde_json::from_str(json).ok() };
    let bytes = STANDARD.decode(text.as_bytes()).ok()?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}
