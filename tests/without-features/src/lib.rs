//! Only tests: see `tests/refused.rs`.
