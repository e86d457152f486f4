//! The firmware's logic that knows no board: what a board gives it are traits of `embedded-hal` and
//! `embedded-io`.
#![no_std]

#[cfg(test)]
extern crate alloc;

#[cfg(feature = "forecast")]
mod forecast;
#[cfg(feature = "audio")]
mod halve;
#[cfg(feature = "audio")]
mod hear;
mod kernels;
mod light;
mod motion;
mod serve;
#[cfg(feature = "audio")]
mod sound;
#[cfg(feature = "audio")]
mod spotter;
pub mod text;
#[cfg(feature = "storage")]
pub mod update;

#[cfg(feature = "forecast")]
pub use forecast::forecast;
#[cfg(feature = "audio")]
pub use halve::Halver;
#[cfg(feature = "audio")]
pub use hear::hear;
pub use kernels::compare_kernels;
pub use light::Light;
pub use motion::{Motion, MotionError, RATE};
pub use serve::{Cost, Error, Meter, Network, serve};
#[cfg(feature = "audio")]
pub use sound::{Playback, Recorder, Sound};
#[cfg(feature = "audio")]
pub use spotter::{Spotter, SpotterError, window};
