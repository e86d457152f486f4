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

use bytemuck::Zeroable;

use super::{BLOCK, Layer, commit, split_state};
use crate::activation::{hard_sigmoid, sigmoid};
use crate::kernels::{self, portable};

/// `HARD`: gates are hard sigmoids.
pub(super) fn step<const HARD: bool>(
    layer: &Layer<'_>,
    reset_after: bool,
    x: &[i16],
    state: &mut [u32],
    scratch: &mut [u32],
) {
    if reset_after {
        step_after::<HARD>(layer, x, state, scratch);
    } else {
        step_before::<HARD>(layer, x, state, scratch);
    }
}

#[inline(never)]
fn step_after<const HARD: bool>(
    layer: &Layer<'_>,
    x: &[i16],
    state: &mut [u32],
    scratch: &mut [u32],
) {
    let (memory, h) = split_state(state, layer.units);
    let h_new: &mut [i16] = bytemuck::cast_slice_mut(scratch);
    let (mut blocks, v) = (layer.blocks(), layer.vectors(x, h));
    let mut z: [[i32; BLOCK]; 4] = Zeroable::zeroed();
    for (m, h_new) in memory.as_chunks_mut::<4>().0.iter_mut().zip(h_new.as_chunks_mut::<4>().0) {
        blocks.next_apart(&v, &mut z);
        if HARD {
            portable::gru_after_with(hard_sigmoid, &z, m, h_new);
        } else {
            kernels::gru_after(&z, m, h_new);
        }
    }
    commit(h, h_new);
}

#[inline(never)]
fn step_before<const HARD: bool>(
    layer: &Layer<'_>,
    x: &[i16],
    state: &mut [u32],
    scratch: &mut [u32],
) {
    let (memory, h) = split_state(state, layer.units);
    let (reset, h_new) = scratch.split_at_mut(h.len().div_ceil(2).min(scratch.len()));
    let reset: &mut [i16] = bytemuck::cast_slice_mut(reset);
    let h_new: &mut [i16] = bytemuck::cast_slice_mut(h_new);
    let (mut blocks, both) = (layer.blocks(), layer.vectors(x, h));
    let mut z: [[i32; BLOCK]; 2] = Zeroable::zeroed();
    for (reset, h) in reset.as_chunks_mut::<4>().0.iter_mut().zip(h.as_chunks().0) {
        blocks.next(&both, &mut z[..1]);
        *reset = if HARD {
            kernels::reset(hard_sigmoid, &z[0], h)
        } else {
            kernels::reset(sigmoid, &z[0], h)
        };
    }
    let after_reset = layer.vectors(x, reset);
    for (m, h_new) in memory.as_chunks_mut::<4>().0.iter_mut().zip(h_new.as_chunks_mut::<4>().0) {
        blocks.next(&both, &mut z[..1]);
        blocks.next(&after_reset, &mut z[1..]);
        if HARD {
            portable::gru_before_with(hard_sigmoid, &z, m, h_new);
        } else {
            kernels::gru_before(&z, m, h_new);
        }
    }
    commit(h, h_new);
}
