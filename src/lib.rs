//! Integer-only inference for recurrent networks on microcontrollers: no allocator, no floats in
//! the forward pass, no panics, weights read in place from flash, and the same bits on every target.
#![no_std]

pub mod activation;
pub mod blob;
mod embed;
mod error;
pub mod fixed;
// Not part of the interface: the boards compare a target's kernels with the portable ones.
#[doc(hidden)]
pub mod kernels;
mod layers;
mod model;

pub use error::Error;
pub use kernels::Row;
pub use layers::{Activation, Layer, LayerKind, Packing, WeightType};
pub use model::{Model, Stream};
