//! What the network's signals look like on the user's data.

use indicatif::ProgressBar;

use crate::data::Sequences;
use crate::graph::Graph;
use crate::reference::{self, Step, Visitor};

/// Smallest and largest value seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

/// Everything quantization asks of the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranges {
    /// Range of every input feature.
    pub inputs: Vec<Range>,
    /// Largest magnitude of every layer's output.
    pub outputs: Vec<f64>,
}

/// Runs `x` through the float network and notes the ranges. `progress` advances by sequences.
pub fn calibrate(graph: &Graph, x: &Sequences, progress: &ProgressBar) -> Ranges {
    let peaks = || Peaks(vec![0.0; graph.layers.len()]);
    let (_, visitors) = reference::forward_with(graph, x, peaks, progress);
    let mut outputs = vec![0.0; graph.layers.len()];
    for visitor in visitors {
        outputs.iter_mut().zip(visitor.0).for_each(|(o, peak)| *o = f64::max(*o, peak));
    }
    Ranges { inputs: input_ranges(x), outputs }
}

fn input_ranges(x: &Sequences) -> Vec<Range> {
    let mut ranges = vec![Range { min: f64::MAX, max: f64::MIN }; x.features()];
    for sample in 0..x.len() {
        for step in x.sample(sample).chunks_exact(x.features()) {
            for (range, value) in ranges.iter_mut().zip(step) {
                range.min = range.min.min(*value as f64);
                range.max = range.max.max(*value as f64);
            }
        }
    }
    ranges
}

/// Largest magnitude of each layer's output.
struct Peaks(Vec<f64>);

impl Visitor for Peaks {
    fn visit(&mut self, step: Step<'_>) {
        let peak = &mut self.0[step.layer];
        *peak = step.output.iter().fold(*peak, |a, v| a.max(v.abs()));
    }
}
