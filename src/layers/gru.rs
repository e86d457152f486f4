//! Gated recurrent unit, in both published forms:
//!
//! ```text
//! z = sigmoid(U_z x + W_z h + b_z)      r = sigmoid(U_r x + W_r h + b_r)
//! reset before (Cho et al. 2014, Keras 1):        n = tanh(U_n x + W_n (r·h) + b_n)
//! reset after (cuDNN, PyTorch, Keras by default): n = tanh(U_n x + b_n + r·(W_n h + b_hn))
//! h' = z·h + (1 − z)·n
//! ```
//!
//! A hidden state of 16 bits would round slow updates away, so the unit remembers `h` with 28
//! fractional bits, as an LSTM does its cell state; the products see it as Q0.15.

use super::{BLOCK, Layer, commit, split_state};
use crate::activation::{sigmoid, tanh};
use crate::fixed::{GATE_ONE, MEMORY_BITS, gated, round_shift, saturate_i16};

pub(super) fn step_after<'m>(
    layer: &Layer<'_>,
    x: &[i16],
    state: &'m mut [u32],
    scratch: &mut [u32],
) -> &'m [i16] {
    let (memory, h) = split_state(state, layer.units);
    let h_new: &mut [i16] = bytemuck::cast_slice_mut(scratch);
    let mut blocks = layer.blocks();
    for (m, h_new) in memory.as_chunks_mut::<4>().0.iter_mut().zip(h_new.as_chunks_mut::<4>().0) {
        let [z, r] = blocks.next(x, h);
        let [n_x] = blocks.next(x, &[]);
        let [n_h] = blocks.next(&[], h);
        for unit in 0..BLOCK {
            let n = n_x[unit].wrapping_add(gated(n_h[unit], sigmoid(r[unit])));
            (m[unit], h_new[unit]) = blend(m[unit], z[unit], n);
        }
    }
    commit(h, h_new);
    h
}

pub(super) fn step_before<'m>(
    layer: &Layer<'_>,
    x: &[i16],
    state: &'m mut [u32],
    scratch: &mut [u32],
) -> &'m [i16] {
    let (memory, h) = split_state(state, layer.units);
    let (reset, h_new) = scratch.split_at_mut(h.len().div_ceil(2).min(scratch.len()));
    let reset: &mut [i16] = bytemuck::cast_slice_mut(reset);
    let h_new: &mut [i16] = bytemuck::cast_slice_mut(h_new);
    let mut blocks = layer.blocks();
    for (reset, h4) in reset.as_chunks_mut::<4>().0.iter_mut().zip(h.as_chunks::<4>().0) {
        let [r] = blocks.next(x, h);
        for unit in 0..BLOCK {
            reset[unit] = round_shift(sigmoid(r[unit]) * h4[unit] as i32, 16) as i16;
        }
    }
    for (m, h_new) in memory.as_chunks_mut::<4>().0.iter_mut().zip(h_new.as_chunks_mut::<4>().0) {
        let [z] = blocks.next(x, h);
        let [n] = blocks.next(x, reset);
        for unit in 0..BLOCK {
            (m[unit], h_new[unit]) = blend(m[unit], z[unit], n[unit]);
        }
    }
    commit(h, h_new);
    h
}

/// `z·h + (1 − z)·n` of one unit: its new memory and hidden state, from pre-activations.
#[inline(always)]
fn blend(memory: i32, z: i32, n: i32) -> (i32, i16) {
    let (z, n) = (sigmoid(z), tanh(n));
    // (1 − z)·n has 16 + 15 fractional bits and fits: |n| < 2^15.
    let new = round_shift((GATE_ONE - z) * n, 31 - MEMORY_BITS);
    let memory = gated(memory, z).wrapping_add(new);
    (memory, saturate_i16(round_shift(memory, MEMORY_BITS - 15)))
}
