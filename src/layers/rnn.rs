//! Elman network: `h' = tanh(U x + W h + b)` (or ReLU).

use super::{Activation, Layer, commit};

pub(super) fn step(
    layer: &Layer<'_>,
    activation: Activation,
    x: &[i16],
    state: &mut [u32],
    scratch: &mut [u32],
) {
    let h: &mut [i16] = bytemuck::cast_slice_mut(state);
    let h_new: &mut [i16] = bytemuck::cast_slice_mut(scratch);
    let h_new = h_new.as_chunks_mut().0;
    layer.blocks().outputs(layer, activation, &layer.vectors(x, h), h_new);
    commit(h, h_new.as_flattened());
}
