//! Recurrent networks on microcontrollers: RNN, LSTM and GRU in integers, without an allocator,
//! with the weights read in place from flash, and the same bits on every target.
//!
//! The host tool `gatelet` turns trained weights into a `.gate` blob; this crate runs it.
//!
//! ```
//! gatelet::include_model!(
//!     /// Spoken digits: 20 log-mel features a step, ten probabilities.
//!     pub struct Digits,
//!     concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/blobs/digits_lstm_int8_dsp.gate")
//! );
//!
//! let mut net = Digits::new();                       // all state inside; `new` is `const`
//! let x = Digits::quantize(&[-3.5; Digits::INPUTS]); // measurements to integers
//! let y: &[i16; Digits::OUTPUTS] = net.step(&x);     // shapes are the compiler's business
//! let most_likely = (0..Digits::OUTPUTS).max_by_key(|&k| y[k]).unwrap();
//! println!("{:?}", Digits::MODEL.labels().nth(most_likely));
//! ```
//!
//! Blobs that arrive later, say over the air, go through [`Model::from_bytes`] and run in a
//! [`Stream`] over a caller's buffer.
//!
//! # The layers of the house
//! - [`blob`]: the file format. Bytes are validated once, at compile time where they are embedded,
//!   then borrowed.
//! - [`Model`] is what the blob says, a [`Stream`] what one sequence remembers.
//! - The layers, one file per [`LayerKind`], read like their equations; `passes` runs those that go
//!   through a sequence backwards.
//! - The kernels, matrix products and cells: portable Rust defines the answer, a file per
//!   architecture gives the same bits faster: Armv6-M, Armv7-M, Armv7E-M and Armv8-M with DSP,
//!   Armv8.1-M with Helium, RV32IM, x86-64. `build.rs` chooses by target and `target-cpu`.
//! - An encoder-decoder is a model in two parts: [`Stream::encode`] reads a sequence, after
//!   [`Stream::hand_over`] the steps are the decoder's.
//! - [`Vocabulary`]: UTF-8 to tokens and back, by a table in the blob.
//! - [`audio`]: from microphone samples to the features of a network; [`decode`]: from outputs to
//!   decisions.
//! - [`activation`] and [`fixed`]: sigmoid, tanh and softmax in fixed point with their error bounds;
//!   the number formats and the one rounding rule.
//!
//! # What it promises
//! - **No panic, no allocation, no float in a step.** A blob that passes validation can be stepped
//!   forever, whatever it holds. ([`Model::quantize`] is float, at the edge, for who wants it.)
//! - **The same bits everywhere**: every kernel equals the portable one.
//! - **The same work for every input**: no branch in a step depends on data.
//!
//! # Features
//! - `rnn`, `lstm`, `gru`, `variants`, `layer-norm`, `fast`, `embedding`, `bidirectional`, `int16`,
//!   `int4`, `packings` (all on by default): the layers, LSTMs and GRUs with hard sigmoids, peepholes or
//!   a projection, FastRNN and FastGRNN, layers that run backwards, the weights other than int8, and
//!   blobs packed for another core. Left out, they take no flash, and a blob that needs one is refused
//!   by name.
//! - `audio` (on by default): from microphone samples to features and, with it, `trigger`: from
//!   outputs to keyword events.
//! - `forecast` (on by default): [`decode::Forecaster`] and [`decode::Detector`].
//! - `sign`: `Model::from_signed_bytes`, which takes only models that the owner of a key signed.
//! - `storage`: two slots for models in flash, for updates over the air that no power cut can spoil.
//! - `defmt`: `defmt::Format` on the public types.
#![no_std]

pub mod activation;
#[cfg(feature = "audio")]
pub mod audio;
pub mod blob;
pub mod decode;
mod embed;
mod error;
pub mod fixed;
// Not part of the interface: the boards compare a target's kernels with the portable ones.
#[doc(hidden)]
pub mod kernels;
mod layers;
mod model;
mod passes;
#[cfg(feature = "storage")]
pub mod storage;
mod stream;
mod text;

pub use error::Error;
pub use kernels::Row;
pub use layers::{Activation, Layer, LayerKind, Packing, WeightType};
pub use model::Model;
pub use stream::Stream;
pub use text::Vocabulary;
