//! Turns a model's byte pieces into text that can be shown: whole characters, and never a part of a stop string.

/// Collects pieces until they may be shown.
#[derive(Debug)]
pub(super) struct Text {
    stops: Vec<String>,
    /// The start of a character whose end has not come.
    partial: Vec<u8>,
    /// Whole characters that may begin a stop string.
    held: String,
    /// Bytes that were shown.
    shown: usize,
}

/// What one piece set free.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Released {
    /// Text to show; may be empty.
    pub(super) text: String,
    /// A stop string came: nothing follows.
    pub(super) stopped: bool,
}

impl Text {
    /// Nothing yet.
    pub(super) fn new(stops: Vec<String>) -> Self {
        Self { stops, partial: Vec::new(), held: String::new(), shown: 0 }
    }

    /// Bytes that came in. A token that starts here is shown once [`shown`](Self::shown) is larger.
    pub(super) fn received(&self) -> usize {
        self.shown + self.held.len() + self.partial.len()
    }

    /// Bytes that were shown.
    pub(super) fn shown(&self) -> usize {
        self.shown
    }

    /// Takes a token's bytes, and gives what may be shown now.
    pub(super) fn push(&mut self, piece: &[u8]) -> Released {
        self.partial.extend_from_slice(piece);
        self.decode();
        let first = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        let free = first.unwrap_or_else(|| self.held.len() - self.doubtful());
        let rest = self.held.split_off(free);
        let text = std::mem::replace(&mut self.held, rest);
        self.shown += text.len();
        Released { text, stopped: first.is_some() }
    }

    /// The end: what was held back is no stop string after all. Half a character is dropped.
    pub(super) fn finish(&mut self) -> String {
        self.partial.clear();
        let text = std::mem::take(&mut self.held);
        self.shown += text.len();
        text
    }

    /// Moves whole characters from `partial` to `held`; bytes that no character begins with become U+FFFD.
    fn decode(&mut self) {
        let mut taken = 0;
        for chunk in self.partial.utf8_chunks() {
            self.held.push_str(chunk.valid());
            taken += chunk.valid().len();
            let broken = chunk.invalid();
            let ends_here = taken + broken.len() == self.partial.len();
            // At the end it may be the start of a character, of which at most three bytes can be there.
            if broken.is_empty() || (ends_here && may_continue(broken)) {
                break;
            }
            self.held.push(char::REPLACEMENT_CHARACTER);
            taken += broken.len();
        }
        self.partial.drain(..taken);
    }

    /// How many bytes at the end of `held` a stop string may begin with.
    fn doubtful(&self) -> usize {
        self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0)
    }
}

/// Whether these bytes are the start of a character, cut off before its end.
fn may_continue(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// The longest end of `text` that is a beginning of `stop`, but not all of it.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len().saturating_sub(1));
    (1..=longest).rev().find(|&length| text.as_bytes().ends_with(&stop.as_bytes()[..length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], pieces: &[&[u8]]) -> (Vec<String>, bool) {
        let mut text = Text::new(stops.iter().map(|&stop| stop.to_owned()).collect());
        let mut shown = Vec::new();
        for piece in pieces {
            let released = text.push(piece);
            shown.push(released.text);
            if released.stopped {
                return (shown, true);
            }
        }
        shown.push(text.finish());
        (shown, false)
    }

    #[test]
    fn a_character_split_over_tokens_is_shown_whole() {
        let euro = "€".as_bytes();
        assert_eq!(run(&[], &[&euro[..1], &euro[1..2], &euro[2..]]).0, ["", "", "€", ""]);
    }

    #[test]
    fn bytes_that_are_no_character_are_replaced_and_half_a_one_at_the_end_is_dropped() {
        assert_eq!(run(&[], &[b"a\xFF", b"b\xC3"]).0, ["a\u{FFFD}", "b", ""]);
        assert_eq!(run(&[], &[b"\xC3", b"x"]).0, ["", "\u{FFFD}x", ""]);
    }

    #[test]
    fn a_stop_string_split_over_tokens_never_shows() {
        assert_eq!(run(&["END"], &[b"on E", b"N", b"D of it"]), (["on ", "", ""].map(str::to_owned).to_vec(), true));
    }

    #[test]
    fn text_that_only_looked_like_a_stop_string_comes_later() {
        assert_eq!(run(&["END"], &[b"E", b"N", b"x"]).0, ["", "", "ENx", ""]);
        assert_eq!(run(&["END"], &[b"E", b"N"]).0, ["", "", "EN"]);
    }

    #[test]
    fn the_stop_string_that_begins_first_counts() {
        assert_eq!(run(&["cd", "b"], &[b"abcd"]), (vec!["a".to_owned()], true));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_text_is_the_same(text in ".{0,40}", stop in "[ab]{1,3}", cut in 1_usize..5) {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(cut).collect();
            let (shown, stopped) = run(&[stop.as_str()], &pieces);
            let expected = text.split(stop.as_str()).next().unwrap_or_default();
            prop_assert_eq!(shown.concat(), expected);
            prop_assert_eq!(stopped, text.contains(&stop));
        }
    }
}
