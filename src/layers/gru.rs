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
use crate::kernels;

#[inline(never)]
pub(super) fn step_after<'m>(
    layer: &Layer<'_>,
    x: &[i16],
    state: &'m mut [u32],
    scratch: &mut [u32],
) -> &'m [i16] {
    let (memory, h) = split_state(state, layer.units);
    let h_new: &mut [i16] = bytemuck::cast_slice_mut(scratch);
    let mut blocks = layer.blocks();
    let (both, x, of_h) = (layer.vectors(x, h), layer.vectors(x, &[]), layer.vectors(&[], h));
    let (mut zr, mut n_x, mut n_h) = ([[0; BLOCK]; 2], [[0; BLOCK]], [[0; BLOCK]]);
    for (m, h_new) in memory.as_chunks_mut::<4>().0.iter_mut().zip(h_new.as_chunks_mut::<4>().0) {
        blocks.next(&both, &mut zr);
        blocks.next(&x, &mut n_x);
        blocks.next(&of_h, &mut n_h);
        *h_new = kernels::gru_after(&zr, &n_x[0], &n_h[0], m);
    }
    commit(h, h_new);
    h
}

#[inline(never)]
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
    let (mut blocks, both) = (layer.blocks(), layer.vectors(x, h));
    let (mut z, mut n) = ([[0; BLOCK]], [[0; BLOCK]]);
    for (reset, h) in reset.as_chunks_mut::<4>().0.iter_mut().zip(h.as_chunks().0) {
        blocks.next(&both, &mut z);
        *reset = kernels::reset(&z[0], h);
    }
    let after_reset = layer.vectors(x, reset);
    for (m, h_new) in memory.as_chunks_mut::<4>().0.iter_mut().zip(h_new.as_chunks_mut::<4>().0) {
        blocks.next(&both, &mut z);
        blocks.next(&after_reset, &mut n);
        *h_new = kernels::gru_before(&z[0], &n[0], m);
    }
    commit(h, h_new);
    h
}
