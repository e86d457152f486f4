//! What the integers do inside: which saturate, and how they are spread.

use gatelet::fixed::CELL_MAX;
use gatelet::{Activation, LayerKind, Model};
use rayon::prelude::*;
use serde::Serialize;

use crate::data::Sequences;
use crate::graph::{Graph, Output};
use crate::host;
use crate::quantize::{Layer, Product, Quantized, Row};

/// Bars of a histogram.
const BARS: usize = 48;

/// How often values fall into equal parts of a range.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Histogram {
    /// Lower end of the first bar.
    pub low: f64,
    /// Upper end of the last bar.
    pub high: f64,
    /// How many values each bar holds; those beyond the ends count at the ends.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// An empty one over `±reach`.
    pub(super) fn new(reach: f64) -> Self {
        let reach = if reach > 0.0 { reach } else { 1.0 };
        Self { low: -reach, high: reach, counts: vec![0; BARS] }
    }

    /// Of `values`, over their range.
    pub(super) fn of(values: &[f64]) -> Self {
        let mut histogram = Self::new(values.iter().fold(0.0, |a: f64, v| a.max(v.abs())));
        values.iter().for_each(|v| histogram.add(*v));
        histogram
    }

    fn add(&mut self, value: f64) {
        let at = (value - self.low) / (self.high - self.low) * BARS as f64;
        self.counts[(at as usize).min(BARS - 1)] += 1;
    }

    fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
    }
}

/// How many of some values are at or beyond a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Saturation {
    /// Values looked at.
    pub values: u64,
    /// Those at or beyond the limit.
    pub saturated: u64,
}

impl Saturation {
    /// In percent.
    pub fn percent(&self) -> f64 {
        100.0 * self.saturated as f64 / self.values.max(1) as f64
    }

    fn add(&mut self, is_saturated: bool) {
        self.values += 1;
        self.saturated += u64::from(is_saturated);
    }

    fn merge(&mut self, other: &Self) {
        self.values += other.values;
        self.saturated += other.saturated;
    }
}

/// One layer's signals.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerSignals {
    /// Outputs at the ends of their 16 bits.
    pub outputs: Saturation,
    /// Cell states at their limit of ±512; an LSTM's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cells: Option<Saturation>,
    /// Pre-activations where the squashing function is flat: beyond ±8 for tanh, ±16 for sigmoid,
    /// ±1/2 for hard sigmoid.
    pub gates: Vec<(&'static str, Saturation)>,
    /// Values of the outputs.
    pub histogram: Histogram,
}

/// What some sequences did to the integers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Signals {
    /// Inputs beyond what their 16 bits can say.
    pub inputs: Saturation,
    /// Of every layer.
    pub layers: Vec<LayerSignals>,
}

impl Signals {
    /// Runs `x` through the integer network.
    pub(super) fn new(
        graph: &Graph,
        quantized: &Quantized,
        model: &Model<'_>,
        x: &Sequences,
    ) -> Self {
        let all: Vec<Self> = (0..x.len())
            .into_par_iter()
            .map(|sample| Self::empty(quantized, model).watch(graph, quantized, model, x, sample))
            .collect();
        let mut total = Self::empty(quantized, model);
        for signals in &all {
            total.inputs.merge(&signals.inputs);
            for (total, layer) in total.layers.iter_mut().zip(&signals.layers) {
                total.outputs.merge(&layer.outputs);
                if let (Some(total), Some(cells)) = (&mut total.cells, &layer.cells) {
                    total.merge(cells);
                }
                total.gates.iter_mut().zip(&layer.gates).for_each(|(a, b)| a.1.merge(&b.1));
                total.histogram.merge(&layer.histogram);
            }
        }
        total
    }

    fn empty(quantized: &Quantized, model: &Model<'_>) -> Self {
        let layer = |(index, layer): (usize, &Layer)| {
            let scale = model.layer(index).map_or(1.0, |layer| f64::from(layer.scale()));
            LayerSignals {
                outputs: Saturation::default(),
                cells: matches!(layer.kind, LayerKind::Lstm { .. }).then(Saturation::default),
                gates: gates(layer).iter().map(|g| (g.name, Saturation::default())).collect(),
                histogram: Histogram::new(32768.0 * scale),
            }
        };
        Self {
            inputs: Saturation::default(),
            layers: quantized.layers.iter().enumerate().map(layer).collect(),
        }
    }

    fn watch(
        mut self,
        graph: &Graph,
        quantized: &Quantized,
        model: &Model<'_>,
        x: &Sequences,
        sample: usize,
    ) -> Self {
        let input = host::quantize(model, x.sample(sample));
        input.iter().for_each(|x| self.inputs.add(x.unsigned_abs() == 32767));
        let trace = host::Trace::new(model, &input, x.encoder_steps(sample));
        // The step whose output of a layer the next is given.
        let counts = |index: usize, step: usize| {
            let is_final = graph.gives_once(index) && graph.output == Output::Last;
            if is_final && graph.layers[index].is_reverse() { 0 } else { step }
        };
        for (index, (layer, seen)) in quantized.layers.iter().zip(&mut self.layers).enumerate() {
            let sources = graph.sources(index);
            let encoder = graph.handed_over().into_iter().find(|(_, to)| *to == index);
            let zero = vec![0; layer.units];
            for (step, x) in input.chunks_exact(model.inputs()).enumerate() {
                let Some(output) = trace.output(index, step) else { continue };
                let given: Vec<i16> = match sources.is_empty() {
                    true => x.to_vec(),
                    false => sources
                        .clone()
                        .flat_map(|k| trace.output(k, counts(k, step)).unwrap_or_default())
                        .copied()
                        .collect(),
                };
                let before = if layer.reverse { Some(step + 1) } else { step.checked_sub(1) };
                let last = before.and_then(|before| {
                    let own = trace.output(index, before);
                    own.or_else(|| trace.output(encoder?.0, before))
                });
                let h = last.unwrap_or(&zero);
                for (gate, (_, beyond)) in gates(layer).iter().zip(&mut seen.gates) {
                    let rows = &layer.rows[gate.index * layer.cells..][..layer.cells];
                    let z = rows.iter().map(|row| pre_activation(row, &given, h));
                    z.for_each(|z| beyond.add(z.unsigned_abs() >= gate.limit));
                }
                if let Some(cells) = &mut seen.cells {
                    let at_limit = |c: &i32| c.abs() >= CELL_MAX;
                    let state = trace.cells(index, step).unwrap_or(&[]);
                    state.iter().for_each(|c| cells.add(at_limit(c)));
                }
                for value in output {
                    seen.outputs.add(value.unsigned_abs() == 32767);
                    seen.histogram.add(f64::from(*value) * f64::from(layer.scale));
                }
            }
        }
        self
    }
}

/// A gate whose pre-activations can leave the range in which its function changes.
struct Gate {
    name: &'static str,
    /// Which of the layer's gates.
    index: usize,
    /// Where its function is flat, in units of a pre-activation.
    limit: u32,
}

const SIGMOID: u32 = 16 << 16;
const HARD_SIGMOID: u32 = 1 << 15;
const TANH: u32 = 8 << 16;

/// The gates whose pre-activations follow from the layer's input and last output alone.
fn gates(layer: &Layer) -> Vec<Gate> {
    let (kind, is_full) = (layer.kind, layer.inner.is_empty());
    let gate = |name, index, limit| Gate { name, index, limit };
    let bounded = |hard| if hard { HARD_SIGMOID } else { SIGMOID };
    match kind {
        // Peepholes add to the others.
        LayerKind::Lstm { peepholes: true, .. } => vec![gate("g", 2, TANH)],
        LayerKind::Lstm { hard_sigmoid, .. } => {
            let limit = bounded(hard_sigmoid);
            vec![gate("i", 0, limit), gate("f", 1, limit), gate("g", 2, TANH), gate("o", 3, limit)]
        }
        LayerKind::Gru { hard_sigmoid, .. } => {
            let limit = bounded(hard_sigmoid);
            vec![gate("z", 0, limit), gate("r", 1, limit)]
        }
        // Of low rank, they do not follow from h itself.
        LayerKind::FastRnn if is_full => vec![gate("tanh", 0, TANH)],
        LayerKind::FastGrnn if is_full => vec![gate("z", 0, SIGMOID)],
        LayerKind::Rnn(Activation::Tanh) | LayerKind::Dense(Activation::Tanh) => {
            vec![gate("tanh", 0, TANH)]
        }
        LayerKind::Dense(Activation::Sigmoid) => vec![gate("sigmoid", 0, SIGMOID)],
        _ => Vec::new(),
    }
}

/// As the engine computes it.
fn pre_activation(row: &Row, x: &[i16], h: &[i16]) -> i32 {
    let scaled = |product: &Product, v: &[i16]| {
        let mut sum = 0i32;
        for (group, (weights, v)) in product.weights.chunks(32).zip(v.chunks(32)).enumerate() {
            let partial: i32 =
                weights.iter().zip(v).map(|(w, v)| i32::from(*w) * i32::from(*v)).sum();
            sum += partial * product.scales.get(group).map_or(1, |s| i32::from(*s));
        }
        ((i64::from(sum) * i64::from(product.multiplier)) >> 16) as i32
    };
    row.bias + scaled(&row.x, x) + scaled(&row.h, h)
}
