//! The parser against examples from the standard, against a simple second reading of it, and under every split.

use super::{Event, Parser, TooLong};
use proptest::prelude::*;

const LIMIT: usize = 64;

type Owned = (Vec<u8>, Vec<u8>);

fn owned(event: Event<'_>) -> Owned {
    (event.name.to_vec(), event.data.to_vec())
}

fn parse<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Owned>, Result<(), TooLong>) {
    let mut parser = Parser::new(LIMIT);
    let mut events = Vec::new();
    let mut done = Ok(());
    for chunk in chunks {
        done = parser.feed(chunk, |event| events.push(owned(event)));
    }
    (events, done)
}

fn data(text: &str) -> Vec<String> {
    let (events, done) = parse([text.as_bytes()]);
    assert_eq!(done, Ok(()));
    events.into_iter().map(|(_, data)| String::from_utf8(data).unwrap()).collect()
}

/// The standard once more, in the simplest words, for inputs in one piece.
fn reference(bytes: &[u8]) -> (Vec<Owned>, Result<(), TooLong>) {
    let too_long = Err(TooLong { limit_bytes: LIMIT });
    let mut lines = Vec::new();
    let mut line = Vec::new();
    let mut index = 0;
    while index < bytes.len() {
        if matches!(bytes[index], b'\r' | b'\n') {
            lines.push(std::mem::take(&mut line));
            index += usize::from(bytes[index..].starts_with(b"\r\n"));
        } else {
            line.push(bytes[index]);
        }
        index += 1;
    }
    let (mut events, mut name, mut data) = (Vec::new(), Vec::new(), Vec::<Vec<u8>>::new());
    for (number, line) in lines.iter().enumerate() {
        if line.len() > LIMIT {
            return (events, too_long);
        }
        let line = if number == 0 && line.starts_with(b"\xef\xbb\xbf") { &line[3..] } else { &line[..] };
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = if value.starts_with(b" ") { &value[1..] } else { value };
        match &line[..colon] {
            b"" if line.is_empty() => {
                if !data.is_empty() {
                    events.push((name.clone(), data.join(&b'\n')));
                }
                name.clear();
                data.clear();
            }
            b"data" => data.push(value.to_vec()),
            b"event" => name = value.to_vec(),
            _ => {}
        }
        if data.join(&b'\n').len() > LIMIT {
            return (events, too_long);
        }
    }
    if line.len() > LIMIT { (events, too_long) } else { (events, Ok(())) }
}

#[test]
fn the_examples_of_the_standard() {
    assert_eq!(data("data: YHOO\ndata: +2\ndata: 10\n\n"), ["YHOO\n+2\n10"]);
    assert_eq!(
        data(": a comment\n\ndata: first\nid: 1\n\ndata:second\nid\n\ndata:  third\n\n"),
        ["first", "second", " third"]
    );
    assert_eq!(data("data\n\ndata\ndata\n\ndata:"), ["", "\n"]);
    assert_eq!(data("data:test\n\ndata: test\n\n"), ["test", "test"]);
}

#[test]
fn all_three_line_ends_and_their_mixtures() {
    assert_eq!(data("data: a\r\rdata: b\r\n\r\ndata: c\n\ndata: d\r\n\n\rdata: e\n\r"), ["a", "b", "c", "d", "e"]);
}

#[test]
fn a_byte_order_mark_counts_only_at_the_very_beginning() {
    assert_eq!(data("\u{feff}data: a\n\n\u{feff}data: b\n\ndata: c\n\n"), ["a", "c"]);
}

#[test]
fn an_event_without_its_empty_line_is_none() {
    assert_eq!(data("data: a\n\ndata: b\n"), ["a"]);
}

#[test]
fn names_last_for_one_event() {
    let (events, _) = parse([&b"event: error\ndata: a\n\ndata: b\n\nevent: lost\n\ndata: c\n\n"[..]]);
    let named: Vec<_> = events.iter().map(|(name, data)| (&name[..], &data[..])).collect();
    assert_eq!(named, [(&b"error"[..], &b"a"[..]), (b"", b"b"), (b"", b"c")]);
}

#[test]
fn a_long_line_and_a_long_event_are_refused_for_good() {
    for text in ["x".repeat(LIMIT + 1), "data: 0123456789\n".repeat(6)] {
        let mut parser = Parser::new(LIMIT);
        let refused = Err(TooLong { limit_bytes: LIMIT });
        assert_eq!(parser.feed(text.as_bytes(), |_| panic!("no event is whole")), refused);
        assert_eq!(parser.feed(b"\n\ndata: late\n\n", |_| panic!("nothing is read after that")), refused);
    }
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(&b"data: "[..]),
        2 => Just(&b"\n"[..]),
        2 => Just(&b"\r"[..]),
        2 => Just(&b"\r\n"[..]),
        3 => Just(&b"\n\n"[..]),
        1 => Just(&b"event: e"[..]),
        1 => Just(&b"data"[..]),
        1 => Just(&b":"[..]),
        1 => Just(&b" "[..]),
        1 => Just(&b"id: 1"[..]),
        2 => Just("é漢🙂".as_bytes()),
        1 => Just(&b"\xef\xbb\xbf"[..]),
        1 => Just(&b"0123456789012345678901234567"[..]),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events(bytes in text(), cuts in proptest::collection::vec(0..2000usize, 0..12)) {
        let expected = reference(&bytes);
        prop_assert_eq!(&parse([&bytes[..]]), &expected);
        prop_assert_eq!(&parse(bytes.chunks(1)), &expected);
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
        prop_assert_eq!(&parse(chunks), &expected);
    }
}
