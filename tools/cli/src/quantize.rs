//! From the float graph to integers: scales, weights, biases, and the proof that nothing overflows.
//!
//! The engine computes a row's pre-activation as
//! `z = bias + ((m_x·acc_x) >> 16) + ((m_h·acc_h) >> 16)` with integer multipliers, so a weight is
//! worth `m·unit·2^-16 / step` where `unit` is the value of one `z` and `step` that of one input.
//! A row's scale is ours to choose: taking the smallest multiplier that makes the row fit its
//! integers, the multiplier itself carries no error at all.

use anyhow::{Context, Result, bail, ensure};
use gatelet::blob::format;
use gatelet::fixed::Z_BITS;
use gatelet::{Activation, LayerKind, WeightType};

use crate::calibrate::Ranges;
use crate::graph::{self, Graph, Op, Output, Reset, RnnActivation};

/// Beyond the range seen in calibration: measurements get this much of `i16` to go further.
const HEADROOM: f64 = 2.0;
/// Value of one unit of a hidden state or a probability: Q0.15.
const Q15: f64 = 1.0 / 32768.0;
/// Value of one unit of a gate's pre-activation.
const GATE_UNIT: f64 = 1.0 / (1u32 << Z_BITS) as f64;
/// Extra fractional bits that a scaled output's pre-activation should have, if multipliers allow.
const MOST_SHIFT: u32 = 8;

/// Columns that share a scale among 4-bit weights.
const GROUP: usize = format::GROUP;
/// Largest magnitude of a 4-bit weight.
const NIBBLE_MAX: f64 = 7.0;
/// Largest sum of a row's weights that ±32767 inputs cannot carry past an `i32`.
const SUM_MAX: i64 = i32::MAX as i64 / 32767;

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
    /// Value of one unit of the output.
    pub scale: f32,
    /// Fractional bits that `z` has more than the output (scaled outputs only).
    pub shift: u8,
    /// `[gate][unit]`: gates `i f g o`; `z r n` (reset before); `z r n_x n_h` (reset after).
    pub rows: Vec<Row>,
}

/// A model in integers, ready to be packed.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The stack.
    pub layers: Vec<Layer>,
    /// Mean and step of every input feature.
    pub normalization: Vec<(f32, f32)>,
    /// When the output counts.
    pub output: Output,
}

/// Quantizes `graph` to weights of one type, with the ranges that calibration saw.
///
/// # Errors
/// If a number of the model does not fit its integer; the message names the layer.
pub fn quantize(graph: &Graph, ranges: &Ranges, weights: WeightType) -> Result<Quantized> {
    // Inputs that move a gate's pre-activation very far leave no room for headroom.
    try_quantize(graph, ranges, weights, HEADROOM)
        .or_else(|_| try_quantize(graph, ranges, weights, 1.0))
}

fn try_quantize(
    graph: &Graph,
    ranges: &Ranges,
    weights: WeightType,
    headroom: f64,
) -> Result<Quantized> {
    let normalization = ranges.inputs.iter().map(|range| {
        let mean = ((range.min + range.max) / 2.0) as f32;
        let reach = (range.max - f64::from(mean)).max(f64::from(mean) - range.min) * headroom;
        // A feature that never moved still gets a step to move by.
        let reach = if reach > 0.0 { reach } else { f64::from(mean.abs().max(1.0)) };
        (mean, (reach / 32767.0) as f32)
    });
    let normalization: Vec<_> = normalization.collect();

    let mut steps: Vec<f64> = normalization.iter().map(|(_, step)| f64::from(*step)).collect();
    let mut means: Vec<f64> = normalization.iter().map(|(mean, _)| f64::from(*mean)).collect();
    let mut layers = Vec::new();
    for (layer, largest) in graph.layers.iter().zip(&ranges.outputs) {
        let quantized = quantize_layer(layer, weights, *largest, &means, &steps)
            .with_context(|| format!("layer `{}` cannot be represented", layer.name))?;
        steps = vec![f64::from(quantized.scale); quantized.units];
        means = vec![0.0; quantized.units];
        layers.push(quantized);
    }
    Ok(Quantized { layers, normalization, output: graph.output })
}

fn quantize_layer(
    layer: &graph::Layer,
    weights: WeightType,
    largest: f64,
    means: &[f64],
    steps: &[f64],
) -> Result<Layer> {
    let kind = kind(&layer.op);
    let done = |scale: f64, shift: u32, rows| Layer {
        name: layer.name.clone(),
        kind,
        weights,
        inputs: layer.inputs(),
        units: layer.units(),
        scale: scale as f32,
        shift: shift as u8,
        rows,
    };
    let scaled = matches!(
        kind,
        LayerKind::Dense(Activation::Linear | Activation::Relu) | LayerKind::Rnn(Activation::Relu)
    );
    if !scaled {
        let rows = rows(layer, weights, means, steps, Q15, GATE_UNIT)?;
        return Ok(done(Q15, 0, rows));
    }
    // f32, as the blob stores it: the weights must be made for the very same number.
    let largest = if largest > 0.0 { largest } else { 1.0 };
    let scale = (largest * HEADROOM / 32767.0) as f32 as f64;
    let mut shift = MOST_SHIFT;
    loop {
        match rows(layer, weights, means, steps, scale, scale / f64::from(1 << shift)) {
            Ok(rows) => return Ok(done(scale, shift, rows)),
            Err(error) if shift == 0 => return Err(error),
            Err(_) => shift -= 1,
        }
    }
}

/// The layer's rows; `means` and `steps` are those of its input, `scale` the value of one unit of
/// its own output, `unit` that of one unit of its pre-activations.
fn rows(
    layer: &graph::Layer,
    weights: WeightType,
    means: &[f64],
    steps: &[f64],
    scale: f64,
    unit: f64,
) -> Result<Vec<Row>> {
    let op = &layer.op;
    let scaled =
        |row: &[f64], by: &[f64]| -> Vec<f64> { row.iter().zip(by).map(|(w, s)| w * s).collect() };
    let own = vec![scale; layer.units()];
    let candidate = 2 * layer.units();
    let mut rows = Vec::new();
    for r in 0..op.input_matrix().rows() {
        let w = op.input_matrix().row(r);
        let bias = op.bias()[r] + scaled(w, means).iter().sum::<f64>();
        let h = match op {
            Op::Gru(gru) if gru.reset != Reset::Before && r >= candidate => Vec::new(),
            _ => op.recurrent_matrix().map_or(Vec::new(), |m| scaled(m.row(r), &own)),
        };
        rows.push(row(bias, &scaled(w, steps), &h, unit, weights)?);
    }
    if let Op::Gru(graph::Gru { reset: Reset::After { recurrent_bias }, recurrent, .. }) = op {
        for (u, bias) in recurrent_bias.iter().enumerate() {
            let h = scaled(recurrent.row(candidate + u), &own);
            rows.push(row(*bias, &[], &h, unit, weights)?);
        }
    }
    Ok(rows)
}

/// One row in integers, from what one unit of each input contributes to the pre-activation.
fn row(bias: f64, x: &[f64], h: &[f64], unit: f64, weights: WeightType) -> Result<Row> {
    let (x, reach_x) = product(x, unit, weights)?;
    let (h, reach_h) = product(h, unit, weights)?;
    // Each floor of a product loses half a unit on average.
    let floors = [&x, &h].iter().filter(|p| p.multiplier != 0).count();
    let bias = (bias / unit + 0.5 * floors as f64).round();
    let reach = bias.abs() + reach_x + reach_h;
    // Half the range, so that the engine's own rounding constants fit on top.
    ensure!(
        reach < f64::from(1 << 30),
        "a pre-activation can reach {:.3e}, beyond the engine's 32 bits: scale the inputs down",
        reach * unit
    );
    Ok(Row { bias: bias as i32, x, h })
}

/// One matrix row in integers, and how far it can move `z`.
fn product(contributions: &[f64], unit: f64, weights: WeightType) -> Result<(Product, f64)> {
    let values: Vec<f64> = contributions.iter().map(|v| v / unit * 65536.0).collect();
    let largest = values.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
    if largest == 0.0 {
        let scales =
            vec![0; if weights == WeightType::Int4 { values.len().div_ceil(GROUP) } else { 0 }];
        return Ok((Product { multiplier: 0, weights: vec![0; values.len()], scales }, 0.0));
    }
    // What a multiplier of 1 can express at the most, by one weight and by their sum.
    let most = match weights {
        WeightType::Int8 => 127.0,
        WeightType::Int16 => 32767.0,
        WeightType::Int4 => NIBBLE_MAX * 255.0,
        other => bail!("weights of type {other:?} are unknown to this tool"),
    };
    let total: f64 = values.iter().map(|v| v.abs()).sum();
    let mut multiplier = (largest / most).max(total / SUM_MAX as f64).ceil();
    loop {
        ensure!(
            multiplier <= 32767.0,
            "one input can move a pre-activation by {:.3e}: normalize the inputs or clip the weights",
            largest / 65536.0 * unit * 32767.0
        );
        let (weights, scales) = match weights {
            WeightType::Int4 => nibbles(&values, multiplier),
            _ => (values.iter().map(|v| (v / multiplier).round() as i16).collect(), Vec::new()),
        };
        let worth = |c: usize| scales.get(c / GROUP).map_or(1, |s| *s as i64);
        let sum: i64 = weights.iter().enumerate().map(|(c, w)| (*w as i64).abs() * worth(c)).sum();
        // The proof: no input of ±32767 can carry the 32-bit accumulator past its end.
        if sum <= SUM_MAX {
            let reach = (sum * 32767) as f64 * multiplier / 65536.0;
            return Ok((Product { multiplier: multiplier as i16, weights, scales }, reach));
        }
        multiplier = (multiplier * 1.02).ceil();
    }
}

/// Rounds to 4 bits: each group takes the factor that loses least, which may clip its largest
/// weight.
fn nibbles(values: &[f64], multiplier: f64) -> (Vec<i16>, Vec<u8>) {
    let (mut weights, mut scales) = (Vec::new(), Vec::new());
    for group in values.chunks(GROUP) {
        let largest = group.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
        let widest = (largest / NIBBLE_MAX / multiplier).ceil().clamp(1.0, 255.0);
        let round =
            |v: f64, scale: f64| (v / (multiplier * scale)).round().clamp(-NIBBLE_MAX, NIBBLE_MAX);
        let loss = |scale: f64| -> f64 {
            group.iter().map(|v| (v - round(*v, scale) * multiplier * scale).powi(2)).sum()
        };
        let narrowest = (widest / 2.0).ceil() as u8;
        let best = (narrowest..=widest as u8)
            .map(f64::from)
            .min_by(|a, b| loss(*a).total_cmp(&loss(*b)))
            .unwrap_or(widest);
        weights.extend(group.iter().map(|v| round(*v, best) as i16));
        scales.push(best as u8);
    }
    (weights, scales)
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
        Op::Lstm(_) => LayerKind::Lstm,
        Op::Gru(gru) => LayerKind::Gru { reset_after: gru.reset != Reset::Before },
    }
}
