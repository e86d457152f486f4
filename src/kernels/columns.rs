//! What the kernels for [`Tiles::Int8Columns`] (Armv6-M, Armv7-M) start from.

use core::marker::PhantomData;

use super::{Row, Tiles, assembly, selected};

/// The code for a kind of weights.
pub(super) struct Code {
    /// Behind the unrolled tiles, where a round ends.
    pub(super) check: *const u8,
    /// Tiles in a row in the code, and the size of each.
    pub(super) unrolled: usize,
    pub(super) tile_bytes: usize,
}

/// Where the products of two vectors start: `h`, then `x`.
pub(super) struct Plan<'v>([Product; 2], PhantomData<&'v [i16]>);

/// `start` and `end` of a vector, the negative `bias` that 128 in every weight makes, and the `entry`
/// into the unrolled tiles that leaves whole rounds.
#[repr(C)]
pub(super) struct Product {
    start: *const i16,
    end: *const i16,
    bias: i32,
    entry: usize,
}

impl<'v> Plan<'v> {
    /// `None` is for the portable kernel.
    #[inline(always)]
    pub(super) fn new(tiles: Tiles, x: &'v [i16], h: &'v [i16]) -> Option<Self> {
        let Code { check, unrolled, tile_bytes } = selected::code(tiles)?;
        let product = |v: &[i16]| {
            let bias = match tiles {
                Tiles::Int8Columns => v.iter().fold(0, |sum: i32, v| sum.wrapping_add(*v as i32)),
                _ => 0,
            };
            let first = match v.len() / 4 {
                0 => 0,
                tiles => (tiles - 1) % unrolled + 1,
            };
            Product {
                start: v.as_ptr(),
                end: v.as_ptr_range().end,
                bias: bias.wrapping_mul(-128),
                // Thumb code.
                entry: check.wrapping_sub(first * tile_bytes).addr() | 1,
            }
        };
        Some(Self([product(h), product(x)], PhantomData))
    }

    /// As [`assembly::affine`].
    #[inline(always)]
    pub(super) fn affine(
        &self,
        rows: &[[Row; 4]],
        weights: &[u8],
        z: &mut [[i32; 4]],
        apart: bool,
    ) {
        // SAFETY: `Vectors` gives as many weights as the blocks have; `'v` keeps the vectors alive.
        unsafe { assembly::affine(selected::AFFINE, &self.0, rows, weights, z, apart) }
    }
}
