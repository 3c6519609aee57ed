//! Embeddings that a test can foresee: each input has its own, whatever else is in the same call.

use super::request::Asked;
use super::script::Script;
use base64::Engine;
use serde_json::{Value, json};

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The embedding of a text by its words alone: how often each stands in it, whatever their order.
fn of_words(input: &str, dimensions: usize) -> Vec<f32> {
    let mut places = vec![0.0; dimensions];
    for word in input.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
        places[usize::try_from(hash(&word.to_lowercase()) % dimensions as u64).unwrap()] += 1.0;
    }
    places
}

/// The embedding of an input: a text, or the JSON of its tokens.
pub fn embedding(input: &str, dimensions: usize) -> Vec<f32> {
    // A xorshift for each place.
    let mut state = hash(input);
    let place = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // 16 bits are exact in a float, and so survive every way of writing them.
        f32::from(u16::try_from(state >> 48).unwrap()) / 65_536.0 - 0.5
    };
    (0..dimensions).map(place).collect()
}

/// The inputs of a call: a text, texts, tokens, or lists of tokens.
pub(super) fn inputs(asked: &Asked<'_>) -> Vec<String> {
    let input = asked.input.and_then(|input| serde_json::from_str::<Value>(input.get()).ok());
    let one = |input: &Value| input.as_str().map_or_else(|| input.to_string(), str::to_owned);
    match input {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) if items.first().is_some_and(|item| !item.is_number()) => {
            items.iter().map(one).collect()
        }
        Some(input) => vec![one(&input)],
    }
}

/// The answer to a call with these inputs.
pub(super) fn answer(script: &Script, asked: &Asked<'_>, inputs: &[String]) -> Value {
    let base64 = asked.encoding_format.as_deref() == Some("base64");
    let value = |input: &String| {
        let of = if script.by_words { of_words } else { embedding };
        let places = of(input, script.dimensions);
        if base64 {
            let bytes: Vec<u8> = places.iter().flat_map(|place| place.to_le_bytes()).collect();
            json!(base64::engine::general_purpose::STANDARD.encode(bytes))
        } else {
            json!(places)
        }
    };
    let data: Vec<_> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| json!({"object": "embedding", "index": index, "embedding": value(input)}))
        .collect();
    let tokens = input_tokens(inputs);
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    json!({"object": "list", "data": data, "model": asked.model, "usage": usage})
}

/// One token for each word.
pub(super) fn input_tokens(inputs: &[String]) -> u64 {
    inputs.iter().map(|input| input.split_whitespace().count() as u64).sum()
}
