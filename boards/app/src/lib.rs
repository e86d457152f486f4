//! The firmware's logic that knows no board: what a board gives it are traits of `embedded-io`.
#![no_std]

#[cfg(test)]
extern crate alloc;

#[cfg(feature = "audio")]
mod hear;
mod kernels;
mod serve;
pub mod text;

#[cfg(feature = "audio")]
pub use hear::hear;
pub use kernels::compare_kernels;
pub use serve::{Cost, Error, Meter, Network, serve};
