//! `y = activation(W x + b)`

use super::{Activation, Layer, padded};
use crate::activation::{sigmoid, softmax, tanh};
use crate::fixed::{positive, round_shift, saturate_i16};

pub(super) fn step<'m>(
    layer: &Layer<'_>,
    activation: Activation,
    x: &[i16],
    state: &'m mut [u32],
    scratch: &mut [u32],
) -> &'m [i16] {
    let y: &mut [i16] = bytemuck::cast_slice_mut(state);
    let mut blocks = layer.blocks();
    if activation == Activation::Softmax {
        let z: &mut [i32] = bytemuck::cast_slice_mut(scratch);
        for z in z.as_chunks_mut().0.iter_mut().take(padded(layer.units) / 4) {
            [*z] = blocks.next(x, &[]);
        }
        // Padding rows have no logit and get no probability.
        let units = layer.units.min(z.len()).min(y.len());
        softmax(&mut z[..units], &mut y[..units]);
    } else {
        for y in y.as_chunks_mut::<4>().0 {
            let [z] = blocks.next(x, &[]);
            *y = z.map(|z| match activation {
                Activation::Sigmoid => saturate_i16(round_shift(sigmoid(z), 1)),
                Activation::Tanh => tanh(z) as i16,
                Activation::Relu => saturate_i16(round_shift(positive(z), layer.shift as u32)),
                Activation::Linear | Activation::Softmax => {
                    saturate_i16(round_shift(z, layer.shift as u32))
                }
            });
        }
    }
    y
}
