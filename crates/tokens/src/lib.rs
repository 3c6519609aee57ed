//! The tokenizers of models whose vocabulary is public and small enough to carry along: OpenAI's.
//!
//! A vocabulary is read when its first text is counted, which takes tens of milliseconds: [`OpenAi::warm`] does it before.

use bpe_openai::Tokenizer as Bpe;
use std::sync::Arc;
use tidewire_core::tokens::{Tokenizer, Tokenizers};

/// Knows OpenAI's models by name.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenAi;

/// Which vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vocabulary {
    O200k,
    Cl100k,
}

/// Beginnings of the names of models, as OpenAI's `tiktoken` has them (`tiktoken/model.py`), the longer ones first.
/// A model that only sounds like one of them (`gpt-4all`) is not one: what follows is the end, `-`, `.` or `:`.
const MODELS: [(&str, Vocabulary); 15] = [
    ("text-embedding-3-small", Vocabulary::Cl100k),
    ("text-embedding-3-large", Vocabulary::Cl100k),
    ("text-embedding-ada-002", Vocabulary::Cl100k),
    ("gpt-3.5-turbo", Vocabulary::Cl100k),
    ("gpt-35-turbo", Vocabulary::Cl100k),
    ("chatgpt-4o", Vocabulary::O200k),
    ("gpt-4.1", Vocabulary::O200k),
    ("gpt-4.5", Vocabulary::O200k),
    ("gpt-oss", Vocabulary::O200k),
    ("gpt-4o", Vocabulary::O200k),
    ("gpt-4", Vocabulary::Cl100k),
    ("gpt-5", Vocabulary::O200k),
    ("o1", Vocabulary::O200k),
    ("o3", Vocabulary::O200k),
    ("o4-mini", Vocabulary::O200k),
];

impl Vocabulary {
    fn of(model: &str) -> Option<Self> {
        // `openai/gpt-4o`, as routers name it, and `ft:gpt-4o:mine`.
        let name = model.rsplit('/').next().unwrap_or(model);
        let name = name.strip_prefix("ft:").unwrap_or(name);
        let found = MODELS.iter().find(|(known, _)| {
            name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.', ':']))
        });
        found.map(|(_, vocabulary)| *vocabulary)
    }

    fn load(self) -> &'static Bpe {
        match self {
            Self::O200k => bpe_openai::o200k_base(),
            Self::Cl100k => bpe_openai::cl100k_base(),
        }
    }
}

impl Tokenizer for Vocabulary {
    fn count(&self, text: &str) -> u64 {
        self.load().count(text) as u64
    }
}

impl Tokenizers for OpenAi {
    fn of(&self, model: &str) -> Option<Arc<dyn Tokenizer>> {
        // A known name costs a small allocation, an unknown one nothing.
        Vocabulary::of(model).map(|vocabulary| Arc::new(vocabulary) as Arc<dyn Tokenizer>)
    }
}

impl OpenAi {
    /// Reads the vocabulary of a model, so that its first request does not wait for it.
    pub fn warm(model: &str) {
        if let Some(vocabulary) = Vocabulary::of(model) {
            vocabulary.load();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_core::tokens::pieces;

    fn count(model: &str, text: &str) -> u64 {
        OpenAi.of(model).unwrap().count(text)
    }

    #[test]
    fn texts_count_as_tiktoken_counts_them() {
        // The table of OpenAI's cookbook, "How to count tokens with tiktoken", section 5.
        for (text, cl100k, o200k) in
            [("antidisestablishmentarianism", 6, 6), ("2 + 2 = 4", 7, 7), ("お誕生日おめでとう", 9, 8)]
        {
            assert_eq!((count("gpt-4", text), count("gpt-4o-mini", text)), (cl100k, o200k), "{text}");
        }
        assert_eq!(count("gpt-4o", ""), 0);
    }

    #[test]
    fn messages_count_as_openai_bills_them() {
        // The example of the same page, section 6, whose answer of the API is 129 for gpt-4 and 124 for gpt-4o.
        let input = serde_json_messages();
        let pieces = pieces(input.as_bytes()).unwrap();
        let all = |model| pieces.fixed + pieces.texts.iter().map(|text| count(model, text)).sum::<u64>();
        assert_eq!((all("gpt-4"), all("gpt-4o")), (129, 124));
    }

    fn serde_json_messages() -> String {
        let system =
            "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.";
        let examples = [
            ("example_user", "New synergies will help drive top-line growth."),
            ("example_assistant", "Things working well together will increase revenue."),
            (
                "example_user",
                "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
            ),
            ("example_assistant", "Let's talk later when we're less busy about how to do better."),
        ];
        let question = "This late pivot means we don't have time to boil the ocean for the client deliverable.";
        let mut messages = vec![format!(r#"{{"role":"system","content":"{system}"}}"#)];
        for (name, text) in examples {
            messages.push(format!(r#"{{"role":"system","name":"{name}","content":"{text}"}}"#));
        }
        messages.push(format!(r#"{{"role":"user","content":"{question}"}}"#));
        format!(r#"{{"messages":[{}]}}"#, messages.join(","))
    }

    #[test]
    fn only_openais_own_models_have_openais_tokenizers() {
        let of = Vocabulary::of;
        assert_eq!(of("gpt-4o-2024-08-06"), Some(Vocabulary::O200k));
        assert_eq!(of("openai/gpt-5-mini"), Some(Vocabulary::O200k));
        assert_eq!(of("ft:gpt-3.5-turbo:acme"), Some(Vocabulary::Cl100k));
        assert_eq!(of("gpt-4-turbo"), Some(Vocabulary::Cl100k));
        assert_eq!(of("gpt-4.1"), Some(Vocabulary::O200k));
        for other in ["gpt-4all", "claude-sonnet-5", "o1x", "gpt-2", "scripted", ""] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
