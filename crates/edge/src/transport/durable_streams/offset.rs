//! The protocol's offsets: opaque to clients, and sorted as text.

use super::answer::Refused;
use std::fmt;

/// So many digits hold every position that a log reaches, and sort as numbers do.
const DIGITS: usize = 16;

/// A position in a stream, and the epoch of the log that the event before it lies in: a client that comes with
/// the position of a log that was lost is told, and gets nothing else in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) position: u64,
    /// 0 at the very beginning, where it says nothing.
    pub(super) epoch: u32,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0DIGITS$}_{:0DIGITS$}", self.position, self.epoch)
    }
}

impl Token {
    pub(super) fn parse(text: &str) -> Result<Self, Refused> {
        let number = |text: &str| {
            let whole = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
            whole.then(|| text.parse::<u64>().ok()).flatten()
        };
        let parsed = text.split_once('_').and_then(|(position, epoch)| Some((number(position)?, number(epoch)?)));
        let (position, epoch) = parsed.ok_or_else(malformed)?;
        // An epoch that no log can have belongs to no log of this stream: the comparison will tell.
        Ok(Self { position, epoch: u32::try_from(epoch).unwrap_or(u32::MAX) })
    }
}

fn malformed() -> Refused {
    Refused::invalid("`offset` is `-1`, `now`, or what an earlier answer gave as `Stream-Next-Offset`")
}

/// Where a reader wants to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    Start,
    Now,
    At(Token),
}

impl Begin {
    pub(super) fn parse(text: &str) -> Result<Self, Refused> {
        match text {
            "-1" => Ok(Self::Start),
            "now" => Ok(Self::Now),
            token => Token::parse(token).map(Self::At),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tokens_sort_as_positions_do(a in 0..10u64.pow(15), b in 0..10u64.pow(15), one: u32, other: u32) {
            let (first, second) = (Token { position: a, epoch: one }, Token { position: b, epoch: other });
            prop_assert_eq!(Token::parse(&first.to_string()).unwrap(), first);
            if a != b {
                prop_assert_eq!(first.to_string().cmp(&second.to_string()), a.cmp(&b));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = Begin::parse(&text);
        }
    }

    #[test]
    fn only_whole_tokens_are_taken() {
        for wrong in ["", "0", "-2", "0_0", "0000000000000000_000000000000000", "0000000000000000-0000000000000000"] {
            assert!(Begin::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(Begin::parse("+000000000000000_0000000000000000").is_err());
        assert_eq!(Begin::parse("-1").unwrap(), Begin::Start);
        assert_eq!(Begin::parse("now").unwrap(), Begin::Now);
    }
}
