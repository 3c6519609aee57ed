//! Crockford's base 32 (<https://www.crockford.com/base32.html>) of 128 bits: 26 letters that sort as the
//! number does and that people can read aloud.

use std::fmt::{self, Write};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LETTERS: u32 = 26;

pub(super) fn encode(number: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for place in (0..LETTERS).rev() {
        let digit = (number >> (place * 5)) & 31;
        f.write_char(char::from(ALPHABET[usize::try_from(digit).unwrap_or(0)]))?;
    }
    Ok(())
}

pub(super) fn decode(text: &str) -> Option<u128> {
    if text.len() != LETTERS as usize {
        return None;
    }
    let mut number: u128 = 0;
    for letter in text.bytes() {
        let digit = ALPHABET.iter().position(|&known| known == letter.to_ascii_lowercase())?;
        // The first letter holds the top 3 bits alone: a higher one would fall off the end.
        if number >> 123 != 0 {
            return None;
        }
        number = (number << 5) | digit as u128;
    }
    Some(number)
}
