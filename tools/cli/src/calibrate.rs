//! What the network's signals look like on the user's data.

use indicatif::ProgressBar;
use rayon::prelude::*;

use crate::data::Sequences;
use crate::graph::{Graph, Op};
use crate::moments::Moments;
use crate::reference::{self, Step, Visitor};
use crate::sqnr::Recording;

/// Vectors that a layer's moments are taken of, about; of more steps, some are picked.
const MOST_VECTORS: usize = 1 << 15;

/// Sequences that quantization is tried on, at most.
const MOST_TRIALS: usize = 300;
/// Products that a trial may cost, about: a second or less.
const TRIAL_PRODUCTS: usize = 2_000_000_000;

/// How much wider than its common values a feature must range for the others to count as wild.
const WILD: f64 = 8.0;

/// Smallest and largest value seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

impl Range {
    /// Largest less smallest.
    pub fn width(&self) -> f64 {
        self.max - self.min
    }
}

/// An input feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Feature {
    /// Range of all values.
    pub all: Range,
    /// Range without the smallest and the largest thousandth.
    pub common: Range,
}

impl Feature {
    /// True if a few values lie far from all the others.
    pub fn is_wild(&self) -> bool {
        self.all.width() > WILD * self.common.width()
    }

    /// Range without wild values.
    pub fn usual(&self) -> Range {
        if self.is_wild() { self.common } else { self.all }
    }
}

/// A layer's signals.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerStatistics {
    /// Largest magnitude of the output.
    pub peak: f64,
    /// Moments of the input and, in a recurrent layer, its own last output: `[inputs + units]`.
    pub inputs: Moments,
    /// Moments of the input and of what the layer computes on the way, if a product takes that:
    /// [`Step::inner`].
    pub inner_inputs: Option<Moments>,
    /// Largest magnitude of that.
    pub inner_peak: f64,
}

/// Everything quantization asks of the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Of every input feature.
    pub features: Vec<Feature>,
    /// What a unit of every input is worth, where inputs are integers already: those of the audio
    /// front-end.
    pub input_step: Option<f32>,
    /// Of every layer.
    pub layers: Vec<LayerStatistics>,
    /// Steps of the longest sequence: the bound of a model that reads whole ones, unless its maker
    /// wants another.
    pub steps: usize,
    /// Some of the data, and what the float network made of them: what choices are measured on.
    pub trial: Recording,
}

/// Runs `x` through the float network and notes what its signals look like. `progress` advances by
/// sequences.
pub fn calibrate(graph: &Graph, x: &Sequences, progress: &ProgressBar) -> Statistics {
    let mut first = 0;
    let starts: Vec<usize> = x.lengths().iter().map(|length| (first, first += length).0).collect();
    let stride = first.div_ceil(MOST_VECTORS) as u64;
    let features = features(x);
    let usual: Vec<Range> = features.iter().map(Feature::usual).collect();
    let none = || -> Vec<Observed> {
        let layers = graph.layers.iter().enumerate();
        layers.map(|(index, layer)| Observed::new(&layer.op, graph.gives_once(index))).collect()
    };
    let observer = || Observer {
        usual: &usual,
        starts: &starts,
        stride,
        first: graph.stages()[0].end,
        layers: none(),
    };
    let (_, observers) = reference::forward_with(graph, x, observer, progress);
    let mut layers = none();
    for (layer, observed) in observers.into_iter().flat_map(|o| o.layers.into_iter().enumerate()) {
        let all = &mut layers[layer];
        all.peak = all.peak.max(observed.peak);
        all.inputs.extend(observed.inputs);
        all.inner_inputs.extend(observed.inner_inputs);
        all.inner_peak = all.inner_peak.max(observed.inner_peak);
    }
    let products = graph.parameters() * first / x.len();
    let trials = (TRIAL_PRODUCTS / products.max(1)).clamp(1, MOST_TRIALS);
    let trial = Recording::new(graph, x.spread(trials));
    let layers = layers.into_iter().zip(&graph.layers).map(|(observed, layer)| {
        let inputs = layer.inputs();
        let len = inputs + layer.op.recurrent_matrix().map_or(0, |_| layer.units());
        LayerStatistics {
            peak: observed.peak,
            inputs: Moments::new(&observed.inputs, len),
            inner_inputs: layer
                .op
                .inner()
                .map(|inner| Moments::new(&observed.inner_inputs, inputs + inner)),
            inner_peak: observed.inner_peak,
        }
    });
    let steps = x.lengths().iter().copied().max().unwrap_or_default();
    Statistics { features, input_step: None, layers: layers.collect(), steps, trial }
}

fn features(x: &Sequences) -> Vec<Feature> {
    let feature = |index| {
        let steps = (0..x.len()).flat_map(|n| x.sample(n).chunks_exact(x.features()));
        let mut values: Vec<f32> = steps.map(|step| step[index]).collect();
        values.sort_unstable_by(f32::total_cmp);
        let range = |cut: usize| Range {
            min: values[cut].into(),
            max: values[values.len() - 1 - cut].into(),
        };
        Feature { all: range(0), common: range(values.len() / 1000) }
    };
    (0..x.features()).into_par_iter().map(feature).collect()
}

/// Watches a group of sequences.
struct Observer<'a> {
    /// What the moments see of each feature: wild values would be most of them.
    usual: &'a [Range],
    /// Number of the first step of each sequence, were they laid end to end.
    starts: &'a [usize],
    /// One step in so many is kept.
    stride: u64,
    /// So many layers are given the features.
    first: usize,
    layers: Vec<Observed>,
}

struct Observed {
    peak: f64,
    has_inner: bool,
    /// Whether every step is kept: the layer may take one a sequence.
    every: bool,
    /// `[input, own last output]` of the steps kept.
    inputs: Vec<f32>,
    inner_peak: f64,
    /// `[input, inner]` of the steps kept.
    inner_inputs: Vec<f32>,
}

impl Observed {
    fn new(op: &Op, gives_once: bool) -> Self {
        Self {
            peak: 0.0,
            every: gives_once && op.recurrent_matrix().is_none(),
            has_inner: op.inner().is_some(),
            inputs: Vec::new(),
            inner_peak: 0.0,
            inner_inputs: Vec::new(),
        }
    }
}

impl Visitor for Observer<'_> {
    fn visit(&mut self, step: Step<'_>) {
        let layer = &mut self.layers[step.layer];
        layer.peak = step.output.iter().fold(layer.peak, |a, v| a.max(v.abs()));
        if layer.has_inner {
            layer.inner_peak = step.inner.iter().fold(layer.inner_peak, |a, v| a.max(v.abs()));
        }
        // Scattered, so that no rhythm of the data agrees with the stride; the same steps in every
        // layer.
        let index = (self.starts[step.sample] + step.step) as u64;
        let scattered = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        if layer.every || scattered.is_multiple_of(self.stride) {
            let input: Vec<f64> = match step.layer {
                layer if layer < self.first => {
                    step.input.iter().zip(self.usual).map(|(v, r)| v.clamp(r.min, r.max)).collect()
                }
                _ => step.input.to_vec(),
            };
            let with = |own| input.iter().chain(own).map(|v: &f64| *v as f32);
            layer.inputs.extend(with(step.before));
            if layer.has_inner {
                layer.inner_inputs.extend(with(step.inner));
            }
        }
    }
}
