//! LSTM with what the plain one leaves out: peepholes (Gers & Schmidhuber 2000), by which the gates
//! see the cell state, a projection of what comes out (Sak et al. 2014), gates that are hard sigmoids.
//!
//! ```text
//! i = gate(U_i x + W_i r + p_i·c + b_i)   g = tanh(U_g x + W_g r + b_g)           c' = f·c + i·g
//! f = gate(U_f x + W_f r + p_f·c + b_f)   o = gate(U_o x + W_o r + p_o·c' + b_o)  h = o·tanh(c')
//! r' = P h (without a projection: h)
//! ```

use super::{Activation, BLOCK, Layer, LayerKind, PEEPHOLE_RECORDS, commit, split_state};
use crate::activation::{hard_sigmoid, sigmoid, tanh, tanh_cell};
use crate::fixed::{CELL_BITS, gated, round_shift, saturate_cell, scale};
use crate::kernels::Row;

/// Peepholes of four cells, `i f o`, with 12 fractional bits.
type Peepholes = [Row; PEEPHOLE_RECORDS];

#[inline(never)]
pub(super) fn step(
    layer: &Layer<'_>,
    is_hard: bool,
    x: &[i16],
    state: &mut [u32],
    scratch: &mut [u32],
) {
    let LayerKind::Lstm { peepholes, projection, .. } = layer.kind else { return };
    let (c, r) = split_state(state, layer.units);
    let h: &mut [i16] = bytemuck::cast_slice_mut(scratch);
    let (mut blocks, v) = (layer.blocks_behind_parameters(), layer.vectors(x, r));
    let behind = if peepholes { layer.behind_rows() } else { &[] };
    let mut peepholes = behind.as_chunks().0.iter();
    let mut z = [[0; BLOCK]; 4];
    for (c, h) in c.as_chunks_mut::<4>().0.iter_mut().zip(h.as_chunks_mut::<4>().0) {
        blocks.next(&v, &mut z);
        let p = peepholes.next().unwrap_or(&[[0; 8]; PEEPHOLE_RECORDS]);
        for unit in 0..BLOCK {
            c[unit] = cell(is_hard, z.map(|z| z[unit]), p, unit, c[unit], &mut h[unit]);
        }
    }
    if projection {
        let v = layer.vectors(h, &[]);
        blocks.outputs(layer, Activation::Linear, &v, r.as_chunks_mut().0);
    } else {
        commit(r, h);
    }
}

/// The new state of the cell `unit` of four, from the pre-activations of its gates; writes `h`.
#[inline(always)]
fn cell(
    is_hard: bool,
    [i, f, g, o]: [i32; 4],
    [p_i, p_f, p_o]: &Peepholes,
    unit: usize,
    c: i32,
    h: &mut i16,
) -> i32 {
    let gate = |z: i32| if is_hard { hard_sigmoid(z) } else { sigmoid(z) };
    let seen = |c: i32, p: &Row| scale(c, weight(p, unit));
    let i = gate(i.wrapping_add(seen(c, p_i)));
    let f = gate(f.wrapping_add(seen(c, p_f)));
    // i·g has 16 + 15 fractional bits and fits: |g| < 2^15.
    let new = gated(c, f).wrapping_add(round_shift(i * tanh(g), 31 - CELL_BITS));
    let new = saturate_cell(new);
    let o = gate(o.wrapping_add(seen(new, p_o)));
    *h = round_shift(o * tanh_cell(new), 16) as i16;
    new
}

/// One of the four weights of a record.
fn weight(record: &Row, unit: usize) -> i16 {
    record.as_chunks().0.get(unit).map_or(0, |bytes| i16::from_le_bytes(*bytes))
}
