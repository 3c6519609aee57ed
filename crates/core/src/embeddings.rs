//! What a request for embeddings asks for, in OpenAI's shape (<https://platform.openai.com/docs/api-reference/embeddings>),
//! and a vector as an event holds it.

use crate::port::EmbedInput;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Inputs of one request: as many as OpenAI takes.
pub const MAX_INPUTS: usize = 2048;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What is to be embedded: at least one, and none of them empty.
    pub inputs: Vec<EmbedInput>,
    /// How long each vector is to be.
    pub dimensions: Option<u32>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    input: Option<Input<'a>>,
    #[serde(default)]
    dimensions: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input<'a> {
    #[serde(borrow)]
    Text(Cow<'a, str>),
    Texts(Vec<Cow<'a, str>>),
    Tokens(Vec<u32>),
    ManyTokens(Vec<Vec<u32>>),
}

/// Reads a request. The error says what is wrong with it.
pub fn wanted(request: &[u8]) -> Result<Wanted, String> {
    let body: Body<'_> = serde_json::from_slice(request)
        .map_err(|_| "`input` is a text, a list of texts, a list of tokens, or a list of such lists".to_owned())?;
    let inputs = match body.input {
        None => return Err("`input` is missing: a text, or a list of texts".to_owned()),
        Some(Input::Text(text)) => vec![EmbedInput::Text(text.into_owned())],
        Some(Input::Texts(texts)) => texts.into_iter().map(|text| EmbedInput::Text(text.into_owned())).collect(),
        Some(Input::Tokens(tokens)) => vec![EmbedInput::Tokens(tokens)],
        Some(Input::ManyTokens(many)) => many.into_iter().map(EmbedInput::Tokens).collect(),
    };
    let is_empty = |input: &EmbedInput| match input {
        EmbedInput::Text(text) => text.is_empty(),
        EmbedInput::Tokens(tokens) => tokens.is_empty(),
    };
    if inputs.is_empty() || inputs.iter().any(is_empty) {
        return Err("`input` is empty, or one of its texts is".to_owned());
    }
    if inputs.len() > MAX_INPUTS {
        return Err(format!("`input` has {} texts, and {MAX_INPUTS} fit one request", inputs.len()));
    }
    Ok(Wanted { inputs, dimensions: body.dimensions })
}

/// The data of an `embedding` event: which input it is of, and the vector as 32-bit floats, the lowest byte first, in
/// base 64, which is also how OpenAI's clients ask for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vector<'a> {
    /// Of which input.
    pub index: usize,
    /// The numbers.
    #[serde(borrow)]
    pub embedding: Cow<'a, str>,
}

impl Vector<'_> {
    /// A vector as it is kept.
    pub fn of(index: usize, numbers: &[f32]) -> Self {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self { index, embedding: STANDARD.encode(bytes).into() }
    }

    /// Its numbers; `None` where it is damaged.
    pub fn numbers(&self) -> Option<Vec<f32>> {
        let bytes = STANDARD.decode(self.embedding.as_bytes()).ok()?;
        let (numbers, rest) = bytes.as_chunks();
        rest.is_empty().then(|| numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_of_input_is_read_and_what_is_empty_is_refused() {
        let inputs = |request: &str| wanted(request.as_bytes()).map(|wanted| wanted.inputs);
        let text = |text: &str| EmbedInput::Text(text.to_owned());
        assert_eq!(inputs(r#"{"input":"a\n"}"#).unwrap(), [text("a\n")]);
        assert_eq!(inputs(r#"{"input":["a","b"],"model":"m"}"#).unwrap(), [text("a"), text("b")]);
        assert_eq!(inputs(r#"{"input":[1,2]}"#).unwrap(), [EmbedInput::Tokens(vec![1, 2])]);
        assert_eq!(inputs(r#"{"input":[[1],[2]]}"#).unwrap().len(), 2);
        for wrong in ["{}", r#"{"input":""}"#, r#"{"input":[]}"#, r#"{"input":["a",""]}"#, r#"{"input":5}"#, "x"] {
            assert!(inputs(wrong).is_err(), "{wrong}");
        }
        let many = format!(r#"{{"input":["a"{}]}}"#, r#","a""#.repeat(MAX_INPUTS));
        assert!(inputs(&many).unwrap_err().contains("2048"));
    }

    #[test]
    fn a_vector_survives_its_event() {
        let numbers = [0.25, -1.0, f32::MIN_POSITIVE];
        let json = serde_json::to_vec(&Vector::of(3, &numbers)).unwrap();
        let back: Vector<'_> = serde_json::from_slice(&json).unwrap();
        assert_eq!((back.index, back.numbers().unwrap()), (3, numbers.to_vec()));
        assert_eq!(Vector { index: 0, embedding: "AAA=".into() }.numbers(), None);
    }
}
