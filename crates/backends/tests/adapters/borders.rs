//! An answer does not depend on how the network cuts it, and one that was cut short is never taken for whole.

use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use tidewire_backends::{anthropic, gemini, openai};
use tidewire_core::port::{BackendError, Chunk};

pub(crate) type Read = fn(&[&[u8]]) -> Vec<Result<Chunk, BackendError>>;

pub(crate) struct Transcript {
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    pub(crate) read: Read,
    /// What the piece that ends it has in it; none where it ends badly.
    pub(crate) end: Option<&'static str>,
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

pub(crate) const TRANSCRIPTS: [Transcript; 22] = transcripts! {
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

/// Up to which byte an answer is not whole: the last one of the data that says that it ends, which only counts once its line
/// has ended.
pub(crate) fn not_whole_before(text: &str, end: Option<&str>) -> usize {
    end.map_or(text.len(), |end| {
        let at = text.find(end).unwrap();
        at + text[at..].find(['\r', '\n']).unwrap()
    })
}

/// What a reader makes wrong of an answer that was cut short, if anything.
fn wrong_where_cut_short(read: Read, text: &str, end: Option<&str>) -> Option<String> {
    let whole = read(&[text.as_bytes()]);
    (0..not_whole_before(text, end)).find_map(|length| {
        let short = read(&[&text.as_bytes()[..length]]);
        let (last, said) = short.split_last()?;
        let right = last.is_err() && whole.get(..said.len()) == Some(said);
        (!right).then(|| format!("{length} bytes: {short:?}"))
    })
}

#[test]
fn an_answer_that_is_cut_short_is_never_whole() {
    for Transcript { name, text, read, end } in &TRANSCRIPTS {
        assert_eq!(wrong_where_cut_short(*read, text, *end), None, "{name}");
    }
}

/// One transcript, its ends of lines, and where it is cut.
type Cuts = (usize, Vec<prop::sample::Index>, &'static str);

fn cuts() -> impl Strategy<Value = Cuts> {
    let places = prop::collection::vec(any::<prop::sample::Index>(), 0..20);
    (0..TRANSCRIPTS.len(), places, prop::sample::select(vec!["\n", "\r\n", "\r"]))
}

/// An answer does not depend on its cuts, however it is read.
fn is_read_alike(with: Option<Read>, (which, places, eol): Cuts) -> Result<(), TestCaseError> {
    let Transcript { name, text, read, .. } = &TRANSCRIPTS[which];
    let read = with.unwrap_or(*read);
    let text = text.replace("\r\n", "\n").replace('\n', eol);
    let mut pieces = Vec::new();
    let mut from = 0;
    for to in cut(text.as_bytes(), &places) {
        pieces.push(&text.as_bytes()[from..to]);
        from = to;
    }
    prop_assert_eq!(read(&pieces), read(&[text.as_bytes()]), "{}", name);
    Ok(())
}

proptest! {
    #[test]
    fn an_answer_does_not_depend_on_its_cuts(cuts in cuts()) {
        is_read_alike(None, cuts)?;
    }
}

/// Loses the byte after each border: as a reader that forgets the beginning of a line would.
fn forgetful(pieces: &[&[u8]]) -> Vec<Result<Chunk, BackendError>> {
    let kept = pieces.iter().enumerate().map(|(at, piece)| &piece[usize::from(at > 0).min(piece.len())..]);
    openai::chunks(kept)
}

/// Takes the end of the connection for the end of the answer.
fn credulous(pieces: &[&[u8]]) -> Vec<Result<Chunk, BackendError>> {
    let mut items = openai::chunks(pieces.iter().copied());
    if items.last().is_some_and(Result::is_err) {
        items.pop();
        items.push(Ok(Chunk::Finish("stop".into())));
    }
    items
}

#[test]
fn a_reader_that_loses_what_a_border_runs_through_is_found() {
    let found = TestRunner::deterministic().run(&cuts(), |cuts| is_read_alike(Some(forgetful), cuts));
    assert!(matches!(found, Err(TestError::Fail(..))), "{found:?}");
}

#[test]
fn a_reader_that_takes_any_end_for_a_whole_answer_is_found() {
    let Transcript { name, text, end, .. } = &TRANSCRIPTS[0];
    assert!(wrong_where_cut_short(credulous, text, *end).is_some(), "{name}");
}
