//! Text that grows up to a bound, and no further.

use crate::Unreadable;
use std::io;

/// Text under construction.
pub(crate) struct Text {
    letters: String,
    bound: usize,
    /// Bytes at the end of a write that begin a character whose rest comes with the next one.
    partial: Vec<u8>,
}

impl Text {
    pub(crate) fn new(bound: usize) -> Self {
        Self { letters: String::new(), bound, partial: Vec::new() }
    }

    pub(crate) fn push(&mut self, text: &str) -> Result<(), Unreadable> {
        if text.len() > self.bound.saturating_sub(self.letters.len()) {
            return Err(Unreadable::TooLarge(format!("its text has more than {} bytes", self.bound)));
        }
        self.letters.push_str(text);
        Ok(())
    }

    /// Ends the line, unless it is blank already: paragraphs are parted by one empty line at most.
    pub(crate) fn end_line(&mut self) -> Result<(), Unreadable> {
        let kept = self.letters.trim_end_matches([' ', '\t']).len();
        self.letters.truncate(kept);
        if self.letters.is_empty() || self.letters.ends_with("\n\n") { Ok(()) } else { self.push("\n") }
    }

    /// Ends the line, where there is one.
    pub(crate) fn break_line(&mut self) -> Result<(), Unreadable> {
        if self.letters.is_empty() || self.letters.ends_with('\n') { Ok(()) } else { self.end_line() }
    }

    pub(crate) fn ends_with_space(&self) -> bool {
        self.letters.chars().next_back().is_none_or(char::is_whitespace)
    }

    /// Takes back such letters from the end.
    pub(crate) fn trim_end(&mut self, letters: &[char]) {
        let kept = self.letters.trim_end_matches(letters).len();
        self.letters.truncate(kept);
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.letters.trim().is_empty()
    }

    pub(crate) fn into_string(self) -> String {
        self.letters
    }
}

/// For readers that write bytes. They write whole characters, but not always in one go.
impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.partial.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.partial) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        };
        let rest = self.partial.split_off(whole);
        let text = String::from_utf8_lossy(&std::mem::replace(&mut self.partial, rest)).into_owned();
        self.push(&text).map_err(|error| io::Error::new(io::ErrorKind::FileTooLarge, error))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
