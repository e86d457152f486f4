//! The definition of every answer, in plain Rust.

use super::Row;
use crate::fixed::scale;
use crate::layers::Packing;

pub(super) fn affine<const N: usize>(
    packing: Packing,
    rows: &[[Row; 4]; N],
    mut weights: &[u8],
    x: &[i16],
    h: &[i16],
) -> [[i32; 4]; N] {
    let mut next = |v: &[i16]| {
        let (tiles, rest) = weights.split_at((4 * v.len()).min(weights.len()));
        weights = rest;
        product4(packing, tiles, v)
    };
    let mut z = [[0; 4]; N];
    for (z, rows) in z.iter_mut().zip(rows) {
        let (x, h) = (next(x), next(h));
        for (r, row) in rows.iter().enumerate() {
            let [b0, b1, b2, b3, x0, x1, h0, h1] = *row;
            z[r] = i32::from_le_bytes([b0, b1, b2, b3])
                .wrapping_add(scale(x[r], i16::from_le_bytes([x0, x1])))
                .wrapping_add(scale(h[r], i16::from_le_bytes([h0, h1])));
        }
    }
    z
}

/// `Σ_c w[r][c]·v[c]` for four rows.
fn product4(packing: Packing, weights: &[u8], v: &[i16]) -> [i32; 4] {
    let mut sums = [0; 4];
    match packing {
        Packing::Plain => tiles4(&mut sums, weights, v, |tile, r, c| tile[4 * r + c] as i8 as i32),
        Packing::Dsp => tiles4(&mut sums, weights, v, |tile, r, c| {
            let at = 8 * (r / 2) + 2 * c;
            let pair = i16::from_le_bytes([tile[at], tile[at + 1]]) as i32;
            let even = tile[at] as i8 as i32;
            if r % 2 == 0 { even } else { (pair - even) >> 8 }
        }),
        Packing::Helium => {
            let (wide, last) = weights.as_chunks::<32>();
            let (v_wide, v_last) = v.as_chunks::<8>();
            for (tile, v) in wide.iter().zip(v_wide) {
                for (sum, row) in sums.iter_mut().zip(tile.as_chunks::<8>().0) {
                    for (w, v) in row.iter().zip(v) {
                        *sum = sum.wrapping_add(*w as i8 as i32 * *v as i32);
                    }
                }
            }
            tiles4(&mut sums, last, v_last, |tile, r, c| tile[4 * r + c] as i8 as i32);
        }
    }
    sums
}

#[inline(always)]
fn tiles4(
    sums: &mut [i32; 4],
    weights: &[u8],
    v: &[i16],
    weight: impl Fn(&[u8; 16], usize, usize) -> i32,
) {
    for (tile, v) in weights.as_chunks::<16>().0.iter().zip(v.as_chunks::<4>().0) {
        for (r, sum) in sums.iter_mut().enumerate() {
            for (c, v) in v.iter().enumerate() {
                *sum = sum.wrapping_add(weight(tile, r, c) * *v as i32);
            }
        }
    }
}
