//! A blob on the host: read, validated, and run by the very engine that runs on the chip.

use std::path::Path;

use anyhow::{Context, Result};
use gatelet::{Model, Stream};
use indicatif::ProgressBar;
use rayon::prelude::*;

use crate::data::Sequences;

/// A blob's bytes, at an address that the engine accepts: `u128` is aligned to 16.
pub struct Blob {
    words: Vec<u128>,
    length: usize,
}

impl Blob {
    /// Reads and validates a file.
    ///
    /// # Errors
    /// If it is missing, or the engine refuses it; the message says why.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let blob = Self::new(&bytes);
        blob.model().with_context(|| format!("{} is refused", path.display()))?;
        Ok(blob)
    }

    /// Copies `bytes` to where they are aligned.
    pub fn new(bytes: &[u8]) -> Self {
        let mut words = vec![0u128; bytes.len().div_ceil(16)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self { words, length: bytes.len() }
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.length]
    }

    /// The model inside.
    ///
    /// # Errors
    /// As [`Model::from_bytes`].
    pub fn model(&self) -> Result<Model<'_>, gatelet::Error> {
        Model::from_bytes(self.bytes())
    }
}

/// Quantizes a sequence, `[steps][inputs]`.
pub fn quantize(model: &Model<'_>, features: &[f32]) -> Vec<i16> {
    let mut input = vec![0; features.len()];
    let steps = features.chunks_exact(model.inputs());
    for (x, features) in input.chunks_exact_mut(model.inputs()).zip(steps) {
        model.quantize(features, x);
    }
    input
}

/// What raw outputs, `[..][outputs]`, mean: [`Model::dequantize`] without its rounding.
pub fn dequantize(model: &Model<'_>, raw: &[i16]) -> Vec<f64> {
    let scaling: Vec<_> = (0..model.outputs()).filter_map(|k| model.output_scaling(k)).collect();
    let scaled = raw.iter().zip(scaling.iter().cycle());
    scaled.map(|(v, (mean, step))| f64::from(*mean) + f64::from(*v) * f64::from(*step)).collect()
}

/// The integer engine's raw outputs for every sequence, each from zero state: `[outputs]` of the
/// last step, or `[length][outputs]` if the model answers at every step.
///
/// # Panics
/// If the sequences do not have the model's features; see [`Sequences::expect_features`].
pub fn run(model: &Model<'_>, x: &Sequences, progress: &ProgressBar) -> Vec<Vec<i16>> {
    assert_eq!(model.inputs(), x.features(), "features of the model and of the data");
    let one = |memory: &mut Vec<u32>, sample: usize| {
        let input = quantize(model, x.sample(sample));
        let mut stream = Stream::new(*model, memory).expect("a buffer as long as the model says");
        let mut outputs = Vec::new();
        for x in input.chunks_exact(model.inputs()) {
            stream.advance(x).expect("a step as wide as the model says");
            if !model.answers_last() {
                outputs.extend_from_slice(stream.output());
            }
        }
        if model.answers_last() {
            outputs.extend_from_slice(stream.output());
        }
        progress.inc(1);
        outputs
    };
    let memory = || vec![0; model.memory_words()];
    (0..x.len()).into_par_iter().map_init(memory, one).collect()
}
