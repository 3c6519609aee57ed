//! Texts as tokens, as Llama 2 has them: characters first, then the pairs that were merged earliest in training are joined
//! first (byte-pair encoding without any splitting at words). What the vocabulary has no character for goes as bytes.

use serde::Deserialize;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Stands for a space, and before each text.
const SPACE: char = '▁';

/// No neighbour.
const NONE: usize = usize::MAX;

/// A vocabulary and its merges.
pub(super) struct Tokenizer {
    chars: HashMap<char, u32>,
    /// The token of each byte.
    bytes: Vec<u32>,
    /// Which two tokens become which one, and how early.
    merges: HashMap<(u32, u32), Merged>,
    longest_bytes: usize,
    size: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Merged {
    rank: u32,
    token: u32,
}

/// What is read of a `tokenizer.json`, in the form of Hugging Face's tokenizers.
#[derive(Deserialize)]
struct File {
    model: Model,
    pre_tokenizer: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    byte_fallback: bool,
    vocab: HashMap<String, u32>,
    merges: Vec<String>,
}

/// A part of the text, in a list that is linked both ways.
struct Part {
    token: u32,
    before: usize,
    after: usize,
    /// It became part of the one before it.
    gone: bool,
}

impl Tokenizer {
    /// Out of a `tokenizer.json`'s bytes.
    pub(super) fn read(file: &[u8]) -> Result<Self, String> {
        let File { model, pre_tokenizer } =
            serde_json::from_slice(file).map_err(|error| format!("it is no tokenizer of Llama 2's kind: {error}"))?;
        if model.kind != "BPE" || !model.byte_fallback || pre_tokenizer.is_some() {
            return Err("it is no tokenizer of Llama 2's kind".to_owned());
        }
        let vocab = &model.vocab;
        let known = |token: &str| vocab.get(token).copied().ok_or_else(|| format!("its vocabulary lacks `{token}`"));
        let bytes = (0..=u8::MAX).map(|byte| known(&format!("<0x{byte:02X}>"))).collect::<Result<_, _>>()?;
        let mut merges = HashMap::with_capacity(model.merges.len());
        for (rank, merge) in (0..).zip(&model.merges) {
            let (left, right) = merge.split_once(' ').ok_or_else(|| format!("`{merge}` is no pair"))?;
            let merged = Merged { rank, token: known(&[left, right].concat())? };
            merges.insert((known(left)?, known(right)?), merged);
        }
        let one = |token: &str| {
            let mut chars = token.chars();
            chars.next().filter(|_| chars.next().is_none())
        };
        Ok(Self {
            chars: vocab.iter().filter_map(|(token, id)| Some((one(token)?, *id))).collect(),
            bytes,
            merges,
            longest_bytes: vocab.keys().map(String::len).max().unwrap_or_default(),
            size: vocab.values().max().map_or(0, |last| *last as usize + 1),
        })
    }

    /// How many tokens there are.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// No token is of more bytes of text than this.
    pub(super) fn longest_bytes(&self) -> usize {
        self.longest_bytes
    }

    /// A text's tokens, none of which begins or ends it. What looks like such a mark in the text is text.
    pub(super) fn tokens(&self, text: &str) -> Vec<u32> {
        if text.is_empty() {
            return Vec::new();
        }
        let mut parts = self.parts(text);
        let mut queue = BinaryHeap::new();
        for left in 0..parts.len() {
            self.consider(&parts, left, &mut queue);
        }
        while let Some(Reverse((merged, left))) = queue.pop() {
            // One of the two may have joined another since.
            if parts[left].gone || self.merge(&parts, left) != Some(merged) {
                continue;
            }
            let right = parts[left].after;
            parts[right].gone = true;
            let after = parts[right].after;
            parts[left].token = merged.token;
            parts[left].after = after;
            if after != NONE {
                parts[after].before = left;
            }
            self.consider(&parts, left, &mut queue);
            if parts[left].before != NONE {
                self.consider(&parts, parts[left].before, &mut queue);
            }
        }
        parts.iter().filter(|part| !part.gone).map(|part| part.token).collect()
    }

    fn parts(&self, text: &str) -> Vec<Part> {
        let mut tokens = Vec::with_capacity(text.len() + 1);
        let spaced = std::iter::once(SPACE).chain(text.chars().map(|char| if char == ' ' { SPACE } else { char }));
        for char in spaced {
            match self.chars.get(&char) {
                Some(token) => tokens.push(*token),
                None => tokens.extend(char.encode_utf8(&mut [0; 4]).bytes().map(|byte| self.bytes[usize::from(byte)])),
            }
        }
        let last = tokens.len() - 1;
        let part = |(index, token): (usize, u32)| Part {
            token,
            before: if index == 0 { NONE } else { index - 1 },
            after: if index == last { NONE } else { index + 1 },
            gone: false,
        };
        tokens.into_iter().enumerate().map(part).collect()
    }

    /// What a part and the one after it become.
    fn merge(&self, parts: &[Part], left: usize) -> Option<Merged> {
        let right = parts.get(parts[left].after)?;
        self.merges.get(&(parts[left].token, right.token)).copied()
    }

    fn consider(&self, parts: &[Part], left: usize, queue: &mut BinaryHeap<Reverse<(Merged, usize)>>) {
        if let Some(merged) = self.merge(parts, left) {
            queue.push(Reverse((merged, left)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(kind: &str, merges: &str) -> String {
        let bytes: Vec<String> = (0..=u8::MAX).map(|byte| format!(r#""<0x{byte:02X}>":{byte},"#)).collect();
        let bytes = bytes.concat();
        let words = r#""▁":256,"a":257,"b":258,"ab":259,"▁ab":260,"ba":261,"aba":262"#;
        format!(
            r#"{{"pre_tokenizer":null,"model":{{"type":"{kind}","byte_fallback":true,"vocab":{{{bytes}{words}}},"merges":[{merges}]}}}}"#
        )
    }

    fn tokens(text: &str) -> Vec<u32> {
        Tokenizer::read(json("BPE", r#""a b","▁ ab","b a","ab a""#).as_bytes()).unwrap().tokens(text)
    }

    #[test]
    fn the_earliest_merge_goes_first_and_from_left_to_right() {
        assert_eq!(tokens("a"), [256, 257]);
        assert_eq!(tokens("ab"), [260], "a space goes before each text");
        assert_eq!(tokens("ba"), [256, 261]);
        assert_eq!(tokens("bab"), [256, 258, 259], "`a b` was merged before `b a`");
        assert_eq!(tokens("bbaba"), [256, 258, 258, 262]);
        assert_eq!(tokens("ab ab"), [260, 260]);
        assert_eq!(tokens(""), Vec::<u32>::new());
    }

    #[test]
    fn a_character_without_a_token_goes_as_bytes() {
        assert_eq!(tokens("aé"), [256, 257, 0xc3, 0xa9]);
        assert_eq!(tokens("🙂"), [256, 0xf0, 0x9f, 0x99, 0x82]);
    }

    #[test]
    fn another_kind_of_tokenizer_is_refused() {
        let refusal = |json: &str| Tokenizer::read(json.as_bytes()).map(|_| ()).unwrap_err();
        assert!(refusal(&json("WordPiece", "")).contains("Llama 2"));
        assert!(refusal(&json("BPE", "").replace("true", "false")).contains("Llama 2"));
        assert!(refusal(&json("BPE", "").replace("null", "{}")).contains("Llama 2"));
        assert!(refusal(&json("BPE", r#""a z""#)).contains("lacks `az`"));
        assert!(refusal("{}").contains("Llama 2"));
    }
}
