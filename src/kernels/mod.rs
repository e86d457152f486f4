//! The matrix products: one contract, one place that selects.
//!
//! [`affine4`] gives the pre-activations of four rows. `portable.rs` defines the answer for every
//! packing; a file per architecture gives the same bits faster.

use crate::layers::Packing;

mod portable;

/// A row's record as the blob holds it, little-endian: bias `i32`, multipliers `i16` of the input
/// and of the recurrent product.
pub type Row = [u8; 8];

/// Pre-activations of four rows, Q15.16:
///
/// ```text
/// z[r] = bias[r] + ((m_x[r] · Σ_c w_x[r][c]·x[c]) >> 16) + ((m_h[r] · Σ_c w_h[r][c]·h[c]) >> 16)
/// ```
///
/// `weights` holds the tiles of `x`'s columns, then those of `h`'s. Lengths of `x` and `h` are
/// multiples of four, `weights.len() == 4·(x.len() + h.len())`; columns beyond what `weights`
/// covers are ignored. Sums wrap.
#[inline(always)]
pub(crate) fn affine4(
    packing: Packing,
    rows: &[Row; 4],
    weights: &[u8],
    x: &[i16],
    h: &[i16],
) -> [i32; 4] {
    portable::affine4(packing, rows, weights, x, h)
}
