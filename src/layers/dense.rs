//! `y = activation(W x + b)`

use super::{Activation, Layer};
use crate::activation::{sigmoid, softmax, tanh};
use crate::fixed::{positive, round_shift, saturate_i16};

#[inline(never)]
pub(super) fn step<'m>(
    layer: &Layer<'_>,
    activation: Activation,
    x: &[i16],
    state: &'m mut [u32],
    scratch: &mut [u32],
) -> &'m [i16] {
    let y: &mut [i16] = bytemuck::cast_slice_mut(state);
    let (mut blocks, v) = (layer.blocks(), layer.vectors(x, &[]));
    if activation == Activation::Softmax {
        let z: &mut [i32] = bytemuck::cast_slice_mut(scratch);
        blocks.fill(&v, z.as_chunks_mut().0, |z| z);
        // Padding rows have no logit and get no probability.
        let units = layer.units.min(z.len()).min(y.len());
        softmax(&mut z[..units], &mut y[..units]);
    } else {
        blocks.fill(&v, y.as_chunks_mut().0, |z| {
            z.map(|z| match activation {
                Activation::Sigmoid => saturate_i16(round_shift(sigmoid(z), 1)),
                Activation::Tanh => tanh(z) as i16,
                Activation::Relu => saturate_i16(round_shift(positive(z), layer.shift as u32)),
                Activation::Linear | Activation::Softmax => {
                    saturate_i16(round_shift(z, layer.shift as u32))
                }
            })
        });
    }
    y
}
