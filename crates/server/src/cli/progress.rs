//! The bar that shows how far a long command is: on stderr where that is a terminal, and nothing elsewhere.

use super::terminal::Terminal;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    /// Bytes of so many.
    Bytes(u64),
    /// Bytes of nobody knows how many.
    Stream,
    /// Values; how many is told on the way.
    Values,
}

pub(super) fn bar(of: Of, what: &'static str) -> ProgressBar {
    if !Terminal::detect().notes {
        return ProgressBar::hidden();
    }
    let (bar, template) = match of {
        Of::Bytes(bytes) => {
            (ProgressBar::new(bytes), "{msg:10} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {elapsed}")
        }
        Of::Stream => (ProgressBar::new_spinner(), "{msg:10} {spinner} {bytes} {bytes_per_sec} {elapsed}"),
        Of::Values => (ProgressBar::new(0), "{msg:10} {wide_bar} {human_pos}/{human_len} {per_sec} {elapsed}"),
    };
    // A template that can't be read would show the default bar.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = bar.with_style(style).with_message(what);
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
