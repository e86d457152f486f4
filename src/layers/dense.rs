//! `y = activation(W x + b)`

use super::{Activation, Layer};
use crate::activation::softmax;

#[inline(never)]
pub(super) fn step(
    layer: &Layer<'_>,
    activation: Activation,
    x: &[i16],
    state: &mut [u32],
    scratch: &mut [u32],
) {
    let y: &mut [i16] = bytemuck::cast_slice_mut(state);
    let (mut blocks, v) = (layer.blocks(), layer.vectors(x, &[]));
    if activation == Activation::Softmax {
        let z: &mut [i32] = bytemuck::cast_slice_mut(scratch);
        blocks.logits(&v, z.as_chunks_mut().0);
        // Padding rows have no logit and get no probability.
        let units = layer.units.min(z.len()).min(y.len());
        softmax(&mut z[..units], &mut y[..units]);
    } else {
        blocks.outputs(layer, activation, &v, y.as_chunks_mut().0);
    }
}
