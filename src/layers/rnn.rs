//! Elman network: `h' = tanh(U x + W h + b)` (or ReLU).

use super::{Activation, Layer, commit};
use crate::activation::tanh;
use crate::fixed::{positive, round_shift, saturate_i16};

#[inline(never)]
pub(super) fn step<'m>(
    layer: &Layer<'_>,
    activation: Activation,
    x: &[i16],
    state: &'m mut [u32],
    scratch: &mut [u32],
) -> &'m [i16] {
    let h: &mut [i16] = bytemuck::cast_slice_mut(state);
    let h_new: &mut [i16] = bytemuck::cast_slice_mut(scratch);
    let h_new = h_new.as_chunks_mut().0;
    layer.blocks().fill(&layer.vectors(x, h), h_new, |z| {
        z.map(|z| match activation {
            Activation::Relu => saturate_i16(round_shift(positive(z), layer.shift as u32)),
            _ => tanh(z) as i16,
        })
    });
    commit(h, h_new.as_flattened());
    h
}
