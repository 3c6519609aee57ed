//! Reads any bytes as an answer of Anthropic's Messages API, whole and in two other cuts: it must not panic, must understand the
//! same each time, and must end once.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewire_backends::anthropic::chunks;
use tidewire_core::port::Chunk;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece_bytes, bytes) = input;
    let whole = chunks(std::iter::once(bytes));
    assert_eq!(whole, chunks(bytes.chunks(1)));
    assert_eq!(whole, chunks(bytes.chunks(usize::from(piece_bytes) + 1)));
    let ends = whole.iter().filter(|item| matches!(item, Err(_) | Ok(Chunk::Finish(_)))).count();
    assert_eq!(ends, 1, "{whole:?}");
    assert!(matches!(whole.last(), Some(Err(_) | Ok(Chunk::Finish(_)))));
});
