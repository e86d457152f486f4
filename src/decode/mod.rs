//! From a network's outputs to decisions.

#[cfg(feature = "forecast")]
pub mod anomaly;
#[cfg(feature = "forecast")]
pub mod forecast;
mod sampler;
#[cfg(feature = "trigger")]
pub mod trigger;

#[cfg(feature = "forecast")]
pub use anomaly::Detector;
#[cfg(feature = "forecast")]
pub use forecast::Forecaster;
pub use sampler::{Sampler, largest};
#[cfg(feature = "trigger")]
pub use trigger::Trigger;
