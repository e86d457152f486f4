//! gatelet's own errands.
fn main() {}
