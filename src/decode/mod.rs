//! From a network's outputs to decisions.

mod sampler;
#[cfg(feature = "trigger")]
pub mod trigger;

pub use sampler::{Sampler, largest};
#[cfg(feature = "trigger")]
pub use trigger::Trigger;
