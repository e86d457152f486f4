//! From a network's outputs to decisions.

pub mod trigger;

pub use trigger::Trigger;
