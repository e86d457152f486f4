//! A blob on the host: read, validated, and run by the very engine that runs on the chip.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use gatelet::blob::format::BLOCK;
use gatelet::decode::largest;
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

/// Refuses sequences that the model cannot take: of other features, or too long.
///
/// # Errors
/// Names what the model takes.
pub fn expect_fit(model: &Model<'_>, x: &Sequences) -> Result<()> {
    x.expect_features(model.inputs())?;
    ensure!(
        x.is_encoded() == (model.encoder() > 0),
        "{}",
        match model.encoder() {
            0 => "the data has an array `encoder`, but the model is no encoder-decoder",
            _ =>
                "the model is an encoder-decoder: the data needs an array `encoder`, how many of \
                  each sequence's steps the encoder reads",
        }
    );
    let most = model.steps();
    if let Some(sample) = x.lengths().iter().position(|length| most > 0 && *length > most) {
        bail!(
            "sample {sample} has {} steps, but this blob reads whole sequences of {most} at most: \
             quantize with --steps {} or more",
            x.lengths()[sample],
            x.lengths().iter().max().unwrap_or(&0)
        );
    }
    Ok(())
}

/// The integer engine's raw outputs for every sequence, each from zero state: `[outputs]` of the
/// last step, or `[length][outputs]` if the model answers at every step.
///
/// # Panics
/// If the sequences do not fit the model; see [`expect_fit`].
pub fn run(model: &Model<'_>, x: &Sequences, progress: &ProgressBar) -> Vec<Vec<i16>> {
    let one = |memory: &mut Vec<u32>, sample: usize| {
        let input = quantize(model, x.sample(sample));
        let mut stream = Stream::new(*model, memory).expect("a buffer as long as the model says");
        let at_every_step = !model.answers_last() && model.steps() == 0;
        let mut outputs = Vec::new();
        let (encoded, input) = input.split_at(x.encoder_steps(sample) * model.inputs());
        encode(&mut stream, encoded);
        for x in input.chunks_exact(model.inputs()) {
            stream.advance(x).expect("sequences that fit the model");
            if at_every_step {
                outputs.extend_from_slice(stream.output());
            }
        }
        if !at_every_step {
            outputs.extend_from_slice(stream.outputs());
        }
        progress.inc(1);
        outputs
    };
    let memory = || vec![0; model.memory_words()];
    (0..x.len()).into_par_iter().map_init(memory, one).collect()
}

/// Runs the steps of the encoder, `[steps][inputs]`, if there are any, and starts the decoder.
///
/// # Panics
/// If there are any, but no encoder.
pub fn encode(stream: &mut Stream<'_, '_>, steps: &[i16]) {
    if !steps.is_empty() {
        for x in steps.chunks_exact(stream.model().inputs()) {
            stream.encode(x).expect("an encoder");
        }
        stream.hand_over();
    }
}

/// What an encoder-decoder over tokens says to the encoder's steps of every sequence; as
/// [`reference::decode`](crate::reference::decode), by the integer engine.
///
/// # Panics
/// If the sequences do not fit the model; see [`expect_fit`].
pub fn decode(model: &Model<'_>, x: &Sequences, most: usize) -> Vec<Vec<i16>> {
    let one = |memory: &mut Vec<u32>, sample: usize| {
        let input = quantize(model, x.sample(sample));
        let mut stream = Stream::new(*model, memory).expect("a buffer as long as the model says");
        encode(&mut stream, &input[..x.encoder_steps(sample) * model.inputs()]);
        let start = model.vocabulary().and_then(|vocabulary| vocabulary.output_start());
        stream.advance(&[start.unwrap_or(0)]).expect("a model over tokens");
        (0..most).map_while(|_| stream.generate(largest)).collect()
    };
    let memory = || vec![0; model.memory_words()];
    (0..x.len()).into_par_iter().map_init(memory, one).collect()
}

/// What the layers of a model remembered and gave, step by step.
pub struct Trace<'a> {
    model: Model<'a>,
    /// `[layer][step]`; empty where a layer did not take a step.
    states: Vec<Vec<Vec<u32>>>,
}

impl<'a> Trace<'a> {
    /// Runs `input`, `[steps][inputs]`, from the zero state; an encoder reads the first
    /// `encoder_steps`.
    ///
    /// # Panics
    /// If the sequence does not fit the model; see [`expect_fit`].
    pub fn new(model: &Model<'a>, input: &[i16], encoder_steps: usize) -> Self {
        let steps = input.len() / model.inputs();
        let mut states = vec![vec![Vec::new(); steps]; model.depth()];
        let mut memory = vec![0; model.memory_words()];
        let mut stream = Stream::new(*model, &mut memory).expect("a buffer as long as needed");
        if model.steps() > 0 {
            stream.run(input).expect("a sequence that fits the model");
            stream.watch(|layer, step, state| states[layer][step] = state.to_vec());
        } else {
            for (step, x) in input.chunks_exact(model.inputs()).enumerate() {
                if step < encoder_steps {
                    stream.encode(x).expect("an encoder");
                } else {
                    if step > 0 && step == encoder_steps {
                        stream.hand_over();
                    }
                    stream.step(x).expect("a step as wide as the model says");
                }
                for (layer, states) in states.iter_mut().enumerate() {
                    if (layer < model.encoder()) == (step < encoder_steps) {
                        states[step] = stream.layer_state(layer).to_vec();
                    }
                }
            }
        }
        Self { model: *model, states }
    }

    /// What the layer gave at the step, `[units]`; none if it did not take the step.
    pub fn output(&self, layer: usize, step: usize) -> Option<&[i16]> {
        let units = self.model.layer(layer)?.units();
        let state: &[i16] = bytemuck::cast_slice(self.states.get(layer)?.get(step)?);
        // The output ends the state.
        let first = state.len().checked_sub(units.next_multiple_of(BLOCK))?;
        state.get(first..first + units)
    }

    /// The cell state of an LSTM after the step, `[cells]`.
    pub fn cells(&self, layer: usize, step: usize) -> Option<&[i32]> {
        let cells = self.model.layer(layer)?.cells();
        bytemuck::cast_slice(self.states.get(layer)?.get(step)?).get(..cells)
    }
}
