//! From the float graph to integers: scales, weights, biases, and the proof that nothing overflows.
//!
//! [`Quantizer`] decides how signals are scaled and which of the possible layers is best, by trying
//! them; `layer` knows what a layer's rows should be, `rows` and `rounding` make them integers.

mod embedding;
mod layer;
mod norm;
mod rounding;
mod rows;

use anyhow::Result;
use gatelet::{LayerKind, Packing, WeightType};

use crate::calibrate::{Feature, Range, Statistics};
use crate::graph::{Graph, Op, Output};
use crate::host::Blob;
use crate::pack::{Notes, pack};
use layer::Signal;

/// Beyond the range seen in calibration: measurements get this much of `i16` to go further.
const HEADROOM: f64 = 2.0;
/// Mean and step of a token: it is its own number.
const TOKEN: (f32, f32) = (0.0, 1.0);
/// Share of a model's parameters up to which the layer that answers keeps 8 bits among 4-bit weights.
const SPARED: f64 = 0.05;
/// Shrinkages of the covariances to try. How far calibration can be trusted, no formula knows.
const SHRINKAGES: [f64; 3] = [0.01, 0.001, 0.1];

/// One matrix row: `multiplier · Σ_groups scale · Σ weights · input`, in units of 2^-16 `z`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Product {
    /// 0 to 32767.
    pub multiplier: i16,
    /// A weight per column; none if the row does not have this matrix.
    pub weights: Vec<i16>,
    /// 4-bit weights only: a factor for each group of columns.
    pub scales: Vec<u8>,
}

/// One row: `z = bias + x + h`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// In units of `z`, the rounding halves of the products included.
    pub bias: i32,
    /// The product with the layer's input.
    pub x: Product,
    /// The product with the layer's own last output.
    pub h: Product,
}

/// A layer in integers.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The framework's name of the layer.
    pub name: String,
    /// What it computes.
    pub kind: LayerKind,
    /// Number format of its weights.
    pub weights: WeightType,
    /// Elements of the input.
    pub inputs: usize,
    /// Elements of the output.
    pub units: usize,
    /// Elements of the memory: the units, but for an LSTM with a projection.
    pub cells: usize,
    /// Value of one unit of the output.
    pub scale: f32,
    /// Fractional bits that `z` has more than the output (scaled outputs only).
    pub shift: u8,
    /// Whether it runs from the sequence's last step to its first.
    pub reverse: bool,
    /// Whether it takes the same input as the layer before it.
    pub beside: bool,
    /// `[gate][cell]`, of an embedding `[token]` with a product each: gates `i f g o`; `z r n` (reset
    /// before); `z r n_x n_h` (reset after).
    pub rows: Vec<Row>,
    /// Rows of a product within the layer: an LSTM's projection, `[unit]`; the right factor of a
    /// recurrent matrix of low rank, `[rank]`.
    pub inner: Vec<Row>,
    /// Bytes of the blob before the rows.
    pub parameters: Vec<u8>,
    /// Bytes of the blob behind the rows: an LSTM's peepholes, what lies between a FastGRNN's biases.
    pub behind: Vec<u8>,
}

/// A model in integers, ready to be packed.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The stack.
    pub layers: Vec<Layer>,
    /// Mean and step of every input feature.
    pub normalization: Vec<(f32, f32)>,
    /// Mean and step of every output, where they are not 0 and the last layer's scale.
    pub output_scaling: Option<Vec<(f32, f32)>>,
    /// Layers of the encoder of an encoder-decoder, else 0.
    pub encoder: usize,
    /// When the output counts.
    pub output: Output,
    /// Most steps of a sequence, if layers read whole ones; else 0.
    pub steps: usize,
}

impl Quantized {
    /// Elements of the output.
    pub fn outputs(&self) -> usize {
        let beside = self.layers.iter().rev().take_while(|layer| layer.beside).count();
        self.layers[self.layers.len() - 1 - beside..].iter().map(|layer| layer.units).sum()
    }

    /// Input features whose widest values, as calibration saw them, saturate, so that the others
    /// keep their precision.
    pub fn saturating(&self, seen: &Statistics) -> Vec<usize> {
        let saturates = |(feature, (mean, step)): (&Feature, &(f32, f32))| {
            let reach = f64::from(*step) * 32768.0;
            let (low, high) = (f64::from(*mean) - reach, f64::from(*mean) + reach);
            feature.all.min < low || feature.all.max > high
        };
        let features = seen.features.iter().zip(&self.normalization).enumerate();
        features.filter(|(_, f)| saturates(*f)).map(|(index, _)| index).collect()
    }
}

/// Quantizes `graph` to weights of one type, by what calibration saw. In a model of 4-bit weights the
/// layer that answers keeps 8 bits, if it is a small part of the model: nothing behind it evens out
/// what its sums lose, so no bytes buy more.
///
/// # Errors
/// If a number of the model does not fit its integer; the message names the layer.
pub fn quantize(graph: &Graph, seen: &Statistics, weights: WeightType) -> Result<Quantized> {
    let quantizer = Quantizer::new(graph, seen, weights)?;
    let mut layers = quantizer.layers(weights)?;
    if let (WeightType::Int4, [before @ .., last]) = (weights, &graph.layers[..])
        && !before.is_empty()
        && matches!(last.op, Op::Dense(_))
        && last.parameters() as f64 <= SPARED * graph.parameters() as f64
    {
        layers[before.len()] = quantizer.layer(before.len(), WeightType::Int8)?;
    }
    quantizer.tune(layers)
}

/// Makes layers of a graph, each on its own: how signals are scaled does not depend on the weights.
pub struct Quantizer<'a> {
    graph: &'a Graph,
    seen: &'a Statistics,
    normalization: Vec<(f32, f32)>,
    /// What each layer is given.
    inputs: Vec<Signal>,
}

impl<'a> Quantizer<'a> {
    /// Chooses the range of the inputs, such that the first layer can have these weights.
    ///
    /// # Errors
    /// As [`quantize()`].
    pub fn new(graph: &'a Graph, seen: &'a Statistics, weights: WeightType) -> Result<Self> {
        if matches!(graph.layers[0].op, Op::Embedding(_)) {
            return Ok(Self::with_normalization(graph, seen, vec![TOKEN]));
        }
        if let Some(step) = seen.input_step {
            let normalization = vec![(0.0, step); graph.inputs()];
            return Ok(Self::with_normalization(graph, seen, normalization));
        }
        let all: Vec<Range> = seen.features.iter().map(|feature| feature.all).collect();
        // A few wild values may cost all the others their precision, or be what the model is about.
        let common = seen.features.iter().any(Feature::is_wild).then(|| {
            let ranges: Vec<Range> = seen.features.iter().map(Feature::usual).collect();
            Self::with_ranges(graph, seen, &ranges, HEADROOM)
        });
        let roomy = Self::with_ranges(graph, seen, &all, HEADROOM);
        let fits = |quantizer: &Self| quantizer.try_layer(0, weights, SHRINKAGES[0]).is_ok();
        match (roomy, common.filter(fits)) {
            (roomy, None) if fits(&roomy) => Ok(roomy),
            (roomy, Some(common)) if fits(&roomy) => {
                let score = |quantizer: &Self| -> Result<f64> {
                    Ok(quantizer.sqnr(&quantizer.layers(weights)?)?.iter().sum())
                };
                Ok(if score(&common)? > score(&roomy)? { common } else { roomy })
            }
            (_, Some(common)) => Ok(common),
            (roomy, None) => {
                // Inputs that move a gate's pre-activation very far leave no room for headroom.
                let tight = Self::with_ranges(graph, seen, &all, 1.0);
                Ok(if fits(&tight) { tight } else { roomy })
            }
        }
    }

    /// The quantizer that made `model`.
    pub fn of(graph: &'a Graph, seen: &'a Statistics, model: &Quantized) -> Self {
        Self::with_normalization(graph, seen, model.normalization.clone())
    }

    fn with_ranges(
        graph: &'a Graph,
        seen: &'a Statistics,
        ranges: &[Range],
        headroom: f64,
    ) -> Self {
        let mut ranges = ranges.to_vec();
        if matches!(graph.layers[0].op, Op::LayerNorm(_)) {
            // It compares the features with each other: one mean and step for all.
            let min = ranges.iter().fold(f64::INFINITY, |a, range| a.min(range.min));
            let max = ranges.iter().fold(f64::NEG_INFINITY, |a, range| a.max(range.max));
            ranges.fill(Range { min, max });
        }
        let normalization = ranges.iter().map(|range| {
            let mean = ((range.min + range.max) / 2.0) as f32;
            let reach = (range.max - f64::from(mean)).max(f64::from(mean) - range.min) * headroom;
            // A feature that never moved still gets a step to move by.
            let reach = if reach > 0.0 { reach } else { f64::from(mean.abs().max(1.0)) };
            (mean, (reach / 32767.0) as f32)
        });
        Self::with_normalization(graph, seen, normalization.collect())
    }

    fn with_normalization(
        graph: &'a Graph,
        seen: &'a Statistics,
        normalization: Vec<(f32, f32)>,
    ) -> Self {
        let measured = Signal {
            means: normalization.iter().map(|(mean, _)| f64::from(*mean)).collect(),
            steps: normalization.iter().map(|(_, step)| f64::from(*step)).collect(),
        };
        let outputs: Vec<Signal> =
            graph.layers.iter().zip(&seen.layers).map(|(l, seen)| layer::output(l, seen)).collect();
        let given = |index: usize| match &outputs[graph.sources(index)] {
            [] => measured.clone(),
            [first, beside @ ..] => beside.iter().cloned().fold(first.clone(), Signal::chain),
        };
        let inputs = (0..graph.layers.len()).map(given).collect();
        Self { graph, seen, normalization, inputs }
    }

    fn try_layer(&self, index: usize, weights: WeightType, shrinkage: f64) -> Result<Layer> {
        let (layer, seen) = (&self.graph.layers[index], &self.seen.layers[index]);
        layer::quantize(layer, seen, &self.inputs[index], weights, shrinkage)
    }

    /// The layer at `index` with these weights or, if its numbers need them, wider ones. An embedding
    /// has no narrower ones than int8: no sum evens out what a row of 4-bit weights loses.
    ///
    /// # Errors
    /// As [`quantize()`].
    pub fn layer(&self, index: usize, weights: WeightType) -> Result<Layer> {
        let weights = match (&self.graph.layers[index].op, weights) {
            (Op::Embedding(_), WeightType::Int4) => WeightType::Int8,
            _ => weights,
        };
        self.try_layer(index, weights, SHRINKAGES[0]).or_else(|error| match weights {
            WeightType::Int4 => self.layer(index, WeightType::Int8),
            WeightType::Int8 => self.layer(index, WeightType::Int16),
            _ => Err(error),
        })
    }

    /// All layers with these weights.
    ///
    /// # Errors
    /// As [`quantize()`].
    pub fn layers(&self, weights: WeightType) -> Result<Vec<Layer>> {
        (0..self.graph.layers.len()).map(|index| self.layer(index, weights)).collect()
    }

    /// The model with these layers.
    pub fn model(&self, layers: Vec<Layer>) -> Quantized {
        let scale = layers.last().map_or(1.0, |layer| f64::from(layer.scale));
        let output_scaling = self.graph.answers.as_ref().map(|answers| {
            let both = answers.offset.iter().zip(&answers.scale);
            both.map(|(offset, s)| (*offset as f32, (s * scale) as f32)).collect()
        });
        Quantized {
            layers,
            normalization: self.normalization.clone(),
            output_scaling,
            encoder: self.graph.encoder,
            output: self.graph.output,
            steps: if self.graph.is_bidirectional() { self.seen.steps } else { 0 },
        }
    }

    /// The model with the better of each layer's possible roundings, as measured on the trial data.
    ///
    /// # Errors
    /// As [`quantize()`].
    pub fn tune(&self, layers: Vec<Layer>) -> Result<Quantized> {
        let mut best = layers;
        let mut least = self.sqnr(&best)?;
        for index in 0..best.len() {
            if let LayerKind::Embedding | LayerKind::LayerNorm = best[index].kind {
                continue; // Its rows are rounded on their own.
            }
            for shrinkage in &SHRINKAGES[1..] {
                let Ok(layer) = self.try_layer(index, best[index].weights, *shrinkage) else {
                    continue;
                };
                let before = std::mem::replace(&mut best[index], layer);
                let sqnr = self.sqnr(&best)?;
                // The layers behind it count too: they see what it does.
                if sqnr[index..].iter().sum::<f64>() > least[index..].iter().sum() {
                    least = sqnr;
                } else {
                    best[index] = before;
                }
            }
        }
        Ok(self.model(best))
    }

    /// SQNR of every layer's output on the trial data, in dB.
    fn sqnr(&self, layers: &[Layer]) -> Result<Vec<f64>> {
        let blob =
            Blob::new(&pack(&self.model(layers.to_vec()), Packing::Plain, &Notes::default())?);
        Ok(self.seen.trial.layers(&blob.model()?).iter().map(|noise| noise.db()).collect())
    }
}
