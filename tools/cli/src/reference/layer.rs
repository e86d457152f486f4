//! One layer of a group of sequences, one step at a time.

use super::{LANES, Lane, LayerState};
use crate::graph::{
    Activation, Gates, Layer, LayerNorm, Lstm, Matrix, Op, Reset, RnnActivation, Update,
};

/// A layer and what it remembers; `z` and `inner` are scratch.
#[derive(Clone)]
pub(super) struct LayerRun<'a> {
    pub(super) layer: &'a Layer,
    /// `[units]`.
    pub(super) h: Vec<Lane>,
    /// `[cells]`.
    pub(super) c: Vec<Lane>,
    /// Pre-activations, `[gates * cells]`.
    z: Vec<Lane>,
    /// `[cells]`: the candidate's recurrent product in a GRU, or what it is taken of; what an LSTM
    /// projects. `[rank]`: what a FastRNN or FastGRNN of low rank makes of `h`.
    pub(super) inner: Vec<Lane>,
}

impl<'a> LayerRun<'a> {
    pub(super) fn new(layer: &'a Layer) -> Self {
        let zeros = |n| vec![Lane::default(); n];
        let cells = layer.cells();
        let (c, inner) = match &layer.op {
            Op::Lstm(_) => (cells, cells),
            Op::Gru(_) => (0, cells),
            Op::Fast(fast) => (0, fast.factor.as_ref().map_or(0, Matrix::rows)),
            _ => (0, 0),
        };
        Self {
            layer,
            h: zeros(layer.units()),
            c: zeros(c),
            z: zeros(cells * layer.op.gates()),
            inner: zeros(inner),
        }
    }

    pub(super) fn state(&self, lane: usize) -> LayerState {
        let gather = |values: &[Lane]| values.iter().map(|v| v[lane]).collect();
        let is_recurrent = self.layer.op.recurrent_matrix().is_some();
        LayerState { h: gather(if is_recurrent { &self.h } else { &[] }), c: gather(&self.c) }
    }

    /// One step: `x` in, `self.h` out.
    pub(super) fn step(&mut self, x: &[Lane]) {
        let Self { layer, h, c, z, inner } = self;
        let units = h.len();
        if let Op::Embedding(embedding) = &layer.op {
            for l in 0..LANES {
                let row = embedding.row(x[0][l]);
                h.iter_mut().zip(row).for_each(|(h, v)| h[l] = *v);
            }
            return;
        }
        if let Op::LayerNorm(norm) = &layer.op {
            return normalize(norm, x, h);
        }
        for (z, &b) in z.iter_mut().zip(layer.op.bias()) {
            *z = [b; LANES];
        }
        multiply_add(layer.op.input_matrix(), 0, x, z);
        match &layer.op {
            Op::Embedding(_) | Op::LayerNorm(_) => {}
            Op::Fast(fast) => {
                match &fast.factor {
                    Some(factor) => {
                        inner.fill(Lane::default());
                        multiply_add(factor, 0, h, inner);
                        multiply_add(&fast.recurrent, 0, inner, z);
                    }
                    None => multiply_add(&fast.recurrent, 0, h, z),
                }
                for u in 0..units {
                    for l in 0..LANES {
                        let p = z[u][l];
                        h[u][l] = match &fast.update {
                            Update::Residual { alpha, beta } => {
                                beta * h[u][l] + alpha * libm::tanh(p)
                            }
                            Update::Gated { candidate_bias, zeta, nu } => {
                                let z = sigmoid(p);
                                let n = libm::tanh(p - fast.bias[u] + candidate_bias[u]);
                                z * h[u][l] + (zeta * (1.0 - z) + nu) * n
                            }
                        };
                    }
                }
            }
            Op::Dense(dense) => {
                h.copy_from_slice(z);
                activate(dense.activation, h);
            }
            Op::Rnn(rnn) => {
                multiply_add(&rnn.recurrent, 0, h, z);
                h.copy_from_slice(z);
                activate(
                    match rnn.activation {
                        RnnActivation::Tanh => Activation::Tanh,
                        RnnActivation::Relu => Activation::Relu,
                    },
                    h,
                );
            }
            Op::Lstm(lstm) => {
                multiply_add(&lstm.recurrent, 0, h, z);
                match &lstm.projection {
                    None => cells(lstm, z, c, h),
                    Some(projection) => {
                        cells(lstm, z, c, inner);
                        h.fill(Lane::default());
                        multiply_add(projection, 0, inner, h);
                    }
                }
            }
            Op::Gru(gru) => {
                let (gates, candidate) = z.split_at_mut(2 * units);
                multiply_add(&gru.recurrent, 0, h, gates);
                gates.iter_mut().flatten().for_each(|v| *v = gate(gru.gates, *v));
                let (z, r) = gates.split_at(units);
                match &gru.reset {
                    Reset::After { recurrent_bias } => {
                        for (inner, &b) in inner.iter_mut().zip(recurrent_bias) {
                            *inner = [b; LANES];
                        }
                        multiply_add(&gru.recurrent, 2 * units, h, inner);
                        for u in 0..units {
                            for l in 0..LANES {
                                candidate[u][l] += r[u][l] * inner[u][l];
                            }
                        }
                    }
                    Reset::Before => {
                        for u in 0..units {
                            for l in 0..LANES {
                                inner[u][l] = r[u][l] * h[u][l];
                            }
                        }
                        multiply_add(&gru.recurrent, 2 * units, inner, candidate);
                    }
                }
                for u in 0..units {
                    for l in 0..LANES {
                        let z = z[u][l];
                        h[u][l] = z * h[u][l] + (1.0 - z) * libm::tanh(candidate[u][l]);
                    }
                }
            }
        }
    }
}

/// The cells of an LSTM, from the pre-activations without peepholes; `h` is what comes out before a
/// projection.
fn cells(lstm: &Lstm, z: &[Lane], c: &mut [Lane], h: &mut [Lane]) {
    let cells = c.len();
    let peephole = |gate: usize, u: usize| match &lstm.peepholes {
        Some(weights) => weights[gate * cells + u],
        None => 0.0,
    };
    for u in 0..cells {
        let [p_i, p_f, p_o] = [0, 1, 2].map(|gate| peephole(gate, u));
        for l in 0..LANES {
            let [i, f, g, o] = [0, 1, 2, 3].map(|gate| z[gate * cells + u][l]);
            let i = gate(lstm.gates, i + p_i * c[u][l]);
            let f = gate(lstm.gates, f + p_f * c[u][l]);
            c[u][l] = f * c[u][l] + i * libm::tanh(g);
            h[u][l] = gate(lstm.gates, o + p_o * c[u][l]) * libm::tanh(c[u][l]);
        }
    }
}

/// `z += W[first_row..][..z.len()] x`, in every lane.
fn multiply_add(weights: &Matrix, first_row: usize, x: &[Lane], z: &mut [Lane]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, which is all that the function asks for.
        return unsafe { multiply_add_avx2(weights, first_row, x, z) };
    }
    multiply_add_rows::<2>(weights, first_row, x, z);
}

/// Wider registers; the same operations on every lane, hence the same bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn multiply_add_avx2(weights: &Matrix, first_row: usize, x: &[Lane], z: &mut [Lane]) {
    multiply_add_rows::<4>(weights, first_row, x, z);
}

/// `ROWS` rows at once share the loads of `x`; as many as fit the registers.
#[inline(always)]
fn multiply_add_rows<const ROWS: usize>(
    weights: &Matrix,
    first_row: usize,
    x: &[Lane],
    z: &mut [Lane],
) {
    let cols = weights.cols();
    let x = &x[..cols];
    let values = &weights.values()[first_row * cols..];
    let (blocks, rest) = z.as_chunks_mut::<ROWS>();
    let mut rows = values.chunks_exact(cols);
    for z in blocks {
        let row: [&[f64]; ROWS] =
            std::array::from_fn(|_| rows.next().expect("a row for every sum"));
        let mut sums = *z;
        for (k, x) in x.iter().enumerate() {
            for r in 0..ROWS {
                for l in 0..LANES {
                    sums[r][l] += row[r][k] * x[l];
                }
            }
        }
        *z = sums;
    }
    for (z, row) in rest.iter_mut().zip(rows) {
        for (&w, x) in row.iter().zip(x) {
            for l in 0..LANES {
                z[l] += w * x[l];
            }
        }
    }
}

fn activate(activation: Activation, values: &mut [Lane]) {
    let each: fn(f64) -> f64 = match activation {
        Activation::Linear => return,
        Activation::Relu => |v| v.max(0.0),
        Activation::Tanh => libm::tanh,
        Activation::Sigmoid => sigmoid,
        Activation::Softmax => return softmax(values),
    };
    values.iter_mut().flatten().for_each(|v| *v = each(*v));
}

/// Layer normalization of `x` into `y`.
fn normalize(norm: &LayerNorm, x: &[Lane], y: &mut [Lane]) {
    let count = x.len() as f64;
    for l in 0..LANES {
        let mean = x.iter().map(|v| v[l]).sum::<f64>() / count;
        let variance = x.iter().map(|v| (v[l] - mean) * (v[l] - mean)).sum::<f64>() / count;
        let root = (variance + norm.epsilon).sqrt();
        let factors = norm.gamma.values().iter().zip(&norm.beta);
        for ((y, x), (gamma, beta)) in y.iter_mut().zip(x).zip(factors) {
            y[l] = gamma * (x[l] - mean) / root + beta;
        }
    }
}

fn softmax(values: &mut [Lane]) {
    for l in 0..LANES {
        // Relative to the largest, so that no exponential overflows.
        let largest = values.iter().map(|v| v[l]).fold(f64::NEG_INFINITY, f64::max);
        let mut sum = 0.0;
        for v in values.iter_mut() {
            v[l] = libm::exp(v[l] - largest);
            sum += v[l];
        }
        values.iter_mut().for_each(|v| v[l] /= sum);
    }
}

fn gate(gates: Gates, v: f64) -> f64 {
    match gates {
        Gates::Sigmoid => sigmoid(v),
        Gates::HardSigmoid => (v + 0.5).clamp(0.0, 1.0),
    }
}

fn sigmoid(v: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-v))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_of_register_gives_the_same_bits() {
        let mut seed = 1u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(seed) / 2f64.powi(31) - 1.0
        };
        for (rows, cols) in [(1, 1), (2, 3), (3, 2), (5, 7), (12, 33)] {
            let weights = Matrix::new(rows, cols, (0..rows * cols).map(|_| random()).collect());
            let x: Vec<Lane> = (0..cols).map(|_| std::array::from_fn(|_| random())).collect();
            let mut expected = vec![[0.5; LANES]; rows];
            for (z, r) in expected.iter_mut().zip(0..) {
                for (k, x) in x.iter().enumerate() {
                    for l in 0..LANES {
                        z[l] += weights.row(r)[k] * x[l];
                    }
                }
            }
            let mut widest = vec![[0.5; LANES]; rows];
            multiply_add(&weights, 0, &x, &mut widest);
            assert_eq!(widest, expected);
            let mut narrow = vec![[0.5; LANES]; rows - 1];
            multiply_add_rows::<2>(&weights, 1, &x, &mut narrow);
            assert_eq!(narrow, expected[1..]);
        }
    }
}
