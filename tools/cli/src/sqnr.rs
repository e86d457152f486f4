//! The integer network against the float one, signal by signal.

use gatelet::{Model, WeightType};
use indicatif::ProgressBar;
use rayon::prelude::*;

use crate::data::Sequences;
use crate::graph::Graph;
use crate::host;
use crate::quantize::Quantized;
use crate::reference::{self, Step, Visitor};

/// Power of a signal and of what was added to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Noise {
    signal: f64,
    noise: f64,
    largest: f64,
}

impl Noise {
    /// Compares what was `found` with the `exact` numbers.
    pub fn add(&mut self, exact: &[f64], found: impl Iterator<Item = f64>) {
        for (exact, found) in exact.iter().zip(found) {
            self.signal += exact * exact;
            self.noise += (exact - found).powi(2);
            self.largest = self.largest.max((exact - found).abs());
        }
    }

    fn merge(&mut self, other: &Self) {
        self.signal += other.signal;
        self.noise += other.noise;
        self.largest = self.largest.max(other.largest);
    }

    /// All of `parts` together.
    pub fn total(parts: &[Self]) -> Self {
        let mut total = Self::default();
        parts.iter().for_each(|part| total.merge(part));
        total
    }

    /// Signal to quantization noise ratio, in dB; at most 200, where there is no noise.
    pub fn db(&self) -> f64 {
        if self.noise == 0.0 { 200.0 } else { 10.0 * libm::log10(self.signal / self.noise) }
    }

    /// True if there was a signal to compare.
    pub fn is_something(&self) -> bool {
        self.signal > 0.0
    }

    /// Largest error.
    pub fn largest(&self) -> f64 {
        self.largest
    }
}

/// What every layer of the float network gave for some sequences.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    x: Sequences,
    /// `[sample][layer][step][unit]`.
    outputs: Vec<Vec<Vec<Vec<f64>>>>,
}

impl Recording {
    /// Runs `x` through `graph`.
    pub fn new(graph: &Graph, x: Sequences) -> Self {
        let none = vec![vec![Vec::new(); x.steps()]; graph.layers.len()];
        let recorder = || Recorder { none: &none, samples: Vec::new() };
        let (_, recorders) = reference::forward_with(graph, &x, recorder, &ProgressBar::hidden());
        let mut samples: Vec<_> = recorders.into_iter().flat_map(|r| r.samples).collect();
        samples.sort_by_key(|(sample, _)| *sample);
        Self { x, outputs: samples.into_iter().map(|(_, layers)| layers).collect() }
    }

    /// The sequences.
    pub fn x(&self) -> &Sequences {
        &self.x
    }

    /// Noise of every layer's output at every step, `[layer][step]`: the integer network against
    /// the float one, each fed by its own layers. Of a model that answers once, the last layer's
    /// output is an answer, and counts, only at the end of a sequence.
    ///
    /// # Panics
    /// If `model` is not made from the graph.
    pub fn steps(&self, model: &Model<'_>) -> Vec<Vec<Noise>> {
        let none = || vec![vec![Noise::default(); self.x.steps()]; model.depth()];
        let one = |(sample, layers): (usize, &Vec<Vec<Vec<f64>>>)| {
            let mut noise = none();
            let input = host::quantize(model, self.x.sample(sample));
            let trace = host::Trace::new(model, &input, self.x.encoder_steps(sample));
            for step in 0..self.x.lengths()[sample] {
                let answers = !model.answers_last() || step + 1 == self.x.lengths()[sample];
                let depth = model.depth() - usize::from(!answers && model.steps() == 0);
                for (index, noise) in noise.iter_mut().enumerate().take(depth) {
                    let Some(output) = trace.output(index, step) else { continue };
                    let scale = model.layer(index).map_or(0.0, |layer| f64::from(layer.scale()));
                    let found = output.iter().map(|v| f64::from(*v) * scale);
                    noise[step].add(&layers[index][step], found);
                }
            }
            noise
        };
        // Collected before they are added up, so that the sum has one order.
        let all: Vec<_> = self.outputs.par_iter().enumerate().map(one).collect();
        let mut total = none();
        for noise in all {
            for (total, noise) in total.iter_mut().flatten().zip(noise.iter().flatten()) {
                total.merge(noise);
            }
        }
        total
    }

    /// Noise of every layer's output over all steps.
    ///
    /// # Panics
    /// As [`steps`](Self::steps).
    pub fn layers(&self, model: &Model<'_>) -> Vec<Noise> {
        self.steps(model).iter().map(|steps| Noise::total(steps)).collect()
    }
}

/// Every layer's outputs, sample by sample.
struct Recorder<'a> {
    /// A sample without outputs.
    none: &'a Vec<Vec<Vec<f64>>>,
    samples: Vec<(usize, Vec<Vec<Vec<f64>>>)>,
}

impl Visitor for Recorder<'_> {
    fn visit(&mut self, step: Step<'_>) {
        let known = self.samples.iter().position(|(sample, _)| *sample == step.sample);
        let index = known.unwrap_or_else(|| {
            self.samples.push((step.sample, self.none.clone()));
            self.samples.len() - 1
        });
        self.samples[index].1[step.layer][step.step] = step.output.to_vec();
    }
}

/// Below this many dB, a layer's output has errors of a tenth of its size.
const POOR: f64 = 20.0;

/// What to do about the first layer whose output is poor; those behind it inherit its errors. `db` has
/// each layer's.
pub fn advice(model: &Quantized, db: impl IntoIterator<Item = f64>) -> Option<String> {
    let (layer, db) = model.layers.iter().zip(db).find(|(_, db)| *db < POOR)?;
    let of = |weights: &str, wider: &str| {
        format!(
            "{} keeps only {db:.1} dB with {weights} weights: use --weights {wider}, or --budget, which gives \
             wider weights to the layers that need them.",
            layer.name
        )
    };
    Some(match layer.weights {
        WeightType::Int4 => of("int4", "int8"),
        WeightType::Int8 => of("int8", "int16"),
        _ => format!(
            "{} keeps only {db:.1} dB with the widest weights there are: its sums grow beyond what calibration \
             saw, or grow without end.",
            layer.name
        ),
    })
}
