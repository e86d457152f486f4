//! Progress bars, for people only.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of `length` sequences on standard error, hidden where that is not a terminal.
pub fn progress(what: &'static str, length: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:12} [{bar:40}] {pos}/{len} {eta}")
        .expect("a template that indicatif accepts")
        .progress_chars("=> ");
    ProgressBar::new(length as u64).with_style(style).with_message(what)
}
