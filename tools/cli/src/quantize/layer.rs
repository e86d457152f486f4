//! One layer: the shape of its integers, and its rows as they should be.

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use gatelet::blob::format;
use gatelet::fixed::Z_BITS;
use gatelet::{Activation, LayerKind, WeightType};
use rayon::prelude::*;

use super::rounding::Factor;
use super::rows::{Inputs, Target, row};
use super::{HEADROOM, Layer, Row, embedding, norm};
use crate::calibrate::LayerStatistics;
use crate::graph::{self, Fast, Gates, Matrix, Op, Reset, RnnActivation, Update};
use crate::moments::Moments;

/// Value of one unit of a hidden state or a probability: Q0.15.
const Q15: f64 = 1.0 / 32768.0;
/// Value of one unit of a gate's pre-activation.
const GATE_UNIT: f64 = 1.0 / (1u32 << Z_BITS) as f64;
/// Fractional bits of a peephole.
const PEEPHOLE_BITS: u32 = 12;
/// Extra fractional bits that a scaled output's pre-activation should have, if multipliers allow.
pub(super) const MOST_SHIFT: u32 = 8;

/// How integers stand for numbers: `value = mean + integer × step`, element by element.
#[derive(Clone, Debug)]
pub(super) struct Signal {
    pub(super) means: Vec<f64>,
    pub(super) steps: Vec<f64>,
}

impl Signal {
    fn centred(step: f64, len: usize) -> Self {
        Self { means: vec![0.0; len], steps: vec![step; len] }
    }

    fn len(&self) -> usize {
        self.steps.len()
    }

    pub(super) fn chain(mut self, other: Self) -> Self {
        self.means.extend(other.means);
        self.steps.extend(other.steps);
        self
    }

    /// What rounding asks of inputs with these moments; `shrinkage` as in [`Factor::new`].
    fn inputs(&self, moments: &Moments, shrinkage: f64) -> Inputs {
        let both = self.means.iter().zip(&self.steps);
        Inputs {
            mean: moments
                .mean()
                .iter()
                .zip(both)
                .map(|(m, (mean, step))| (m - mean) / step)
                .collect(),
            factor: Factor::new(moments, &self.steps, shrinkage),
        }
    }
}

/// What a layer gives, in integers: Q0.15, or scaled to what calibration saw.
pub(super) fn output(layer: &graph::Layer, seen: &LayerStatistics) -> Signal {
    let scale = if let Op::Embedding(embedding) = &layer.op {
        embedding::scale(embedding)
    } else if matches!(layer.op, Op::Fast(_)) {
        // Nothing keeps it below 1.
        scale_of(seen.peak).max(Q15)
    } else if is_scaled(kind(&layer.op)) {
        scale_of(seen.peak)
    } else {
        Q15
    };
    Signal::centred(scale, layer.units())
}

/// Value of one unit of a signal that calibration saw reach `peak`.
fn scale_of(peak: f64) -> f64 {
    let peak = if peak > 0.0 { peak } else { 1.0 };
    // f32, as the blob stores it: the weights must be made for the very same number.
    f64::from((peak * HEADROOM / 32767.0) as f32)
}

/// What the right factor of a recurrent matrix of low rank gives.
fn inner(rank: usize, seen: &LayerStatistics) -> Signal {
    Signal::centred(scale_of(seen.inner_peak), rank)
}

/// True if outputs have a scale of their own.
fn is_scaled(kind: LayerKind) -> bool {
    matches!(
        kind,
        LayerKind::Dense(Activation::Linear | Activation::Relu)
            | LayerKind::Rnn(Activation::Relu)
            | LayerKind::Lstm { projection: true, .. }
            | LayerKind::LayerNorm
    )
}

/// The layer in integers, given `input`; `shrinkage` as in [`Factor::new`].
///
/// # Errors
/// If the numbers do not fit; the message names the layer.
pub(super) fn quantize(
    layer: &graph::Layer,
    seen: &LayerStatistics,
    input: &Signal,
    weights_type: WeightType,
    shrinkage: f64,
) -> Result<Layer> {
    if let Op::Embedding(embedding) = &layer.op {
        return Ok(embedding::quantize(&layer.name, embedding, weights_type));
    }
    let kind = kind(&layer.op);
    let own = output(layer, seen);
    let scale = own.steps[0];
    if let Op::LayerNorm(norm) = &layer.op {
        return norm::quantize(&layer.name, norm, input, weights_type, scale);
    }
    let rows = Rows::new(layer, seen, input, &own, shrinkage);
    let in_context = || format!("layer `{}` cannot be represented", layer.name);
    let (mut inner_rows, mut parameters, mut behind) = (Vec::new(), Vec::new(), Vec::new());
    let mut shift = 0;
    let rows = match &layer.op {
        Op::Lstm(lstm) => {
            if let Some(weights) = &lstm.projection {
                let seen = seen.inner_inputs.as_ref().expect("calibration saw what is projected");
                let moments = seen.part(layer.inputs()..seen.len());
                let hidden = Signal::centred(Q15, lstm.cells());
                let rows = Rows::within(weights, &hidden, &moments, shrinkage);
                (inner_rows, shift) = rows.scaled(weights_type, scale).with_context(in_context)?;
                parameters = self::parameters([0; 2], lstm.cells());
            }
            if let Some(weights) = &lstm.peepholes {
                behind = peepholes(weights, lstm.cells()).with_context(in_context)?;
            }
            rows.quantize(weights_type, GATE_UNIT).with_context(in_context)?
        }
        Op::Fast(fast) => {
            if let Some(factor) = &fast.factor {
                let moments = seen.inputs.part(layer.inputs()..seen.inputs.len());
                let rows = Rows::within(factor, &own, &moments, shrinkage);
                let scale = inner(factor.rows(), seen).steps[0];
                (inner_rows, shift) = rows.scaled(weights_type, scale).with_context(in_context)?;
            }
            parameters = factors(fast, scale);
            behind = between(fast).with_context(in_context)?;
            rows.quantize(weights_type, GATE_UNIT).with_context(in_context)?
        }
        _ if is_scaled(kind) => {
            let rows = rows.scaled(weights_type, scale).with_context(in_context)?;
            shift = rows.1;
            rows.0
        }
        _ => rows.quantize(weights_type, GATE_UNIT).with_context(in_context)?,
    };
    Ok(Layer {
        name: layer.name.clone(),
        kind,
        weights: weights_type,
        inputs: layer.inputs(),
        units: layer.units(),
        cells: layer.cells(),
        scale: scale as f32,
        shift,
        reverse: layer.is_reverse(),
        beside: layer.beside,
        rows,
        inner: inner_rows,
        parameters,
        behind,
    })
}

/// The parameters of a layer, as the blob holds them.
fn parameters(factors: [u32; 2], size: usize) -> Vec<u8> {
    let mut bytes = vec![0; format::PARAMETER_BYTES];
    let [first, second] = factors.map(u32::to_le_bytes);
    bytes[format::parameter::FACTORS..][..8].copy_from_slice(&[first, second].concat());
    bytes[format::parameter::SIZE..][..2].copy_from_slice(&(size as u16).to_le_bytes());
    bytes
}

/// The parameters of a FastRNN or FastGRNN whose output has this scale.
fn factors(fast: &Fast, scale: f64) -> Vec<u8> {
    // What multiplies the candidate, which is Q0.15, brings it to the output's scale.
    let of_candidate = |factor: f64| (factor * Q15 / scale * f64::from(1 << 29)).round() as u32;
    let factors = match &fast.update {
        Update::Residual { alpha, beta } => {
            [of_candidate(*alpha), (beta * f64::from(1u32 << 31)).round() as u32]
        }
        Update::Gated { zeta, nu, .. } => [*zeta, *nu].map(of_candidate),
    };
    parameters(factors, fast.factor.as_ref().map_or(0, Matrix::rows))
}

/// What lies between the two biases of a FastGRNN, in units of a pre-activation, as the blob holds it.
fn between(fast: &Fast) -> Result<Vec<u8>> {
    let Update::Gated { candidate_bias, .. } = &fast.update else { return Ok(Vec::new()) };
    let mut bytes = Vec::new();
    for (gate, candidate) in fast.bias.iter().zip(candidate_bias) {
        let units = ((candidate - gate) / GATE_UNIT).round();
        ensure!(
            units.abs() < f64::from(1 << 29),
            "its biases {gate} and {candidate} lie too far apart"
        );
        bytes.extend((units as i32).to_le_bytes());
    }
    bytes.resize(4 * candidate_bias.len().next_multiple_of(format::BLOCK), 0);
    Ok(bytes)
}

/// Peepholes `[gate][cell]` with 12 fractional bits, as the blob holds them: of each group of four
/// cells those of `i`, of `f`, of `o`. With those of the largest size, the largest cell state moves a
/// pre-activation by 2^28, which the reach of a row's products leaves room for.
fn peepholes(weights: &[f64], cells: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for first in (0..cells).step_by(format::BLOCK) {
        for gate in weights.chunks_exact(cells) {
            for cell in first..first + format::BLOCK {
                let weight = gate.get(cell).copied().unwrap_or(0.0);
                let raw = (weight * f64::from(1 << PEEPHOLE_BITS)).round();
                ensure!(
                    raw.abs() <= f64::from(i16::MAX),
                    "a peephole weighs {weight:.3}; gatelet takes less than 8 in magnitude"
                );
                bytes.extend((raw as i16).to_le_bytes());
            }
        }
    }
    Ok(bytes)
}

/// A layer's rows in the order of [`Layer::rows`], in sets that share their inputs.
struct Rows {
    sets: Vec<(Inputs, Vec<Target>)>,
}

impl Rows {
    /// `input` is what the layer is given, `output` what it gives.
    fn new(
        layer: &graph::Layer,
        seen: &LayerStatistics,
        input: &Signal,
        output: &Signal,
        shrinkage: f64,
    ) -> Self {
        let (op, units) = (&layer.op, layer.units());
        // What the recurrent matrix takes, and what calibration saw of it beside the input.
        let (own, seen_inputs) = match (op, op.recurrent_matrix()) {
            (Op::Fast(Fast { factor: Some(factor), .. }), _) => (
                inner(factor.rows(), seen),
                seen.inner_inputs.as_ref().expect("calibration saw what the factor gives"),
            ),
            (_, Some(_)) => (output.clone(), &seen.inputs),
            (_, None) => (Signal::centred(1.0, 0), &seen.inputs),
        };
        let both = input.clone().chain(own.clone());
        let (x_alone, h_alone) = (0..input.len(), input.len()..both.len());
        let x = |r: usize| op.input_matrix().row(r);
        let h = |r: usize| op.recurrent_matrix().map_or(&[][..], |m| m.row(r));
        // Row r: W x + b, counted from the means of the integers.
        let target = |x: &[f64], h: &[f64], bias: f64| Target {
            bias: bias + x.iter().zip(&input.means).map(|(w, mean)| w * mean).sum::<f64>(),
            contributions: x
                .iter()
                .zip(&input.steps)
                .chain(h.iter().zip(&own.steps))
                .map(|(w, step)| w * step)
                .collect(),
            inputs: x.len(),
        };
        let whole =
            |rows: Range<usize>| rows.map(|r| target(x(r), h(r), op.bias()[r])).collect::<Vec<_>>();
        let candidate = 2 * units..3 * units;
        let sets = match op {
            Op::Gru(graph::Gru { reset: Reset::After { recurrent_bias }, .. }) => {
                let of_x = candidate.clone().map(|r| target(x(r), &[], op.bias()[r])).collect();
                let of_h = candidate.zip(recurrent_bias).map(|(r, b)| target(&[], h(r), *b));
                vec![
                    (both.inputs(&seen.inputs, shrinkage), whole(0..2 * units)),
                    (input.inputs(&seen.inputs.part(x_alone), shrinkage), of_x),
                    (own.inputs(&seen.inputs.part(h_alone), shrinkage), of_h.collect()),
                ]
            }
            Op::Gru(_) => {
                let reset = seen.inner_inputs.as_ref().expect("calibration saw what r leaves of h");
                vec![
                    (both.inputs(&seen.inputs, shrinkage), whole(0..2 * units)),
                    (both.inputs(reset, shrinkage), whole(candidate)),
                ]
            }
            _ => {
                let mut rows = whole(0..op.input_matrix().rows());
                if let Op::Lstm(graph::Lstm { peepholes: Some(_), .. }) = op {
                    // The floors of the peepholes' products.
                    rows.iter_mut().for_each(|row| row.bias += 0.5 * GATE_UNIT);
                }
                vec![(both.inputs(seen_inputs, shrinkage), rows)]
            }
        };
        Self { sets }
    }

    /// The rows of a product within the layer, which takes `signal` with these moments.
    fn within(weights: &Matrix, signal: &Signal, moments: &Moments, shrinkage: f64) -> Self {
        let target = |r: usize| Target {
            bias: 0.0,
            contributions: weights.row(r).iter().zip(&signal.steps).map(|(w, s)| w * s).collect(),
            inputs: weights.cols(),
        };
        let rows = (0..weights.rows()).map(target).collect();
        Self { sets: vec![(signal.inputs(moments, shrinkage), rows)] }
    }

    /// The rows of outputs in units of `scale`, and the fractional bits that their sums have more:
    /// as many as the multipliers allow.
    fn scaled(&self, weights: WeightType, scale: f64) -> Result<(Vec<Row>, u8)> {
        let mut shift = MOST_SHIFT;
        loop {
            match self.quantize(weights, scale / f64::from(1 << shift)) {
                Err(_) if shift > 0 => shift -= 1,
                rows => return Ok((rows?, shift as u8)),
            }
        }
    }

    /// The rows in integers; `unit` is the value of one unit of a pre-activation.
    fn quantize(&self, weights: WeightType, unit: f64) -> Result<Vec<Row>> {
        let all: Vec<_> = self
            .sets
            .iter()
            .flat_map(|(inputs, targets)| targets.iter().map(move |target| (inputs, target)))
            .collect();
        all.par_iter().map(|(inputs, target)| row(target, inputs, unit, weights)).collect()
    }
}

fn kind(op: &Op) -> LayerKind {
    match op {
        Op::Dense(dense) => LayerKind::Dense(match dense.activation {
            graph::Activation::Linear => Activation::Linear,
            graph::Activation::Relu => Activation::Relu,
            graph::Activation::Sigmoid => Activation::Sigmoid,
            graph::Activation::Tanh => Activation::Tanh,
            graph::Activation::Softmax => Activation::Softmax,
        }),
        Op::Rnn(rnn) => LayerKind::Rnn(match rnn.activation {
            RnnActivation::Tanh => Activation::Tanh,
            RnnActivation::Relu => Activation::Relu,
        }),
        Op::Lstm(lstm) => LayerKind::Lstm {
            hard_sigmoid: lstm.gates == Gates::HardSigmoid,
            peepholes: lstm.peepholes.is_some(),
            projection: lstm.projection.is_some(),
        },
        Op::Gru(gru) => LayerKind::Gru {
            hard_sigmoid: gru.gates == Gates::HardSigmoid,
            reset_after: gru.reset != Reset::Before,
        },
        Op::Embedding(_) => LayerKind::Embedding,
        Op::LayerNorm(_) => LayerKind::LayerNorm,
        Op::Fast(Fast { update: Update::Residual { .. }, .. }) => LayerKind::FastRnn,
        Op::Fast(_) => LayerKind::FastGrnn,
    }
}
