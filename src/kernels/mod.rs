//! The matrix products: one contract, one place that selects.
//!
//! [`affine`] gives the pre-activations of blocks of four rows. `portable.rs` defines the answer
//! for every layout; a file per architecture gives the same bits faster for the layout made for
//! it, and leaves the others to the portable one.

#[cfg(kernel = "armv6m")]
mod armv6m;
#[cfg(kernel = "armv7m")]
mod armv7m;
#[cfg(kernel = "dsp")]
mod dsp;
pub mod portable;
#[cfg(kernel = "riscv32")]
mod riscv32;

#[cfg(kernel = "armv6m")]
use armv6m as selected;
#[cfg(kernel = "armv7m")]
use armv7m as selected;
#[cfg(kernel = "dsp")]
use dsp as selected;
#[cfg(not(any(kernel = "armv6m", kernel = "armv7m", kernel = "dsp", kernel = "riscv32")))]
use portable as selected;
#[cfg(kernel = "riscv32")]
use riscv32 as selected;

#[cfg(not(any(kernel = "armv6m", kernel = "riscv32")))]
pub(crate) use portable::sign_mask;
#[cfg(any(kernel = "armv6m", kernel = "riscv32"))]
pub(crate) use selected::sign_mask;

/// How the weights of a block of four rows are laid out: number format and packing.
///
/// A *tile* covers four columns (eight where it says so) of the four rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tiles {
    /// `i8`, row after row.
    Int8Plain,
    /// `i16` = even row + 256 × odd row, four columns of rows 0 and 1, then of rows 2 and 3.
    Int8Dsp,
    /// `i8`, row after row, tiles of eight columns and at most one of four behind them.
    Int8Helium,
    /// `i16`, row after row.
    Int16,
    /// 4 bits, value + 8, tiles of eight columns: a word (half-word in a last tile of four) per
    /// row, whose nibbles `k` and `k + half` are the columns `2k` and `2k + 1`. Each group of
    /// [`GROUP`] columns starts with four `u8`, what the group's sums count in the rows' sums.
    Int4,
}

/// Columns that share a scale in [`Tiles::Int4`].
pub const GROUP: usize = 32;

impl Tiles {
    /// Bytes of the tiles of `columns` columns (a multiple of four).
    pub const fn bytes(self, columns: usize) -> usize {
        match self {
            Self::Int8Plain | Self::Int8Dsp | Self::Int8Helium => 4 * columns,
            Self::Int16 => 8 * columns,
            Self::Int4 => 2 * columns + 4 * columns.div_ceil(GROUP),
        }
    }
}

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
/// `x` and `h` are multiples of four, and `weights` is as long as [`Tiles::bytes`] says. Sums wrap.
#[inline(always)]
pub fn affine<const N: usize>(
    tiles: Tiles,
    rows: &[[Row; 4]; N],
    weights: &[u8],
    x: &[i16],
    h: &[i16],
) -> [[i32; 4]; N] {
    selected::affine(tiles, rows, weights, x, h)
}

/// Four units of an LSTM, from the pre-activations of their gates `i f g o`:
///
/// ```text
/// c' = sigmoid(f)·c + sigmoid(i)·tanh(g)      h' = sigmoid(o)·tanh(c')
/// ```
///
/// `c` lies within ±[`CELL_MAX`](crate::fixed::CELL_MAX), as it leaves it.
#[cfg(feature = "lstm")]
#[inline(always)]
pub fn lstm(z: &[[i32; 4]; 4], c: &mut [i32; 4]) -> [i16; 4] {
    selected::lstm(z, c)
}
