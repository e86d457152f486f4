//! Long short-term memory (Hochreiter & Schmidhuber 1997, forget gate of Gers et al. 2000):
//!
//! ```text
//! i = sigmoid(U_i x + W_i h + b_i)      g = tanh(U_g x + W_g h + b_g)      c' = f·c + i·g
//! f = sigmoid(U_f x + W_f h + b_f)      o = sigmoid(U_o x + W_o h + b_o)   h' = o·tanh(c')
//! ```
//!
//! The four gates of four units are computed together, so no gate is ever stored.

use super::{Layer, commit, split_state};
use crate::activation::{sigmoid, tanh, tanh_cell};
use crate::fixed::{CELL_BITS, gated, round_shift, saturate_cell};

pub(super) fn step<'m>(
    layer: &Layer<'_>,
    x: &[i16],
    state: &'m mut [u32],
    scratch: &mut [u32],
) -> &'m [i16] {
    let (c, h) = split_state(state, layer.units);
    let h_new: &mut [i16] = bytemuck::cast_slice_mut(scratch);
    let mut blocks = layer.blocks();
    for (c, h_new) in c.as_chunks_mut::<4>().0.iter_mut().zip(h_new.as_chunks_mut::<4>().0) {
        let [i, f, g, o] = blocks.next(x, h);
        for unit in 0..4 {
            (c[unit], h_new[unit]) = cell(c[unit], i[unit], f[unit], g[unit], o[unit]);
        }
    }
    commit(h, h_new);
    h
}

/// The new cell state and hidden state of one unit, from its cell state and pre-activations.
#[inline(always)]
fn cell(c: i32, i: i32, f: i32, g: i32, o: i32) -> (i32, i16) {
    let (i, f, g, o) = (sigmoid(i), sigmoid(f), tanh(g), sigmoid(o));
    // i·g has 16 + 15 fractional bits and fits: |g| < 2^15.
    let c = saturate_cell(gated(c, f) + round_shift(i * g, 31 - CELL_BITS));
    let h = round_shift(o * tanh_cell(c), 16);
    (c, h as i16)
}
