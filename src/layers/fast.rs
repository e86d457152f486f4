//! FastRNN and FastGRNN (Kusupati et al. 2018, EdgeML): a residual connection with two scalars, or one
//! gate that shares its products with the candidate.
//!
//! ```text
//! FastRNN:   n = tanh(W x + U h + b)                                  h' = β·h + α·n
//! FastGRNN:  p = W x + U h    z = sigmoid(p + b_z)   n = tanh(p + b_n)   h' = z·h + (ζ·(1 − z) + ν)·n
//! low rank:  U h = U_2 (U_1 h)
//! ```
//!
//! Nothing keeps `h` below 1, so it has a scale; the unit remembers it with 13 more fractional bits, as
//! a GRU does. What multiplies `n` has 29 and is in units of that scale.

use super::{Activation, BLOCK, Layer, split_state};
use crate::activation::{sigmoid, tanh};
use crate::fixed::{
    GATE_ONE, MEMORY_BITS, gated, round_shift, saturate_i16, saturate_symmetric, scale,
};

/// `h' = β·h + α·n`
#[inline(never)]
pub(super) fn step_rnn(layer: &Layer<'_>, x: &[i16], state: &mut [u32], scratch: &mut [u32]) {
    let (alpha, beta) = layer.factors();
    // β with 31 fractional bits: 16 and what they leave.
    let (most, rest) = ((beta >> 15) as i32, (beta & 0x7fff) as i16);
    step(layer, x, state, scratch, |z, _, h| {
        let kept = gated(h, most).wrapping_add(scale(h, rest) >> 15);
        kept.wrapping_add(scale(alpha, tanh(z) as i16))
    });
}

/// `h' = z·h + (ζ·(1 − z) + ν)·n`
#[inline(never)]
pub(super) fn step_grnn(layer: &Layer<'_>, x: &[i16], state: &mut [u32], scratch: &mut [u32]) {
    let (zeta, nu) = layer.factors();
    step(layer, x, state, scratch, |p, between, h| {
        let (z, n) = (sigmoid(p), tanh(p.wrapping_add(between)));
        let factor = gated(zeta, GATE_ONE - z).wrapping_add(nu as i32);
        gated(h, z).wrapping_add(scale(factor, n as i16))
    });
}

/// `update` makes a unit's new memory of its pre-activation, what lies between its two biases, and
/// its memory.
#[inline(always)]
fn step(
    layer: &Layer<'_>,
    x: &[i16],
    state: &mut [u32],
    scratch: &mut [u32],
    update: impl Fn(i32, i32, i32) -> i32,
) {
    let (memory, h) = split_state(state, layer.units);
    let inner: &mut [i16] = bytemuck::cast_slice_mut(scratch);
    let mut blocks = layer.blocks_behind_parameters();
    let is_low_rank = !inner.is_empty();
    if is_low_rank {
        let v = layer.vectors(h, &[]);
        blocks.outputs(layer, Activation::Linear, &v, inner.as_chunks_mut().0);
    }
    let v = layer.vectors(x, if is_low_rank { inner } else { h });
    let mut between = layer.behind_rows().as_chunks::<2>().0.iter();
    let mut z = [[0; BLOCK]; 1];
    for memory in memory.as_chunks_mut::<BLOCK>().0 {
        blocks.next(&v, &mut z);
        let between = between.next().map_or([0; BLOCK], |records| {
            let [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]] = *records;
            [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]].map(i32::from_le_bytes)
        });
        for ((memory, z), between) in memory.iter_mut().zip(z[0]).zip(between) {
            *memory = saturate_symmetric::<{ MEMORY_BITS + 1 }>(update(z, between, *memory));
        }
    }
    for (h, memory) in h.iter_mut().zip(memory.iter()) {
        *h = saturate_i16(round_shift(*memory, MEMORY_BITS - 15));
    }
}
