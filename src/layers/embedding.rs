//! Embedding: `y = table[token]`.
//!
//! A token's record holds a multiplier and its row of weights, so that rows of any size come out in
//! one scale: `y = round(m · w / 2^shift)`. A token that the table does not have, negative ones
//! included, is token 0.

use super::{Layer, WeightType};
use crate::fixed::{round_shift, saturate_i16};
use crate::kernels::sign_mask;

#[inline(never)]
pub(super) fn step(layer: &Layer<'_>, x: &[i16], state: &mut [u32]) {
    let y: &mut [i16] = bytemuck::cast_slice_mut(state);
    let y = y.split_at_mut(layer.units.min(y.len())).0;
    // A negative id becomes one from 2^15 on, which no table has.
    let id = i32::from(x.first().map_or(0, |id| *id) as u16);
    let token = (id & sign_mask(id - layer.inputs as i32)) as usize;
    let record = layer.weights.get(token * layer.token_bytes()..).unwrap_or(&[]);
    let Some((multiplier, row)) = record.split_first_chunk() else { return };
    let multiplier = i32::from(i16::from_le_bytes(*multiplier));
    let value = |w: i32| saturate_i16(round_shift(w * multiplier, layer.shift.into()));
    match layer.weight_type() {
        WeightType::Int8 => {
            for (y, w) in y.iter_mut().zip(row) {
                *y = value((*w as i8).into());
            }
        }
        WeightType::Int16 => {
            for (y, w) in y.iter_mut().zip(row.as_chunks().0) {
                *y = value(i16::from_le_bytes(*w).into());
            }
        }
        WeightType::Int4 => {
            for (y, pair) in y.chunks_mut(2).zip(row) {
                for (y, nibble) in y.iter_mut().zip([pair & 15, pair >> 4]) {
                    *y = value(i32::from(nibble) - 8);
                }
            }
        }
    }
}
