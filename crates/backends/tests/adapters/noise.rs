//! Answers that nobody would send: transcripts with seeded damage, and plain noise. What the fuzz targets ask for, on a stable
//! toolchain and repeatably.

use crate::borders::{TRANSCRIPTS, Transcript, not_whole_before};
use tidewire_backends::sse::{Parser, TooLong};
use tidewire_core::port::Chunk;
use tidewire_testkit::random::Random;

/// Rounds in `make test`, about a second; `make soak` sets more.
const ROUNDS: u64 = 1_500;

/// The parser's limit: below the longest lines of most transcripts, so that it is reached.
const LIMIT_BYTES: usize = 256;

/// The most of one answer: the transcripts have 1 to 6 KB.
const MAX_BYTES: usize = 16 * 1024;

#[allow(clippy::disallowed_methods, reason = "a test reads from a variable how much it should do")]
fn rounds() -> u64 {
    let set = std::env::var("TIDEWIRE_TEST_NOISE").ok();
    set.map_or(ROUNDS, |text| text.parse().expect("TIDEWIRE_TEST_NOISE is a number"))
}

/// Changes an answer in one place.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let (at, to) = (random.place(bytes.len() + 1), random.place(bytes.len() + 1));
    let (from, to) = (at.min(to), at.max(to).min(at.min(to) + 300));
    match random.below(7) {
        0 if from < bytes.len() => bytes[from] ^= 1 << random.below(8),
        1 => drop(bytes.drain(from..to)),
        2 => {
            let again = bytes[from..to].to_vec();
            bytes.splice(from..from, again);
        }
        3 => {
            let other = TRANSCRIPTS[random.place(TRANSCRIPTS.len())].text.as_bytes();
            let begins = random.place(other.len());
            let part = other[begins..].iter().copied().take(random.place(400));
            bytes.splice(from..from, part.collect::<Vec<_>>());
        }
        4 => bytes.truncate(from),
        5 => {
            let words: [&[u8]; 8] = [b"\r", b"\n\n", b"data:", b"{", b"\"", b"null", b"\xff\xfe", b"[DONE]"];
            bytes.splice(from..from, words[random.place(words.len())].iter().copied());
        }
        _ => {
            let noise = (0..random.place(64)).map(|_| random.bits().to_le_bytes()[0]).collect::<Vec<_>>();
            bytes.splice(from..from, noise);
        }
    }
    bytes.truncate(MAX_BYTES);
}

/// The same bytes in pieces of random lengths.
fn pieces<'a>(bytes: &'a [u8], random: &mut Random) -> Vec<&'a [u8]> {
    let most = [2, 7, 100, 5000][random.place(4)];
    let (mut rest, mut pieces) = (bytes, Vec::new());
    while !rest.is_empty() {
        let (piece, later) = rest.split_at((1 + random.place(most)).min(rest.len()));
        pieces.push(piece);
        rest = later;
    }
    pieces
}

#[test]
fn no_noise_makes_a_reader_panic_end_twice_or_depend_on_its_cuts() {
    for seed in 0..rounds() {
        let random = &mut Random::new(seed);
        let Transcript { name, text, .. } = &TRANSCRIPTS[random.place(TRANSCRIPTS.len())];
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..random.below(5) {
            damage(&mut bytes, random);
        }
        // Also by the readers of other APIs.
        let read = TRANSCRIPTS[random.place(TRANSCRIPTS.len())].read;
        let whole = read(&[&bytes]);
        assert_eq!(read(&pieces(&bytes, random)), whole, "seed {seed}: {name}");
        let ends = whole.iter().filter(|item| matches!(item, Err(_) | Ok(Chunk::Finish(_)))).count();
        assert_eq!(ends, 1, "seed {seed}: {name}: {whole:?}");
        assert!(matches!(whole.last(), Some(Err(_) | Ok(Chunk::Finish(_)))), "seed {seed}: {name}: {whole:?}");
    }
}

#[test]
fn an_answer_that_was_cut_short_has_no_clean_end_wherever_its_borders_are() {
    for seed in 0..rounds() {
        let random = &mut Random::new(seed);
        let Transcript { name, text, read, end } = &TRANSCRIPTS[random.place(TRANSCRIPTS.len())];
        let short = &text.as_bytes()[..random.place(not_whole_before(text, *end))];
        let items = read(&pieces(short, random));
        assert!(items.last().is_some_and(Result::is_err), "seed {seed}: {name}: {items:?}");
        assert!(!items.iter().any(|item| matches!(item, Ok(Chunk::Finish(_)))), "seed {seed}: {name}: {items:?}");
    }
}

#[test]
fn the_parser_keeps_to_its_limit_and_finds_the_same_in_any_cut() {
    type Found = (Vec<(Vec<u8>, Vec<u8>)>, Result<(), TooLong>);
    let parse = |pieces: &[&[u8]]| -> Found {
        let (mut parser, mut events) = (Parser::new(LIMIT_BYTES), Vec::new());
        for piece in pieces {
            let fed = parser.feed(piece, |event| events.push((event.name.to_vec(), event.data.to_vec())));
            if fed.is_err() {
                return (events, fed);
            }
        }
        (events, Ok(()))
    };
    let mut refused = 0;
    for seed in 0..rounds() {
        let random = &mut Random::new(seed);
        let mut bytes = TRANSCRIPTS[random.place(TRANSCRIPTS.len())].text.as_bytes().to_vec();
        for _ in 0..random.below(20) {
            damage(&mut bytes, random);
        }
        let whole = parse(&[&bytes]);
        assert_eq!(parse(&pieces(&bytes, random)), whole, "seed {seed}");
        let fits = |(name, data): &(Vec<u8>, Vec<u8>)| name.len() <= LIMIT_BYTES && data.len() <= LIMIT_BYTES;
        assert!(whole.0.iter().all(fits), "seed {seed}: an event beyond the limit");
        refused += u64::from(whole.1.is_err());
    }
    assert!(refused > 0 && refused < rounds(), "the limit is reached by some and not by all: {refused}");
}
