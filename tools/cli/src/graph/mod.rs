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

use std::ops::Range;

use anyhow::{Result, ensure};

pub use builder::GraphBuilder;

pub use fast::{Fast, Update};

/// A row-major matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// A `[rows][cols]` matrix from its row-major values.
    ///
    /// # Panics
    /// If `values` does not hold `rows * cols` numbers.
    pub fn new(rows: usize, cols: usize, values: Vec<f64>) -> Self {
        assert_eq!(values.len(), rows * cols, "a {rows} x {cols} matrix");
        Self { rows, cols, values }
    }

    /// The `[n][n]` matrix with `diagonal` on its diagonal.
    pub fn diagonal(diagonal: &[f64]) -> Self {
        let n = diagonal.len();
        let mut values = vec![0.0; n * n];
        for (i, &d) in diagonal.iter().enumerate() {
            values[i * n + i] = d;
        }
        Self::new(n, n, values)
    }

    /// Number of rows (outputs).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns (inputs).
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `r`, `cols` long.
    pub fn row(&self, r: usize) -> &[f64] {
        &self.values[r * self.cols..][..self.cols]
    }

    /// All values, row after row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// This matrix times a vector of `cols` numbers.
    fn times(&self, x: &[f64]) -> Vec<f64> {
        let dot = |r| self.row(r).iter().zip(x).map(|(w, x)| w * x).sum();
        (0..self.rows).map(dot).collect()
    }

    /// Puts all columns behind themselves until there are `copies` of them.
    fn repeat_columns(&mut self, copies: usize) {
        let rows = self.values.chunks_exact(self.cols);
        self.values = rows.flat_map(|row| row.repeat(copies)).collect();
        self.cols *= copies;
    }

    /// Multiplies every column by its factor.
    fn scale_columns(&mut self, factors: &[f64]) {
        for row in self.values.chunks_exact_mut(self.cols) {
            row.iter_mut().zip(factors).for_each(|(w, f)| *w *= f);
        }
    }

    /// Multiplies every row by its factor.
    fn scale_rows(&mut self, factors: &[f64]) {
        for (row, f) in self.values.chunks_exact_mut(self.cols).zip(factors) {
            row.iter_mut().for_each(|w| *w *= f);
        }
    }
}

/// What a dense layer does to `W x + b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Linear,
    /// `max(0, z)`.
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(-z))`.
    Sigmoid,
    /// `exp(z_i) / sum_j exp(z_j)`; only on the last layer.
    Softmax,
}

/// What a simple recurrent layer does to its pre-activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RnnActivation {
    /// Hyperbolic tangent.
    Tanh,
    /// `max(0, z)`.
    Relu,
}

/// `y = activation(W x + b)`, step by step.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// `[units][inputs]`.
    pub weights: Matrix,
    /// `[units]`.
    pub bias: Vec<f64>,
    /// Applied to the sum.
    pub activation: Activation,
}

impl Dense {
    /// Folds what follows a linear layer into it.
    fn scale_outputs(&mut self, affine: &Affine) {
        self.weights.scale_rows(&affine.scale);
        for (b, (s, o)) in self.bias.iter_mut().zip(affine.scale.iter().zip(&affine.offset)) {
            *b = s * *b + o;
        }
    }
}

/// `h' = activation(W x + U h + b)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rnn {
    /// `W`: `[units][inputs]`.
    pub input: Matrix,
    /// `U`: `[units][units]`.
    pub recurrent: Matrix,
    /// `[units]`.
    pub bias: Vec<f64>,
    /// Applied to the sum.
    pub activation: RnnActivation,
}

/// What a gate does to its pre-activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gates {
    /// `1 / (1 + exp(-z))`.
    Sigmoid,
    /// `clamp(z + 1/2, 0, 1)`; a framework's slope is part of the weights, see
    /// [`Op::harden`].
    HardSigmoid,
}

/// `i, f, o = gate(W x + U r + p*c + b)`, `g = tanh(W x + U r + b)`,
/// `c' = f*c + i*g`, `h' = o*tanh(c')`, `r' = P h'`.
///
/// `p*c` is there with peepholes only, and `o` sees `c'` through its. Without a
/// projection, `r` is `h`.
#[derive(Clone, Debug, PartialEq)]
pub struct Lstm {
    /// `W`: `[4 * cells][inputs]`, gates `i f g o`.
    pub input: Matrix,
    /// `U`: `[4 * cells][units]`, gates `i f g o`.
    pub recurrent: Matrix,
    /// `[4 * cells]`, gates `i f g o`.
    pub bias: Vec<f64>,
    /// Applied to the sums of `i`, `f` and `o`.
    pub gates: Gates,
    /// `p`: `[3 * cells]`, gates `i f o`.
    pub peepholes: Option<Vec<f64>>,
    /// `P`: `[units][cells]`.
    pub projection: Option<Matrix>,
}

impl Lstm {
    /// The LSTM as every framework has it by default.
    pub fn new(input: Matrix, recurrent: Matrix, bias: Vec<f64>) -> Self {
        let (peepholes, projection) = (None, None);
        Self { input, recurrent, bias, gates: Gates::Sigmoid, peepholes, projection }
    }

    /// Elements of the cell state.
    pub fn cells(&self) -> usize {
        self.input.rows() / 4
    }
}

/// Where a GRU applies its reset gate.
#[derive(Clone, Debug, PartialEq)]
pub enum Reset {
    /// To the state, before the recurrent product (Cho 2014, Keras 1):
    /// `n = tanh(W_n x + b_n + U_n (r*h))`.
    Before,
    /// To the recurrent product (cuDNN, PyTorch, Keras' default):
    /// `n = tanh(W_n x + b_n + r*(U_n h + recurrent_bias))`.
    After {
        /// `[units]`: the bias inside the parentheses.
        recurrent_bias: Vec<f64>,
    },
}

/// `z, r = gate(W x + U h + b)`, `n` as in [`Reset`], `h' = z*h + (1-z)*n`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gru {
    /// `W`: `[3 * units][inputs]`, gates `z r n`.
    pub input: Matrix,
    /// `U`: `[3 * units][units]`, gates `z r n`.
    pub recurrent: Matrix,
    /// `[3 * units]`, gates `z r n`.
    pub bias: Vec<f64>,
    /// Applied to the sums of `z` and `r`.
    pub gates: Gates,
    /// Which of the two forms this is.
    pub reset: Reset,
}

impl Gru {
    /// The reset-before form.
    pub fn reset_before(input: Matrix, recurrent: Matrix, bias: Vec<f64>) -> Self {
        Self { input, recurrent, bias, gates: Gates::Sigmoid, reset: Reset::Before }
    }

    /// The reset-after form, from the two biases frameworks keep: that of the
    /// input and that of the recurrent product, `[3 * units]` each, `z r n`.
    pub fn reset_after(
        input: Matrix,
        recurrent: Matrix,
        bias: Vec<f64>,
        recurrent_bias: Vec<f64>,
    ) -> Self {
        let mut bias = bias;
        let mut recurrent_bias = recurrent_bias;
        // The gates z and r only ever see the sum.
        let of_candidate = recurrent_bias.split_off(recurrent_bias.len() / 3 * 2);
        bias.iter_mut().zip(recurrent_bias).for_each(|(b, r)| *b += r);
        let reset = Reset::After { recurrent_bias: of_candidate };
        Self { input, recurrent, bias, gates: Gates::Sigmoid, reset }
    }
}

/// `y = table[token]`: its input is one number, a token's id.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// `[tokens][units]`.
    pub table: Matrix,
}

impl Embedding {
    /// The row of a token; as in the engine, one that the table does not have is token 0.
    pub fn row(&self, token: f64) -> &[f64] {
        let known = (0.0..self.table.rows() as f64).contains(&token);
        self.table.row(if known { token as usize } else { 0 })
    }
}

/// `y = gamma*(x - mean)/sqrt(variance + epsilon) + beta`, over the features of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// `[units][1]`: each feature meets its own factor only.
    pub gamma: Matrix,
    /// `[units]`.
    pub beta: Vec<f64>,
    /// Keeps the root from zero.
    pub epsilon: f64,
}

/// What a layer computes.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Fully connected.
    Dense(Dense),
    /// Simple recurrent.
    Rnn(Rnn),
    /// Long short-term memory.
    Lstm(Lstm),
    /// Gated recurrent unit.
    Gru(Gru),
    /// A row of a table; only the first layer.
    Embedding(Embedding),
    /// Layer normalization.
    LayerNorm(LayerNorm),
    /// FastRNN or FastGRNN.
    Fast(Fast),
}

impl Op {
    /// The matrix that meets the layer's input; the table of an embedding, the factors of a layer
    /// normalization.
    pub fn input_matrix(&self) -> &Matrix {
        match self {
            Self::LayerNorm(l) => &l.gamma,
            Self::Fast(l) => &l.input,
            Self::Embedding(l) => &l.table,
            Self::Dense(l) => &l.weights,
            Self::Rnn(l) => &l.input,
            Self::Lstm(l) => &l.input,
            Self::Gru(l) => &l.input,
        }
    }

    /// The matrix that meets the layer's own last output, if it is recurrent.
    pub fn recurrent_matrix(&self) -> Option<&Matrix> {
        match self {
            Self::Dense(_) | Self::Embedding(_) | Self::LayerNorm(_) => None,
            Self::Fast(l) => Some(&l.recurrent),
            Self::Rnn(l) => Some(&l.recurrent),
            Self::Lstm(l) => Some(&l.recurrent),
            Self::Gru(l) => Some(&l.recurrent),
        }
    }

    /// Elements of what the layer computes on the way and multiplies with a matrix: see
    /// [`Step::inner`](crate::reference::Step::inner).
    pub fn inner(&self) -> Option<usize> {
        match self {
            Self::Gru(gru) => (gru.reset == Reset::Before).then(|| gru.recurrent.cols()),
            Self::Lstm(lstm) => lstm.projection.as_ref().map(Matrix::cols),
            Self::Fast(fast) => fast.factor.as_ref().map(Matrix::rows),
            _ => None,
        }
    }

    /// The bias of the pre-activations, as long as the input matrix has rows; none of an embedding.
    pub fn bias(&self) -> &[f64] {
        match self {
            Self::Embedding(_) => &[],
            Self::LayerNorm(l) => &l.beta,
            Self::Fast(l) => &l.bias,
            Self::Dense(l) => &l.bias,
            Self::Rnn(l) => &l.bias,
            Self::Lstm(l) => &l.bias,
            Self::Gru(l) => &l.bias,
        }
    }

    /// The input matrix, to fold a normalization into; an embedding and a layer normalization have
    /// none.
    fn input_mut(&mut self) -> Option<&mut Matrix> {
        Some(match self {
            Self::Dense(l) => &mut l.weights,
            Self::Rnn(l) => &mut l.input,
            Self::Lstm(l) => &mut l.input,
            Self::Gru(l) => &mut l.input,
            Self::Fast(l) => &mut l.input,
            Self::Embedding(_) | Self::LayerNorm(_) => return None,
        })
    }

    /// The biases that are added to the input's product: one, but two in a FastGRNN.
    fn biases_mut(&mut self) -> [&mut [f64]; 2] {
        match self {
            Self::Dense(l) => [&mut l.bias, &mut []],
            Self::Rnn(l) => [&mut l.bias, &mut []],
            Self::Lstm(l) => [&mut l.bias, &mut []],
            Self::Gru(l) => [&mut l.bias, &mut []],
            Self::Fast(l) => match &mut l.update {
                Update::Residual { .. } => [&mut l.bias, &mut []],
                Update::Gated { candidate_bias, .. } => [&mut l.bias, candidate_bias],
            },
            Self::Embedding(_) | Self::LayerNorm(_) => [&mut [], &mut []],
        }
    }

    /// Folds what precedes the layer into it: W (s x + o) + b = (W s) x + (b + W o). False if it
    /// takes tokens or normalizes, so that there is nothing to fold into.
    fn fold(&mut self, affine: &Affine) -> bool {
        let Some(weights) = self.input_mut() else { return false };
        let moved = weights.times(&affine.offset);
        weights.scale_columns(&affine.scale);
        for bias in self.biases_mut() {
            bias.iter_mut().zip(&moved).for_each(|(b, m)| *b += m);
        }
        true
    }

    /// Makes the gates of an LSTM or GRU `clamp(slope*z + offset, 0, 1)`, in place of
    /// sigmoids: of Keras 2 `clamp(0.2*z + 0.5, 0, 1)`, of Keras 3 `clamp(z/6 + 0.5, 0, 1)`.
    pub fn harden(&mut self, slope: f64, offset: f64) {
        // The slope and what the offset has more than 1/2 become part of the gates' rows.
        let (input, recurrent, bias, gates, are_gates) = match self {
            Self::Lstm(l) => {
                l.peepholes.iter_mut().flatten().for_each(|p| *p *= slope);
                let rows = (&mut l.input, &mut l.recurrent, &mut l.bias);
                (rows.0, rows.1, rows.2, &mut l.gates, &[true, true, false, true][..])
            }
            Self::Gru(l) => {
                let rows = (&mut l.input, &mut l.recurrent, &mut l.bias);
                (rows.0, rows.1, rows.2, &mut l.gates, &[true, true, false][..])
            }
            _ => return,
        };
        let cells = input.rows() / are_gates.len();
        let of_gate = |is_gate: &bool| if *is_gate { (slope, offset - 0.5) } else { (1.0, 0.0) };
        let (slopes, offsets): (Vec<_>, Vec<_>) =
            are_gates.iter().flat_map(|is_gate| vec![of_gate(is_gate); cells]).unzip();
        input.scale_rows(&slopes);
        recurrent.scale_rows(&slopes);
        for (b, (slope, offset)) in bias.iter_mut().zip(slopes.iter().zip(offsets)) {
            *b = *b * slope + offset;
        }
        *gates = Gates::HardSigmoid;
    }

    /// Rows of the input matrix per cell: 1, or the number of gates.
    pub fn gates(&self) -> usize {
        match self {
            Self::Dense(_)
            | Self::Rnn(_)
            | Self::Embedding(_)
            | Self::LayerNorm(_)
            | Self::Fast(_) => 1,
            Self::Lstm(_) => 4,
            Self::Gru(_) => 3,
        }
    }

    /// The kind of layer, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Dense(_) => "Dense",
            Self::Rnn(_) => "RNN",
            Self::Lstm(_) => "LSTM",
            Self::Gru(_) => "GRU",
            Self::LayerNorm(_) => "LayerNorm",
            Self::Fast(Fast { update: Update::Residual { .. }, .. }) => "FastRNN",
            Self::Fast(_) => "FastGRNN",
            Self::Embedding(_) => "Embedding",
        }
    }
}

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
