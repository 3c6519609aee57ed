//! An answer does not depend on how the network cuts it, and one that was cut short is never taken for whole.

use proptest::prelude::*;
use tidewire_backends::{anthropic, gemini, openai};
use tidewire_core::port::{BackendError, Chunk};

type Read = fn(&[&[u8]]) -> Vec<Result<Chunk, BackendError>>;

struct Transcript {
    name: &'static str,
    text: &'static str,
    read: Read,
    /// What the piece that ends it has in it; none where it ends badly.
    end: Option<&'static str>,
}

macro_rules! transcripts {
    ($($read:expr, $end:expr => $($name:literal),+;)+) => {
        [$($(Transcript {
            name: $name,
            text: include_str!(concat!("../transcripts/", $name, ".sse")),
            read: $read,
            end: $end,
        }),+),+]
    };
}

fn of_openai(pieces: &[&[u8]]) -> Vec<Result<Chunk, BackendError>> {
    openai::chunks(pieces.iter().copied())
}

fn of_anthropic(pieces: &[&[u8]]) -> Vec<Result<Chunk, BackendError>> {
    anthropic::chunks(pieces.iter().copied())
}

fn of_gemini(pieces: &[&[u8]]) -> Vec<Result<Chunk, BackendError>> {
    gemini::chunks(pieces.iter().copied())
}

const TRANSCRIPTS: [Transcript; 22] = transcripts! {
    of_openai, Some("\"finish_reason\":\"") =>
        "openai_text", "openai_tools", "openai_refusal", "vllm_reasoning", "llamacpp_logprobs", "azure_text",
        "azure_filtered";
    of_openai, None => "vllm_error";
    of_anthropic, Some("data: {\"type\":\"message_stop\"") =>
        "anthropic_text", "anthropic_tools", "anthropic_thinking", "anthropic_refusal", "anthropic_new_kinds";
    of_anthropic, None => "anthropic_error";
    of_gemini, Some("\"finishReason\":") =>
        "gemini_text", "gemini_tools", "gemini_thinking", "gemini_safety", "gemini_logprobs";
    of_gemini, Some("\"blockReason\":") => "gemini_blocked";
    of_gemini, None => "gemini_error", "gemini_malformed";
};

/// The text with other ends of lines, cut at these places.
fn cut(text: &[u8], places: &[prop::sample::Index]) -> Vec<usize> {
    let mut places: Vec<_> = places.iter().map(|place| place.index(text.len() + 1)).collect();
    places.push(text.len());
    places.sort_unstable();
    places
}

#[test]
fn every_transcript_is_read_in_single_bytes_as_in_one_piece() {
    for Transcript { name, text, read, end } in &TRANSCRIPTS {
        let plain = text.replace("\r\n", "\n");
        let whole = read(&[plain.as_bytes()]);
        let finished = whole.iter().filter(|chunk| matches!(chunk, Ok(Chunk::Finish(_)))).count();
        assert_eq!((finished, whole.last().unwrap().is_ok()), (usize::from(end.is_some()), end.is_some()), "{name}");
        for eol in ["\n", "\r\n", "\r"] {
            let text = plain.replace('\n', eol);
            let bytes: Vec<_> = text.as_bytes().chunks(1).collect();
            assert_eq!(read(&bytes), whole, "{name} {eol:?}");
        }
    }
}

#[test]
fn an_answer_that_is_cut_short_is_never_whole() {
    for Transcript { name, text, read, end } in &TRANSCRIPTS {
        let whole = read(&[text.as_bytes()]);
        // Up to the last byte of the data that says that it ends, which only counts once its line has ended.
        let last = end.map_or(text.len(), |end| {
            let at = text.find(end).unwrap();
            at + text[at..].find(['\r', '\n']).unwrap()
        });
        for length in 0..last {
            let short = read(&[&text.as_bytes()[..length]]);
            let (error, said) = short.split_last().unwrap();
            assert!(error.is_err(), "{name}, {length} bytes: {short:?}");
            assert_eq!(said, &whole[..said.len()], "{name}, {length} bytes");
        }
    }
}

proptest! {
    #[test]
    fn an_answer_does_not_depend_on_its_cuts(
        which in 0..TRANSCRIPTS.len(),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        eol in prop::sample::select(vec!["\n", "\r\n", "\r"]),
    ) {
        let Transcript { name, text, read, .. } = &TRANSCRIPTS[which];
        let text = text.replace("\r\n", "\n").replace('\n', eol);
        let mut pieces = Vec::new();
        let mut from = 0;
        for to in cut(text.as_bytes(), &places) {
            pieces.push(&text.as_bytes()[from..to]);
            from = to;
        }
        prop_assert_eq!(read(&pieces), read(&[text.as_bytes()]), "{}", name);
    }
}
