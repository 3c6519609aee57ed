//! A checksum around every stored value. The store's own journal takes damage in its middle for a torn tail
//! (<https://github.com/fjall-rs/fjall/issues/311>), so what is read is checked here and never believed.

use bytes::{BufMut, Bytes, BytesMut};

/// How values are laid out: a version byte, a CRC-32 of the key, the version and the body, then the body.
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 5;

/// The value is not what was written under this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// A body as it is stored under `key`. The key is part of the checksum, so that a value that got under
/// another key does not pass for that key's own.
pub(super) fn seal(key: &[u8], body: &[&[u8]]) -> Bytes {
    let length: usize = body.iter().map(|part| part.len()).sum();
    let mut value = BytesMut::with_capacity(HEADER_BYTES + length);
    value.put_u8(VERSION);
    value.put_u32_le(0);
    for part in body {
        value.put_slice(part);
    }
    let sum = checksum(key, VERSION, &value[HEADER_BYTES..]);
    value[1..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    value.freeze()
}

/// The body of a stored value, without copying it.
pub(super) fn open(key: &[u8], value: &Bytes) -> Result<Bytes, Damaged> {
    let (header, body) = value.split_first_chunk::<HEADER_BYTES>().ok_or(Damaged)?;
    let [version, sum @ ..] = *header;
    if version != VERSION || u32::from_le_bytes(sum) != checksum(key, version, body) {
        return Err(Damaged);
    }
    Ok(body_of(value))
}

/// The body of a value that this process sealed itself and kept in memory.
pub(super) fn body_of(value: &Bytes) -> Bytes {
    value.slice(HEADER_BYTES.min(value.len())..)
}

fn checksum(key: &[u8], version: u8, body: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(key);
    sum.update(&[version]);
    sum.update(body);
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_flipped_bit_is_seen(key: Vec<u8>, body: Vec<u8>, at: prop::sample::Index, bit in 0..8u8) {
            let value = seal(&key, &[&body]);
            prop_assert_eq!(open(&key, &value), Ok(Bytes::from(body)));
            let mut wrong = value.to_vec();
            let at = at.index(wrong.len());
            wrong[at] ^= 1 << bit;
            prop_assert_eq!(open(&key, &Bytes::from(wrong)), Err(Damaged));
        }
    }

    #[test]
    fn a_value_under_another_key_is_seen() {
        assert_eq!(open(b"b", &seal(b"a", &[b"body"])), Err(Damaged));
        assert_eq!(open(b"a", &Bytes::new()), Err(Damaged));
    }
}
