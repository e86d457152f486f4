//! The matrix products: one contract, one place that selects.
//!
//! [`affine`] gives the pre-activations of blocks of four rows. `portable.rs` defines the answer
//! for every packing; a file per architecture gives the same bits faster for the packing made for
//! it, and leaves the others to the portable one.

use crate::layers::Packing;

mod portable;

/// A row's record as the blob holds it, little-endian: bias `i32`, multipliers `i16` of the input
/// and of the recurrent product.
pub type Row = [u8; 8];

/// Pre-activations of `N` blocks of four rows, Q15.16:
///
/// ```text
/// z[r] = bias[r] + ((m_x[r] · Σ_c w_x[r][c]·x[c]) >> 16) + ((m_h[r] · Σ_c w_h[r][c]·h[c]) >> 16)
/// ```
///
/// `weights` holds, block after block, the tiles of `x`'s columns, then those of `h`'s. Lengths of
/// `x` and `h` are multiples of four and `weights.len() == N·4·(x.len() + h.len())`. Sums wrap.
#[inline(always)]
pub(crate) fn affine<const N: usize>(
    packing: Packing,
    rows: &[[Row; 4]; N],
    weights: &[u8],
    x: &[i16],
    h: &[i16],
) -> [[i32; 4]; N] {
    portable::affine(packing, rows, weights, x, h)
}
