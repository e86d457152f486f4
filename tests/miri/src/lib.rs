//! All that the engine does, small enough for Miri, which interprets a program and stops at the first
//! thing that Rust does not define. `cargo xtask test` runs the tests on this machine, and on s390x,
//! whose bytes are the other way round.
