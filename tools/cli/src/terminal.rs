//! Numbers and progress, as people read them.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of `length` sequences on standard error, hidden where that is not a terminal.
pub fn progress(what: &'static str, length: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:12} [{bar:40}] {pos}/{len} {eta}")
        .expect("a template that indicatif accepts")
        .progress_chars("=> ");
    ProgressBar::new(length as u64).with_style(style).with_message(what)
}

/// A count on standard error of what is not known to end, hidden where that is not a terminal.
pub fn spinner(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:12} {spinner} {pos}")
        .expect("a template that indicatif accepts");
    ProgressBar::new_spinner().with_style(style).with_message(what)
}

/// `12345` as `12,345`.
pub fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).expect("digits are ASCII"))
        .collect();
    groups.join(",")
}

#[test]
fn thousands_are_grouped() {
    assert_eq!(thousands(0), "0");
    assert_eq!(thousands(999), "999");
    assert_eq!(thousands(1_234_567), "1,234,567");
}
