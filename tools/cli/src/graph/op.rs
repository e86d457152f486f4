//! What a layer computes, and its weights.

use super::{Affine, Fast, Matrix, Update};

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
    pub(super) fn scale_outputs(&mut self, affine: &Affine) {
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
    pub(super) fn input_mut(&mut self) -> Option<&mut Matrix> {
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
    pub(super) fn biases_mut(&mut self) -> [&mut [f64]; 2] {
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
    pub(super) fn fold(&mut self, affine: &Affine) -> bool {
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
