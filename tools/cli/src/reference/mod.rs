//! What the network computes, in float64: the yardstick of every blob.
//!
//! Eight sequences advance together, one in each lane, so that a weight is
//! loaded once for eight products. The order of every sum is fixed and the
//! transcendental functions are `libm`'s, so the same model and data give the
//! same bits on every machine, however many threads share the work.

mod layer;

use std::ops::Range;

use indicatif::ProgressBar;
use rayon::prelude::*;

use crate::data::Sequences;
use crate::evaluate::argmax;
use crate::graph::{Affine, Graph, Output};
use layer::LayerRun;

/// Sequences that advance together.
const LANES: usize = 8;

/// One value of every sequence in a group.
type Lane = [f64; LANES];

/// What a [`Visitor`] sees: one layer, at one step of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Which sequence.
    pub sample: usize,
    /// Which of its steps, from 0.
    pub step: usize,
    /// Which layer, from 0.
    pub layer: usize,
    /// What the layer was given, `[inputs]`.
    pub input: &'a [f64],
    /// What it gave at the step before, `[units]`; empty for a dense layer.
    pub before: &'a [f64],
    /// What it computes on the way: `r*h`, `[units]`, of a GRU that resets before the product,
    /// `o*tanh(c)`, `[cells]`, of an LSTM with a projection, the right factor's product, `[rank]`, of
    /// a recurrent matrix of low rank; else without meaning.
    pub inner: &'a [f64],
    /// Its cell state after the step, `[cells]`; empty but for an LSTM.
    pub cell: &'a [f64],
    /// What it gave, `[units]`.
    pub output: &'a [f64],
}

/// Watches a forward pass.
pub trait Visitor: Send {
    /// Called after every layer, at every step that counts. A layer takes the steps
    /// of a sequence in its own order; those of different sequences alternate.
    fn visit(&mut self, step: Step<'_>);
}

/// Watches nothing.
impl Visitor for () {
    fn visit(&mut self, _: Step<'_>) {}
}

/// What one layer remembers after the last step.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerState {
    /// Output of a recurrent layer, `[units]`; empty for a dense one.
    pub h: Vec<f64>,
    /// Cell state of an LSTM, `[cells]`; else empty.
    pub c: Vec<f64>,
}

/// What the network made of one sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// Answers of every step that counts, `[length][outputs]`; only the last of a
    /// bidirectional network that answers once.
    pub outputs: Vec<f64>,
    /// The state after the last step, a layer each.
    pub states: Vec<LayerState>,
}

impl Response {
    /// Output of the last step, `[outputs]`.
    pub fn last(&self, outputs: usize) -> &[f64] {
        &self.outputs[self.outputs.len() - outputs..]
    }
}

/// The network's response to every sequence, each from zero state.
///
/// # Panics
/// If the sequences do not have the features the network takes; see
/// [`Sequences::expect_features`].
pub fn forward(graph: &Graph, x: &Sequences) -> Vec<Response> {
    forward_with(graph, x, || (), &ProgressBar::hidden()).0
}

/// The network's answers to every sequence: `[outputs]` after the last step, or
/// `[length][outputs]`, as [`Graph::output`] says.
///
/// # Panics
/// As [`forward`].
pub fn answers(graph: &Graph, x: &Sequences) -> Vec<Vec<f64>> {
    let answer = |response: Response| match graph.output.is_once() {
        true => response.last(graph.outputs()).to_vec(),
        false => response.outputs,
    };
    forward(graph, x).into_iter().map(answer).collect()
}

/// As [`forward`], with visitors: `new` makes one for each group of sequences,
/// and they are returned in an order that depends on the data alone. `progress`
/// advances by the number of sequences done.
///
/// # Panics
/// As [`forward`].
pub fn forward_with<V: Visitor>(
    graph: &Graph,
    x: &Sequences,
    new: impl Fn() -> V + Sync,
    progress: &ProgressBar,
) -> (Vec<Response>, Vec<V>) {
    assert_eq!(graph.inputs(), x.features(), "features of the network and of the data");
    // Like lengths together: a group lasts as long as its longest member.
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by_key(|&n| x.lengths()[n]);
    let groups: Vec<_> = order
        .par_chunks(LANES)
        .map(|samples| {
            let mut visitor = new();
            let responses = Group::new(graph, x, samples).run(&mut visitor);
            progress.inc(samples.len() as u64);
            (responses, visitor)
        })
        .collect();
    let (responses, visitors): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
    let mut responses: Vec<_> = order.into_iter().zip(responses.into_iter().flatten()).collect();
    responses.sort_by_key(|(n, _)| *n);
    (responses.into_iter().map(|(_, response)| response).collect(), visitors)
}

/// What an encoder-decoder over tokens says to the encoder's steps of every sequence: from the token
/// `start` on the likeliest token after the other, each fed back, until it says `end` or has said
/// `most`.
///
/// # Panics
/// If the network is no encoder-decoder over tokens, or the sequences are for none.
pub fn decode(graph: &Graph, x: &Sequences, start: i16, end: i16, most: usize) -> Vec<Vec<i16>> {
    assert!(graph.encoder > 0 && x.is_encoded() && graph.inputs() == x.features());
    let samples: Vec<usize> = (0..x.len()).collect();
    let groups: Vec<_> = samples
        .par_chunks(LANES)
        .map(|samples| Group::new(graph, x, samples).decode(start, end, most))
        .collect();
    groups.concat()
}

/// One sequence at its own pace. A clone tries what could come next.
#[derive(Clone)]
pub struct Walk<'a> {
    graph: &'a Graph,
    layers: Vec<LayerRun<'a>>,
}

impl<'a> Walk<'a> {
    /// From the zero state.
    ///
    /// # Panics
    /// If layers need the whole sequence, or some are an encoder.
    pub fn new(graph: &'a Graph) -> Self {
        assert!(!graph.is_bidirectional() && graph.encoder == 0, "a network that goes forwards");
        Self { graph, layers: graph.layers.iter().map(LayerRun::new).collect() }
    }

    /// The answer to one more step.
    ///
    /// # Panics
    /// If `x` does not have the features that the network takes.
    pub fn step(&mut self, x: &[f64]) -> Vec<f64> {
        assert_eq!(self.graph.inputs(), x.len(), "features of the network and of the step");
        let mut x: Vec<Lane> = x.iter().map(|x| [*x; LANES]).collect();
        for layer in &mut self.layers {
            layer.step(&x);
            x.clone_from(&layer.h);
        }
        answer(self.graph, x.iter().map(|v| v[0]))
    }
}

/// What the last layer's outputs mean.
fn answer(graph: &Graph, outputs: impl Iterator<Item = f64>) -> Vec<f64> {
    match &graph.answers {
        None => outputs.collect(),
        Some(Affine { scale, offset }) => {
            outputs.zip(scale.iter().zip(offset)).map(|(v, (s, o))| s * v + o).collect()
        }
    }
}

/// Up to [`LANES`] sequences on their way through the network.
struct Group<'a> {
    graph: &'a Graph,
    x: &'a Sequences,
    samples: &'a [usize],
    layers: Vec<LayerRun<'a>>,
}

/// Steps of sequences between two stages.
#[derive(Clone)]
struct Rows {
    width: usize,
    /// `[row][width]`.
    values: Vec<Lane>,
    /// How many of the rows each sequence has.
    counts: [usize; LANES],
    /// The step behind the last row of each sequence.
    ends: [usize; LANES],
}

impl Rows {
    /// The number of the row at which a layer going this way takes its step `n`.
    fn row(&self, lane: usize, n: usize, is_reverse: bool) -> Option<usize> {
        let count = self.counts[lane];
        (n < count).then(|| if is_reverse { count - 1 - n } else { n })
    }

    fn step(&self, lane: usize, row: usize) -> usize {
        self.ends[lane] - self.counts[lane] + row
    }
}

impl<'a> Group<'a> {
    fn new(graph: &'a Graph, x: &'a Sequences, samples: &'a [usize]) -> Self {
        let layers = graph.layers.iter().map(LayerRun::new).collect();
        Self { graph, x, samples, layers }
    }

    fn run(mut self, visitor: &mut impl Visitor) -> Vec<Response> {
        let lengths: Vec<_> = self.samples.iter().map(|&n| self.x.lengths()[n]).collect();
        let longest = lengths.iter().copied().max().unwrap_or_default();
        let mut responses: Vec<_> = lengths.iter().map(|_| self.response()).collect();
        let stages = self.graph.stages();
        // One step after the other, unless a layer needs them all.
        let window = if self.graph.is_bidirectional() { longest } else { 1 };
        for start in (0..longest).step_by(window) {
            let mut rows = self.input(start, window);
            if self.graph.encoder > 0 {
                self.hand_over(|x, sample| x.encoder_steps(sample) == start);
                let mut encoded = rows.clone();
                for (lane, &sample) in self.samples.iter().enumerate() {
                    let is_encoded = start < self.x.encoder_steps(sample);
                    let part = if is_encoded { &mut rows } else { &mut encoded };
                    part.counts[lane] = 0;
                }
                for stage in stages.iter().filter(|stage| stage.start < self.graph.encoder) {
                    encoded = self.stage(stage.clone(), &encoded, visitor, &mut responses);
                }
            }
            for stage in stages.iter().filter(|stage| stage.start >= self.graph.encoder) {
                rows = self.stage(stage.clone(), &rows, visitor, &mut responses);
            }
            for (lane, response) in responses.iter_mut().enumerate() {
                let outputs = &rows.values[..rows.counts[lane] * rows.width];
                for row in outputs.chunks_exact(rows.width) {
                    response.outputs.extend(answer(self.graph, row.iter().map(|v| v[lane])));
                }
            }
        }
        responses
    }

    /// Copies the encoder's states to the decoder, of the sequences that are there.
    fn hand_over(&mut self, is_there: impl Fn(&Sequences, usize) -> bool) {
        for (from, to) in self.graph.handed_over() {
            let (front, back) = self.layers.split_at_mut(to);
            let (from, to) = (&front[from], &mut back[0]);
            for (lane, &sample) in self.samples.iter().enumerate() {
                if is_there(self.x, sample) {
                    to.h.iter_mut().zip(&from.h).for_each(|(to, from)| to[lane] = from[lane]);
                    to.c.iter_mut().zip(&from.c).for_each(|(to, from)| to[lane] = from[lane]);
                }
            }
        }
    }

    /// What an encoder-decoder over tokens says by itself, see [`decode`].
    fn decode(mut self, start: i16, end: i16, most: usize) -> Vec<Vec<i16>> {
        let stages = self.graph.stages();
        let (encoder, decoder): (Vec<_>, Vec<_>) =
            stages.into_iter().partition(|stage| stage.start < self.graph.encoder);
        let mut nowhere: Vec<_> = self.samples.iter().map(|_| self.response()).collect();
        let longest = self.samples.iter().map(|&n| self.x.encoder_steps(n)).max();
        for step in 0..longest.unwrap_or_default() {
            let mut rows = self.input(step, 1);
            for (lane, &sample) in self.samples.iter().enumerate() {
                rows.counts[lane] = usize::from(step < self.x.encoder_steps(sample));
            }
            for stage in &encoder {
                rows = self.stage(stage.clone(), &rows, &mut (), &mut nowhere);
            }
            self.hand_over(|x, sample| x.encoder_steps(sample) == step + 1);
        }
        let mut said = vec![Vec::new(); self.samples.len()];
        let mut tokens = [f64::from(start); LANES];
        let mut going = self.samples.len();
        let mut counts = [0; LANES];
        counts[..going].fill(1);
        for _ in 0..most {
            let mut rows = Rows { width: 1, values: vec![tokens], counts, ends: [1; LANES] };
            for stage in &decoder {
                rows = self.stage(stage.clone(), &rows, &mut (), &mut nowhere);
            }
            for (lane, said) in said.iter_mut().enumerate() {
                if counts[lane] == 0 {
                    continue;
                }
                let outputs: Vec<f64> = rows.values.iter().map(|value| value[lane]).collect();
                let token = argmax(&outputs) as i16;
                tokens[lane] = f64::from(token);
                if token == end {
                    counts[lane] = 0;
                    going -= 1;
                } else {
                    said.push(token);
                }
            }
            if going == 0 {
                break;
            }
        }
        said
    }

    /// No response yet.
    fn response(&self) -> Response {
        Response {
            outputs: Vec::new(),
            states: vec![LayerState { h: Vec::new(), c: Vec::new() }; self.layers.len()],
        }
    }

    /// The `window` steps from `start` on, as far as each sequence goes.
    fn input(&self, start: usize, window: usize) -> Rows {
        let width = self.x.features();
        let mut rows = Rows {
            width,
            values: vec![Lane::default(); window * width],
            counts: [0; LANES],
            ends: [0; LANES],
        };
        for (lane, &sample) in self.samples.iter().enumerate() {
            rows.ends[lane] = self.x.lengths()[sample].min(start + window);
            rows.counts[lane] = rows.ends[lane].saturating_sub(start);
            let features = self.x.sample(sample).get(start * width..).unwrap_or(&[]);
            for (value, &feature) in rows.values.iter_mut().zip(features) {
                value[lane] = f64::from(feature);
            }
        }
        rows
    }

    /// Runs the layers of a stage over its rows and returns what they give, side by side.
    fn stage(
        &mut self,
        stage: Range<usize>,
        rows: &Rows,
        visitor: &mut impl Visitor,
        responses: &mut [Response],
    ) -> Rows {
        let once = self.graph.gives_once(stage.start);
        let width = self.layers[stage.clone()].iter().map(|layer| layer.h.len()).sum();
        let most = rows.counts.into_iter().max().unwrap_or_default();
        let mut given = Rows {
            width,
            values: vec![Lane::default(); if once { 1 } else { most } * width],
            counts: rows.counts.map(|count| if once { count.min(1) } else { count }),
            ends: rows.ends,
        };
        let mut input = vec![Lane::default(); rows.width];
        let mut before = Vec::new();
        let mut gathered = Gathered::default();
        let mut column = 0;
        for index in stage {
            let layer = &mut self.layers[index];
            let is_reverse = layer.layer.is_reverse();
            let at_last = once && is_reverse && self.graph.output == Output::AtLast;
            for n in 0..if at_last { most.min(1) } else { most } {
                for lane in 0..self.samples.len() {
                    if let Some(row) = rows.row(lane, n, is_reverse) {
                        let from = &rows.values[row * rows.width..];
                        input.iter_mut().zip(from).for_each(|(to, from)| to[lane] = from[lane]);
                    }
                }
                before.clear();
                if layer.layer.is_recurrent() {
                    before.extend_from_slice(&layer.h);
                }
                layer.step(&input);
                for (lane, &sample) in self.samples.iter().enumerate() {
                    let Some(row) = rows.row(lane, n, is_reverse) else { continue };
                    let signals = [&input, &before, &layer.inner, &layer.c, &layer.h];
                    let [input, before, inner, cell, output] = gathered.fill(lane, signals);
                    visitor.visit(Step {
                        sample,
                        step: rows.step(lane, row),
                        layer: index,
                        input,
                        before,
                        inner,
                        cell,
                        output,
                    });
                    let to = &mut given.values[if once { 0 } else { row * width } + column..];
                    to.iter_mut().zip(output).for_each(|(to, from)| to[lane] = *from);
                    if n + 1 == rows.counts[lane] {
                        responses[lane].states[index] = layer.state(lane);
                    }
                }
            }
            column += layer.h.len();
        }
        given
    }
}

/// One lane's values, side by side.
#[derive(Default)]
struct Gathered([Vec<f64>; 5]);

impl Gathered {
    fn fill(&mut self, lane: usize, from: [&Vec<Lane>; 5]) -> [&[f64]; 5] {
        for (to, from) in self.0.iter_mut().zip(from) {
            to.clear();
            to.extend(from.iter().map(|v| v[lane]));
        }
        self.0.each_ref().map(|values| &values[..])
    }
}
