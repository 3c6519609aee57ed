//! What goes to the user's terminal: text as it comes, notes that stand back, and no control codes from a model.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

/// Where text and notes go, and whether they may have colours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    /// Stdout is a person's screen.
    pub(crate) text: bool,
    /// Stderr is.
    pub(crate) notes: bool,
    colours: bool,
}

impl Terminal {
    /// What this process was given. `NO_COLOR` is honoured (<https://no-color.org>).
    // The setting is the terminal's, not the program's, so it has no place in the configuration.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn detect() -> Self {
        let plain = std::env::var("NO_COLOR").is_ok_and(|value| !value.is_empty());
        Self { text: io::stdout().is_terminal(), notes: io::stderr().is_terminal(), colours: !plain }
    }

    /// Writes to stdout at once.
    pub(crate) fn write(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(if self.text { printable(text) } else { Cow::Borrowed(text) }.as_bytes())?;
        out.flush()
    }

    /// Writes text that is not the answer itself, such as reasoning; only to a person.
    pub(crate) fn aside(self, text: &str) -> io::Result<()> {
        if !self.text {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(self.dim(self.text, &printable(text)).as_bytes())?;
        out.flush()
    }

    /// Writes a line to stderr.
    pub(crate) fn note(self, line: &str) -> io::Result<()> {
        writeln!(io::stderr().lock(), "{}", self.dim(self.notes, &printable(line)))
    }

    fn dim(self, terminal: bool, text: &str) -> Cow<'_, str> {
        if terminal && self.colours { Cow::Owned(format!("\x1b[2m{text}\x1b[0m")) } else { Cow::Borrowed(text) }
    }
}

/// Text without control characters: an answer must not move the cursor, retitle the window or paste for the user.
fn printable(text: &str) -> Cow<'_, str> {
    let hidden = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    if text.contains(hidden) {
        Cow::Owned(text.chars().filter(|letter| !hidden(*letter)).collect())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_model_can_t_steer_the_terminal() {
        assert_eq!(printable("a\n\tb é"), "a\n\tb é");
        assert_eq!(printable("\x1b]0;owned\x07\x1b[2Jx\r"), "]0;owned[2Jx");
    }
}
