//! Text in whatever encoding it came.

use crate::Unreadable;
use crate::bounded::Text;
use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8};
use std::borrow::Cow;

/// How much is looked at to guess an encoding: statistics need no more.
const GUESSED_BYTES: usize = 64 * 1024;

pub(crate) fn read(bytes: &[u8], text: &mut Text) -> Result<(), Unreadable> {
    let decoded = decode(bytes, None)?;
    if decoded.contains('\r') {
        return text.push(&decoded.replace("\r\n", "\n").replace('\r', "\n"));
    }
    text.push(&decoded)
}

/// The bytes as text: by their byte order mark, else by what the document itself names, else as UTF-8 where they
/// are that, else by what the letters look like.
pub(crate) fn decode<'a>(bytes: &'a [u8], named: Option<&'static Encoding>) -> Result<Cow<'a, str>, Unreadable> {
    let marked = Encoding::for_bom(bytes).map(|(encoding, _)| encoding);
    let encoding = match marked {
        Some(encoding) => encoding,
        // UTF-16 has NULs too, but says so in its mark.
        None if bytes.contains(&0) => {
            return Err(Unreadable::Unsupported("this kind of file has no text that can be read".to_owned()));
        }
        None if std::str::from_utf8(bytes).is_ok() => UTF_8,
        None => named.unwrap_or_else(|| guess(bytes)),
    };
    Ok(encoding.decode(bytes).0)
}

fn guess(bytes: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(&bytes[..bytes.len().min(GUESSED_BYTES)], bytes.len() <= GUESSED_BYTES);
    detector.guess(None, Utf8Detection::Allow)
}
