//! The float graph that every importer produces and everything else reads.
//!
//! A [`Graph`] is an ordered stack of layers in one convention, whatever the
//! framework called things:
//!
//! - matrices are row-major `[gate * units + unit][input]`;
//! - gates are ordered `i f g o` (LSTM) and `z r n` (GRU);
//! - a GRU's update gate keeps: `h' = z*h + (1-z)*n`;
//! - biases of the input and the recurrent product are added up wherever the
//!   equations allow it.
//!
//! Weights are `f64`: importers fold normalization layers into them, and the
//! fold must not round.

mod align;
mod builder;
mod fast;
mod matrix;
mod op;

use std::ops::Range;

use anyhow::{Result, ensure};

pub use builder::GraphBuilder;

pub use fast::{Fast, Update};
pub use matrix::Matrix;
pub use op::{
    Activation, Dense, Embedding, Gates, Gru, LayerNorm, Lstm, Op, Reset, Rnn, RnnActivation,
};

/// Which way a recurrent layer goes through a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first step to the last.
    Forward,
    /// From the last step to the first.
    Reverse,
}

/// One layer of the stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The name the framework knows it by.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Which way it goes through a sequence.
    pub direction: Direction,
    /// Whether it takes the same input as the layer before it, its output following that one's.
    pub beside: bool,
}

impl Layer {
    /// Whether it runs from the last step to the first.
    pub fn is_reverse(&self) -> bool {
        self.direction == Direction::Reverse
    }

    /// Whether it carries a state from step to step.
    pub fn is_recurrent(&self) -> bool {
        self.op.recurrent_matrix().is_some()
    }

    /// Features it takes at a step; of an embedding 1, a token's id.
    pub fn inputs(&self) -> usize {
        match &self.op {
            Op::Embedding(_) => 1,
            Op::LayerNorm(norm) => norm.beta.len(),
            op => op.input_matrix().cols(),
        }
    }

    /// Values it gives at a step.
    pub fn units(&self) -> usize {
        match &self.op {
            Op::Lstm(Lstm { projection: Some(projection), .. }) => projection.rows(),
            _ => self.cells(),
        }
    }

    /// Elements of what it remembers: the units, but for an LSTM with a projection.
    pub fn cells(&self) -> usize {
        match &self.op {
            Op::Embedding(embedding) => embedding.table.cols(),
            op => op.input_matrix().rows() / op.gates(),
        }
    }

    /// Weights and biases.
    pub fn parameters(&self) -> usize {
        self.tensors().map(<[f64]>::len).sum()
    }

    /// All weights and biases.
    fn tensors(&self) -> impl Iterator<Item = &[f64]> {
        fn values(matrix: Option<&Matrix>) -> &[f64] {
            matrix.map_or(&[], Matrix::values)
        }
        let own = match &self.op {
            Op::Gru(Gru { reset: Reset::After { recurrent_bias }, .. }) => {
                [recurrent_bias, &[][..]]
            }
            Op::Lstm(l) => [l.peepholes.as_deref().unwrap_or(&[]), values(l.projection.as_ref())],
            Op::Fast(l) => l.own_tensors(),
            _ => [&[][..]; 2],
        };
        let usual = [self.op.input_matrix().values(), values(self.op.recurrent_matrix())];
        usual.into_iter().chain([self.op.bias()]).chain(own)
    }

    /// Refuses shapes that do not fit each other or `given` inputs, and numbers that are none.
    fn validate(&self, given: usize) -> Result<()> {
        let (name, units, cells, gates) = (&self.name, self.units(), self.cells(), self.op.gates());
        ensure!(
            units > 0 && !self.op.input_matrix().values().is_empty(),
            "layer `{name}` has no weights: every layer needs at least one input and one unit"
        );
        ensure!(
            matches!(self.op, Op::Embedding(_))
                || self.op.input_matrix().rows() == gates * cells
                    && self.op.bias().len() == gates * cells,
            "layer `{name}`: weights for {} rows and {} biases do not make whole units of {gates} rows",
            self.op.input_matrix().rows(),
            self.op.bias().len(),
        );
        if let Some(recurrent) = self.op.recurrent_matrix() {
            let columns = match &self.op {
                Op::Fast(Fast { factor: Some(factor), .. }) => factor.rows(),
                _ => units,
            };
            ensure!(
                (recurrent.rows(), recurrent.cols()) == (gates * cells, columns),
                "layer `{name}`: recurrent weights are [{}, {}], expected [{}, {columns}]",
                recurrent.rows(),
                recurrent.cols(),
                gates * cells,
            );
        }
        if let Op::Fast(fast) = &self.op {
            fast.validate(name)?;
        }
        if let Op::LayerNorm(norm) = &self.op {
            ensure!(
                norm.epsilon > 0.0 && norm.epsilon.is_finite() && norm.gamma.cols() == 1,
                "layer `{name}`: its epsilon is {}, expected a positive number",
                norm.epsilon
            );
        }
        if let Op::Lstm(Lstm { peepholes, projection, .. }) = &self.op {
            let peepholes = peepholes.as_ref().map_or(3 * cells, Vec::len);
            ensure!(
                peepholes == 3 * cells,
                "layer `{name}`: {peepholes} peepholes, expected {}",
                3 * cells
            );
            let columns = projection.as_ref().map_or(cells, Matrix::cols);
            ensure!(
                columns == cells,
                "layer `{name}`: its projection takes {columns} values, expected {cells}"
            );
        }
        if let Op::Gru(Gru { reset: Reset::After { recurrent_bias }, .. }) = &self.op {
            ensure!(
                recurrent_bias.len() == units,
                "layer `{name}`: {} recurrent biases, expected {units}",
                recurrent_bias.len()
            );
        }
        ensure!(
            self.tensors().flatten().all(|w| w.is_finite()),
            "layer `{name}` has a weight that is NaN or infinite: the training diverged, use an earlier checkpoint"
        );
        ensure!(
            self.inputs() == given,
            "layer `{name}` takes {} inputs but is given {given}",
            self.inputs(),
        );
        Ok(())
    }
}

/// When the model answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Once, after the last step (Keras: `return_sequences=False`, PyTorch: `h_n`). A layer that
    /// runs backwards gives its state after the sequence's first step, which it takes last.
    Last,
    /// Once, with the output *at* the last step (PyTorch: `out[:, -1]`), which is the first that a
    /// layer running backwards takes. The same as `Last` where the last recurrent layer runs forward.
    AtLast,
    /// At every step (Keras: `return_sequences=True`).
    EveryStep,
}

/// `scale[k] * x[k] + offset[k]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// A factor for every number.
    pub scale: Vec<f64>,
    /// What is added to it.
    pub offset: Vec<f64>,
}

impl Affine {
    /// `next` of what this one gives.
    pub fn then(mut self, next: &Self) -> Self {
        let own = self.scale.iter_mut().zip(&mut self.offset);
        for ((s0, o0), (s, o)) in own.zip(next.scale.iter().zip(&next.offset)) {
            (*s0, *o0) = (s * *s0, s * *o0 + o);
        }
        self
    }

    /// True if integers can stand for what it gives: a blob's steps are positive.
    fn is_scaling(&self) -> bool {
        self.scale.iter().all(|s| *s > 0.0 && (*s as f32).is_normal())
    }
}

impl Output {
    /// Whether there is one answer a sequence.
    pub fn is_once(self) -> bool {
        self != Self::EveryStep
    }
}

/// A stack of stages: a layer and those beside it, fed by the stage before. Every state starts at
/// zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// The layers in order; never empty, sizes fit, softmax only at the end.
    pub layers: Vec<Layer>,
    /// Layers of the encoder of an encoder-decoder, from the first on; else 0. Their final states are
    /// the initial ones of the layers behind them, the decoder.
    pub encoder: usize,
    /// When the output counts.
    pub output: Output,
    /// From the last layer's output to the answer, where that is another.
    pub answers: Option<Affine>,
    /// What the importer assumed or dropped: one sentence each, for the user.
    pub notes: Vec<String>,
}

impl Graph {
    /// The layers that take the same input, stage after stage.
    pub fn stages(&self) -> Vec<Range<usize>> {
        let starts = (0..self.layers.len()).filter(|&k| !self.layers[k].beside);
        let ends = starts.clone().skip(1).chain([self.layers.len()]);
        starts.zip(ends).map(|(start, end)| start..end).collect()
    }

    /// The layers whose outputs the layer at `index` is given, side by side; none if it takes the
    /// model's input.
    pub fn sources(&self, index: usize) -> Range<usize> {
        if index == self.encoder {
            return 0..0;
        }
        let stages = self.stages();
        let own = stages.iter().position(|stage| stage.contains(&index));
        own.and_then(|own| stages.get(own.checked_sub(1)?).cloned()).unwrap_or(0..0)
    }

    /// The recurrent layers of the encoder, each with that of the decoder that takes over from it.
    pub fn handed_over(&self) -> Vec<(usize, usize)> {
        let recurrent = |range: Range<usize>| range.filter(|&k| self.layers[k].is_recurrent());
        recurrent(0..self.encoder).zip(recurrent(self.encoder..self.layers.len())).collect()
    }

    /// Refuses a decoder that cannot take over where the encoder ends.
    fn check_encoder(&self) -> Result<()> {
        if self.encoder == 0 {
            return Ok(());
        }
        let (encoder, decoder) = self.layers.split_at(self.encoder);
        let count = |layers: &[Layer]| layers.iter().filter(|layer| layer.is_recurrent()).count();
        ensure!(
            !decoder.is_empty() && count(encoder) == count(decoder),
            "the encoder has {} recurrent layers, the decoder {}; gatelet takes as many, since each \
             takes over from one",
            count(encoder),
            count(decoder)
        );
        for (from, to) in self.handed_over() {
            let (from, to) = (&self.layers[from], &self.layers[to]);
            ensure!(
                from.op.kind() == to.op.kind()
                    && from.units() == to.units()
                    && !from.has_own_scale()
                    && !to.has_own_scale(),
                "layer `{}` ({}, {} units) cannot take over from `{}` ({}, {} units): gatelet takes \
                 the same kind with as many units, and no ReLU",
                to.name,
                to.op.kind(),
                to.units(),
                from.name,
                from.op.kind(),
                from.units()
            );
        }
        let tokens = |layer: &Layer| matches!(layer.op, Op::Embedding(_));
        ensure!(
            tokens(&encoder[0]) == tokens(&decoder[0])
                && encoder[0].inputs() == decoder[0].inputs(),
            "encoder and decoder take different inputs; gatelet takes tokens, or as many features, \
             for both"
        );
        ensure!(
            !self.is_bidirectional() && !self.output.is_once(),
            "gatelet takes an encoder-decoder that reads forward and answers at every step of the \
             decoder"
        );
        Ok(())
    }

    /// Whether layers need the whole sequence: one runs backwards, or beside another.
    pub fn is_bidirectional(&self) -> bool {
        self.layers.iter().any(|layer| layer.is_reverse() || layer.beside)
    }

    /// Whether the layer at `index` gives but one output a sequence: it is part of the answer of a
    /// network that reads whole sequences.
    pub fn gives_once(&self, index: usize) -> bool {
        let behind = self.stages().into_iter().filter(|stage| stage.start > index);
        self.is_bidirectional()
            && self.output.is_once()
            && behind.flatten().all(|k| !self.layers[k].is_recurrent())
    }

    /// Features the model takes at a step.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs()
    }

    /// Values the model gives at a step.
    pub fn outputs(&self) -> usize {
        let last = self.stages().pop().unwrap_or_default();
        self.layers[last].iter().map(Layer::units).sum()
    }

    /// Weights and biases of all layers.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(Layer::parameters).sum()
    }

    /// The same network with `inputs` before it and `answers` behind it.
    ///
    /// # Errors
    /// If it takes tokens.
    ///
    /// # Panics
    /// If they do not have the network's inputs and outputs.
    pub fn scaled(mut self, inputs: &Affine, answers: &Affine) -> Result<Self> {
        assert_eq!((inputs.scale.len(), answers.scale.len()), (self.inputs(), self.outputs()));
        ensure!(
            self.layers[0].op.fold(inputs),
            "the network starts with a layer ({}) that a scale of its inputs cannot be made part of",
            self.layers[0].op.kind()
        );
        self.answers = Some(match self.answers {
            Some(own) => own.then(answers),
            None => answers.clone(),
        });
        Ok(self)
    }
}
