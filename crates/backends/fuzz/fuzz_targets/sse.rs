//! Feeds the SSE parser any bytes, whole and in two other cuts: it must not panic, must keep to its limit, and must
//! give the same events each time.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewire_backends::sse::{Parser, TooLong};

const LIMIT_BYTES: usize = 256;

type Events = Vec<(Vec<u8>, Vec<u8>)>;

fn parse<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Events, Result<(), TooLong>) {
    let mut parser = Parser::new(LIMIT_BYTES);
    let mut events = Events::new();
    for chunk in chunks {
        let fed = parser.feed(chunk, |event| {
            assert!(event.name.len() <= LIMIT_BYTES && event.data.len() <= LIMIT_BYTES);
            events.push((event.name.to_vec(), event.data.to_vec()));
        });
        if fed.is_err() {
            return (events, fed);
        }
    }
    (events, Ok(()))
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece_bytes, bytes) = input;
    let whole = parse(std::iter::once(bytes));
    assert_eq!(whole, parse(bytes.chunks(1)));
    assert_eq!(whole, parse(bytes.chunks(usize::from(piece_bytes) + 1)));
});
