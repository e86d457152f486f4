//! The definition of every answer, in plain Rust.

use core::array;

use super::{GROUP, Row, Tiles};
use crate::activation::{self, sigmoid, tanh_cell};
use crate::fixed::{
    CELL_BITS, GATE_ONE, MEMORY_BITS, gated, round_shift, saturate_cell, saturate_i16, scale,
};

/// All ones for a negative value, else 0.
#[cfg(not(any(kernel = "armv6m", kernel = "riscv32")))]
#[inline(always)]
pub(crate) const fn sign_mask(value: i32) -> i32 {
    value >> 31
}

/// The products of blocks of four rows, for every packing; `apart` if those of the last are.
pub fn affine(
    tiles: Tiles,
    rows: &[[Row; 4]],
    mut weights: &[u8],
    x: &[i16],
    h: &[i16],
    z: &mut [[i32; 4]],
    apart: bool,
) {
    let mut next = |v: &[i16]| {
        let (own, rest) = weights.split_at(tiles.bytes(v.len()).min(weights.len()));
        weights = rest;
        product4(tiles, own, v)
    };
    let rows: &[[[u32; 2]; 4]] = bytemuck::try_cast_slice(rows).unwrap_or_default();
    let both = if apart { z.len().saturating_sub(2) } else { z.len() };
    for (block, (z, rows)) in z.iter_mut().zip(rows).enumerate() {
        let x = if block <= both { next(x) } else { [0; 4] };
        let h = if block != both { next(h) } else { [0; 4] };
        for (r, [bias, multipliers]) in rows.iter().enumerate() {
            let multipliers = u32::from_le(*multipliers);
            z[r] = (u32::from_le(*bias) as i32)
                .wrapping_add(scale(x[r], multipliers as i16))
                .wrapping_add(scale(h[r], (multipliers >> 16) as i16));
        }
    }
}

/// `Σ_c w[r][c]·v[c]` for four rows.
fn product4(tiles: Tiles, weights: &[u8], v: &[i16]) -> [i32; 4] {
    let mut sums = [0; 4];
    match tiles {
        Tiles::Int8Plain if cfg!(packing = "plain") => {
            add_tiles::<16, 4>(&mut sums, weights, v, int8)
        }
        Tiles::Int8Dsp if cfg!(packing = "dsp") => {
            add_tiles::<16, 4>(&mut sums, weights, v, |tile, r, c| {
                let at = 8 * (r / 2) + 2 * c;
                let pair = i16::from_le_bytes([tile[at], tile[at + 1]]) as i32;
                let even = tile[at] as i8 as i32;
                if r % 2 == 0 { even } else { (pair - even) >> 8 }
            })
        }
        Tiles::Int8Columns if cfg!(packing = "columns") => {
            add_tiles::<16, 4>(&mut sums, weights, v, |tile, r, c| {
                let offset = if r < 3 { 0x80 } else { 0 };
                (tile[4 * c + r] ^ offset) as i8 as i32
            })
        }
        Tiles::Int8Helium if cfg!(packing = "helium") => {
            let (v_wide, v_last) = v.as_chunks::<8>();
            let (wide, last) = weights.split_at((32 * v_wide.len()).min(weights.len()));
            add_tiles::<32, 8>(&mut sums, wide, v_wide.as_flattened(), |tile, r, c| {
                tile[8 * r + c] as i8 as i32
            });
            add_tiles::<16, 4>(&mut sums, last, v_last, int8);
        }
        Tiles::Int16 if cfg!(feature = "int16") => {
            let tiles: &[[[i16; 4]; 4]] = bytemuck::try_cast_slice(weights).unwrap_or_default();
            for (tile, v) in tiles.iter().zip(v.as_chunks().0) {
                each_row(&mut sums, |sum, r| add4(sum, |c| i16::from_le(tile[r][c]) as i32, v));
            }
        }
        Tiles::Int4 if cfg!(feature = "int4") => {
            let mut words: &[u32] = bytemuck::try_cast_slice(weights).unwrap_or_default();
            for v in v.chunks(GROUP) {
                let Some((scales, rest)) = words.split_first() else { break };
                let (nibbles, rest) = rest.split_at(rest.len().min(v.len() / 2));
                words = rest;
                // Four bytes, as they lie.
                let (scales, partial) = (scales.to_ne_bytes(), group4(nibbles, v));
                each_row(&mut sums, |sum, r| {
                    partial[r].wrapping_mul(scales[r] as i32).wrapping_add(sum)
                });
            }
        }
        // The reader refused weights whose feature is off.
        _ => {}
    }
    sums
}

fn int8(tile: &[u8; 16], r: usize, c: usize) -> i32 {
    tile[4 * r + c] as i8 as i32
}

/// The unscaled sums of one group of 4-bit columns.
fn group4(nibbles: &[u32], v: &[i16]) -> [i32; 4] {
    // Nibbles are weights + 8.
    let mut sums = [v.iter().fold(0, |sum: i32, v| sum.wrapping_sub((*v as i32) << 3)); 4];
    let (tiles, last) = nibbles.as_chunks::<4>();
    let (v_tiles, v_last) = v.as_chunks::<8>();
    for (tile, [v0, v1, v2, v3, v4, v5, v6, v7]) in tiles.iter().zip(v_tiles) {
        each_row(&mut sums, |sum, r| {
            let word = u32::from_le(tile[r]);
            let sum = add4(sum, |c| nibble(word, c, 4), &[*v0, *v1, *v2, *v3]);
            add4(sum, |c| nibble(word, c + 4, 4), &[*v4, *v5, *v6, *v7])
        });
    }
    if let ([rows01, rows23], Some(v)) = (last, v_last.first_chunk()) {
        each_row(&mut sums, |sum, r| {
            let word = u32::from_le(if r < 2 { *rows01 } else { *rows23 }) >> (r % 2 * 16);
            add4(sum, |c| nibble(word, c, 2), v)
        });
    }
    sums
}

/// Column `c` of a row's word, whose nibbles `k` and `k + half` are columns `2k` and `2k + 1`.
#[inline(always)]
fn nibble(word: u32, c: usize, half: usize) -> i32 {
    ((word >> (4 * (c / 2 + half * (c % 2)))) & 15) as i32
}

/// `sums[r] = add(sums[r], r)`. Not a loop: compilers would keep its sums in memory.
#[inline(always)]
fn each_row(sums: &mut [i32; 4], add: impl Fn(i32, usize) -> i32) {
    *sums = [add(sums[0], 0), add(sums[1], 1), add(sums[2], 2), add(sums[3], 3)];
}

/// `sum + Σ_c w(c)·v[c]`
#[inline(always)]
fn add4(sum: i32, w: impl Fn(usize) -> i32, v: &[i16; 4]) -> i32 {
    let product = |c: usize| w(c).wrapping_mul(v[c] as i32);
    let sum = sum.wrapping_add(product(0)).wrapping_add(product(1));
    sum.wrapping_add(product(2)).wrapping_add(product(3))
}

/// Adds the products of tiles of `BYTES` bytes and `COLUMNS` columns.
#[inline(always)]
fn add_tiles<const BYTES: usize, const COLUMNS: usize>(
    sums: &mut [i32; 4],
    weights: &[u8],
    v: &[i16],
    weight: impl Fn(&[u8; BYTES], usize, usize) -> i32,
) {
    for (tile, v) in weights.as_chunks().0.iter().zip(v.as_chunks::<COLUMNS>().0) {
        for (r, sum) in sums.iter_mut().enumerate() {
            for (c, v) in v.iter().enumerate() {
                *sum = sum.wrapping_add(weight(tile, r, c).wrapping_mul(*v as i32));
            }
        }
    }
}

/// [`lstm`](super::lstm) of any core, one group. Out of line, so that its registers are not saved
/// beneath the products.
#[inline(never)]
pub fn lstm([i, f, g, o]: &[[i32; 4]; 4], c: &mut [i32; 4], h: &mut [i16; 4]) {
    for unit in 0..4 {
        let (i, f) = (sigmoid(i[unit]), sigmoid(f[unit]));
        let (g, o) = (activation::tanh(g[unit]), sigmoid(o[unit]));
        // i·g has 16 + 15 fractional bits and fits: |g| < 2^15.
        let new = gated(c[unit], f).wrapping_add(round_shift(i * g, 31 - CELL_BITS));
        c[unit] = saturate_cell(new);
        h[unit] = round_shift(o * tanh_cell(c[unit]), 16) as i16;
    }
}

/// [`gru_after`](super::gru_after) of any core, out of line like [`lstm`].
#[inline(never)]
pub fn gru_after(z: &[[i32; 4]; 4], memory: &mut [i32; 4], h: &mut [i16; 4]) {
    gru_after_with(sigmoid, z, memory, h);
}

/// [`gru_before`](super::gru_before) of any core, out of line like [`lstm`].
#[inline(never)]
pub fn gru_before(z: &[[i32; 4]; 2], memory: &mut [i32; 4], h: &mut [i16; 4]) {
    gru_before_with(sigmoid, z, memory, h);
}

/// [`gru_after`] with another function in place of the sigmoid.
#[inline(always)]
pub(crate) fn gru_after_with(
    gate: impl Fn(i32) -> i32,
    [z, r, n_x, n_h]: &[[i32; 4]; 4],
    memory: &mut [i32; 4],
    h: &mut [i16; 4],
) {
    let n = array::from_fn(|unit| n_x[unit].wrapping_add(gated(n_h[unit], gate(r[unit]))));
    gru_before_with(gate, &[*z, n], memory, h);
}

/// [`gru_before`] with another function in place of the sigmoid.
#[inline(always)]
pub(crate) fn gru_before_with(
    gate: impl Fn(i32) -> i32,
    [z, n]: &[[i32; 4]; 2],
    memory: &mut [i32; 4],
    h: &mut [i16; 4],
) {
    for unit in 0..4 {
        let (z, n) = (gate(z[unit]), activation::tanh(n[unit]));
        // (1 − z)·n has 16 + 15 fractional bits and fits: |n| < 2^15.
        let new = round_shift((GATE_ONE - z) * n, 31 - MEMORY_BITS);
        memory[unit] = gated(memory[unit], z).wrapping_add(new);
        h[unit] = saturate_i16(round_shift(memory[unit], MEMORY_BITS - 15));
    }
}

/// [`tanh`](super::tanh) of any core.
pub fn tanh(z: &[[i32; 4]], y: &mut [[i16; 4]]) {
    for (y, z) in y.as_flattened_mut().iter_mut().zip(z.as_flattened()) {
        *y = activation::tanh(*z) as i16;
    }
}
