//! The matrix products and the cells: one contract, one place that selects.
//!
//! [`Blocks::next`] gives the pre-activations of blocks of four rows, [`lstm`], [`gru_after`] and
//! [`gru_before`] what four units make of theirs. `portable.rs` defines the answer for every layout
//! of weights; a file per architecture gives the same bits faster for the layout made for it, and
//! leaves the others to the portable one. All arrays are aligned to words.

/// Assembly that a feature brings.
#[cfg(any(kernel = "armv6m", kernel = "armv7m", kernel = "dsp", kernel = "riscv32"))]
macro_rules! optional {
    ($name:ident, $feature:literal, $code:literal) => {
        #[cfg(feature = $feature)]
        macro_rules! $name {
            () => {
                $code
            };
        }
        #[cfg(not(feature = $feature))]
        macro_rules! $name {
            () => {
                ""
            };
        }
    };
}

#[cfg(kernel = "armv6m")]
mod armv6m;
#[cfg(kernel = "armv7m")]
mod armv7m;
#[cfg(any(kernel = "armv6m", kernel = "armv7m", kernel = "dsp", kernel = "helium"))]
mod assembly;
#[cfg(any(kernel = "armv6m", kernel = "armv7m"))]
mod columns;
#[cfg(kernel = "dsp")]
mod dsp;
#[cfg(kernel = "helium")]
mod helium;
pub mod portable;
#[cfg(kernel = "riscv32")]
mod riscv32;
#[cfg(kernel = "x86_64")]
mod x86_64;

#[cfg(kernel = "armv6m")]
use armv6m as selected;
#[cfg(kernel = "armv7m")]
use armv7m as selected;
#[cfg(kernel = "dsp")]
use dsp as selected;
#[cfg(kernel = "helium")]
use helium as selected;
#[cfg(not(any(
    kernel = "armv6m",
    kernel = "armv7m",
    kernel = "dsp",
    kernel = "helium",
    kernel = "riscv32",
    kernel = "x86_64"
)))]
use portable as selected;
#[cfg(kernel = "riscv32")]
use riscv32 as selected;
#[cfg(kernel = "x86_64")]
use x86_64 as selected;

use crate::fixed::round_shift;

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
    /// `i8`, column after column, bit 7 inverted (value + 128) but for row 3.
    Int8Columns,
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
            Self::Int8Plain | Self::Int8Dsp | Self::Int8Columns | Self::Int8Helium => 4 * columns,
            Self::Int16 => 8 * columns,
            Self::Int4 => 2 * columns + 4 * columns.div_ceil(GROUP),
        }
    }
}

/// A row's record as the blob holds it, little-endian: bias `i32`, multipliers `i16` of the input
/// and of the recurrent product.
pub type Row = [u8; 8];

/// The two vectors that a layer's blocks are multiplied with, and what follows from them.
pub struct Vectors<'v> {
    block_bytes: usize,
    plan: Plan<'v>,
}

enum Plan<'v> {
    /// The kernel's own, for weights that it is made for.
    #[cfg(any(kernel = "armv6m", kernel = "armv7m", kernel = "dsp", kernel = "helium"))]
    Prepared(selected::Plan<'v>),
    Plain(Tiles, &'v [i16], &'v [i16]),
}

impl<'v> Vectors<'v> {
    /// Lengths are multiples of four.
    #[inline(always)]
    pub fn new(tiles: Tiles, x: &'v [i16], h: &'v [i16]) -> Self {
        let block_bytes = || tiles.bytes(x.len()) + tiles.bytes(h.len());
        #[cfg(any(kernel = "armv6m", kernel = "armv7m", kernel = "dsp", kernel = "helium"))]
        if let Some(plan) = selected::Plan::new(tiles, x, h) {
            return Self { block_bytes: block_bytes(), plan: Plan::Prepared(plan) };
        }
        // Without the portable kernel there are no other weights: the reader refused them.
        let block_bytes = if cfg!(portable) { block_bytes() } else { 0 };
        Self { block_bytes, plan: Plan::Plain(tiles, x, h) }
    }

    /// Bytes of the weights of a block.
    pub const fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// `rows`, `weights` and `z` are of the same blocks, at least one with both products.
    #[inline(always)]
    fn affine(&self, rows: &[[Row; 4]], weights: &[u8], z: &mut [[i32; 4]], apart: bool) {
        match &self.plan {
            #[cfg(any(kernel = "armv6m", kernel = "armv7m", kernel = "dsp", kernel = "helium"))]
            Plan::Prepared(plan) => plan.affine(rows, weights, z, apart),
            Plan::Plain(tiles, x, h) => plain(*tiles, rows, weights, x, h, z, apart),
        }
    }
}

/// Out of line where a prepared plan is the rule, so that it costs no registers there.
#[cfg_attr(
    any(kernel = "armv6m", kernel = "armv7m", kernel = "dsp", kernel = "helium"),
    cold,
    inline(never)
)]
#[cfg_attr(
    not(any(kernel = "armv6m", kernel = "armv7m", kernel = "dsp", kernel = "helium")),
    inline(always)
)]
fn plain(
    tiles: Tiles,
    rows: &[[Row; 4]],
    weights: &[u8],
    x: &[i16],
    h: &[i16],
    z: &mut [[i32; 4]],
    apart: bool,
) {
    if cfg!(portable) {
        selected::affine(tiles, rows, weights, x, h, z, apart);
    } else {
        // The reader refused what the selected kernel does not take.
        missing(z);
    }
}

/// Blocks of four rows still to come: their records, and their weights, in which the tiles of `x`'s
/// columns stand before those of `h`'s.
pub struct Blocks<'a> {
    rows: &'a [[Row; 4]],
    weights: &'a [u8],
}

impl<'a> Blocks<'a> {
    /// Blocks from the first on.
    pub const fn new(rows: &'a [[Row; 4]], weights: &'a [u8]) -> Self {
        Self { rows, weights }
    }

    /// Pre-activations of the next blocks, as many as `z` has, Q15.16:
    ///
    /// ```text
    /// z[r] = bias[r] + ((m_x[r]·Σ_c w_x[r][c]·x[c]) >> 16) + ((m_h[r]·Σ_c w_h[r][c]·h[c]) >> 16)
    /// ```
    ///
    /// Sums wrap. Kernels like four blocks at a time. The answer is zero where blocks are missing;
    /// the reader made sure that none is.
    #[inline(always)]
    pub fn next(&mut self, v: &Vectors<'_>, z: &mut [[i32; 4]]) {
        self.take(z.len(), v, z, false);
    }

    /// As [`next`](Self::next), but the last two of `z`, whose rows have records of their own, share
    /// one block of weights: the first is its product with `x` alone, the second that with `h`. There
    /// is at least one block before them.
    #[inline(always)]
    pub fn next_apart(&mut self, v: &Vectors<'_>, z: &mut [[i32; 4]]) {
        self.take(z.len().saturating_sub(1), v, z, true);
    }

    /// `z` of as many blocks of weights.
    #[inline(always)]
    fn take(&mut self, blocks: usize, v: &Vectors<'_>, z: &mut [[i32; 4]], apart: bool) {
        let rows = self.rows.split_at_checked(z.len());
        let weights = self.weights.split_at_checked(blocks * v.block_bytes);
        let (Some((rows, more_rows)), Some((weights, more_weights))) = (rows, weights) else {
            return missing(z);
        };
        (self.rows, self.weights) = (more_rows, more_weights);
        if blocks > apart as usize {
            v.affine(rows, weights, z, apart);
        }
    }
}

/// Out of line, as it never happens.
#[cold]
#[inline(never)]
fn missing(z: &mut [[i32; 4]]) {
    z.fill([0; 4]);
}

/// Groups of four units that [`lstm`] is best given together. On the host, eight hide the latencies
/// of one another; elsewhere memory counts more.
pub const LSTM_GROUPS: usize = if cfg!(kernel = "x86_64") { 8 } else { 1 };

/// Groups of four units of an LSTM, from the pre-activations of their gates `i f g o`:
///
/// ```text
/// c' = sigmoid(f)·c + sigmoid(i)·tanh(g)      h' = sigmoid(o)·tanh(c')
/// ```
///
/// `c` lies within ±[`CELL_MAX`](crate::fixed::CELL_MAX), as it leaves it.
#[inline(always)]
pub fn lstm(z: &[[[i32; 4]; 4]], c: &mut [[i32; 4]], h: &mut [[i16; 4]]) {
    #[cfg(kernel = "x86_64")]
    x86_64::lstm(z, c, h);
    #[cfg(not(kernel = "x86_64"))]
    for ((z, c), h) in z.iter().zip(c).zip(h) {
        selected::lstm(z, c, h);
    }
}

/// Four units of a GRU that resets after the product, from the pre-activations `z r n_x n_h`, the
/// last two being the candidate's products; the rest is [`gru_before`].
///
/// ```text
/// n = n_x + sigmoid(r)·n_h
/// ```
#[inline(always)]
pub fn gru_after(z: &[[i32; 4]; 4], memory: &mut [i32; 4], h: &mut [i16; 4]) {
    selected::gru_after(z, memory, h);
}

/// Four units of a GRU from the pre-activations `z n`:
///
/// ```text
/// h' = sigmoid(z)·h + (1 − sigmoid(z))·tanh(n)
/// ```
///
/// `memory` is `h` with [`MEMORY_BITS`](crate::fixed::MEMORY_BITS) and less than 2 in magnitude.
#[inline(always)]
pub fn gru_before(z: &[[i32; 4]; 2], memory: &mut [i32; 4], h: &mut [i16; 4]) {
    selected::gru_before(z, memory, h);
}

/// `tanh` of pre-activations, into as many outputs in Q0.15.
#[inline(always)]
pub fn tanh(z: &[[i32; 4]], y: &mut [[i16; 4]]) {
    #[cfg(any(kernel = "dsp", kernel = "helium"))]
    selected::tanh(z, y);
    #[cfg(not(any(kernel = "dsp", kernel = "helium")))]
    portable::tanh(z, y);
}

/// `gate(r)·h` of four units.
#[inline(always)]
pub fn reset(gate: impl Fn(i32) -> i32, r: &[i32; 4], h: &[i16; 4]) -> [i16; 4] {
    core::array::from_fn(|unit| round_shift(gate(r[unit]) * h[unit] as i32, 16) as i16)
}
