//! The bar that shows how far a run is.

use indicatif::{ProgressBar, ProgressStyle};
use std::borrow::Cow;
use std::time::Duration;

/// A bar on stderr where that is a terminal, and nothing elsewhere.
pub(crate) fn bar(shown: bool, length: u64, what: &'static str) -> ProgressBar {
    if !shown {
        return ProgressBar::hidden();
    }
    let template = "{msg:12} {wide_bar} {human_pos}/{human_len} {per_sec} {elapsed}";
    // A template that can't be read would show the default bar.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(length).with_style(style).with_message(Cow::Borrowed(what));
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
