//! Long short-term memory (Hochreiter & Schmidhuber 1997, forget gate of Gers et al. 2000):
//!
//! ```text
//! i = sigmoid(U_i x + W_i h + b_i)      g = tanh(U_g x + W_g h + b_g)      c' = f·c + i·g
//! f = sigmoid(U_f x + W_f h + b_f)      o = sigmoid(U_o x + W_o h + b_o)   h' = o·tanh(c')
//! ```
//!
//! The four gates of four units are computed together, so no gate is ever stored.

use super::{BLOCK, Layer, commit, split_state};
use crate::kernels::{self, LSTM_GROUPS};

#[inline(never)]
pub(super) fn step(layer: &Layer<'_>, x: &[i16], state: &mut [u32], scratch: &mut [u32]) {
    let (c, h) = split_state(state, layer.units);
    let h_new: &mut [i16] = bytemuck::cast_slice_mut(scratch);
    let (mut blocks, v) = (layer.blocks(), layer.vectors(x, h));
    let mut z: [[[i32; BLOCK]; 4]; LSTM_GROUPS] = bytemuck::Zeroable::zeroed();
    let c = c.as_chunks_mut().0.chunks_mut(LSTM_GROUPS);
    for (c, h_new) in c.zip(h_new.as_chunks_mut().0.chunks_mut(LSTM_GROUPS)) {
        for (z, _) in z.iter_mut().zip(&*c) {
            blocks.next(&v, z);
        }
        kernels::lstm(&z, c, h_new);
    }
    commit(h, h_new);
}
