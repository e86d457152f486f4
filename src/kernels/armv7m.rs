//! Armv7-M without the DSP extension (Cortex-M3): 37 instructions for the 16 products of a tile.
//!
//! One `ldm` brings a tile, a word for each row; `sxtb` with a rotation takes a weight out of it and
//! `mla` multiplies. An activation is loaded once for the four rows. `smull` by the multiplier in the
//! upper half of a word leaves `(sum × multiplier) >> 16` in the upper word of the product.

use core::arch::naked_asm;

pub(super) use super::portable::{gru_after, gru_before, lstm};
use super::{Row, Tiles, portable};

#[inline(always)]
pub(super) fn affine(
    tiles: Tiles,
    rows: &[[Row; 4]],
    weights: &[u8],
    x: &[i16],
    h: &[i16],
    z: &mut [[i32; 4]],
) {
    if tiles != Tiles::Int8Plain {
        return portable::affine(tiles, rows, weights, x, h, z);
    }
    let z = z.as_mut_ptr_range();
    // SAFETY: the kernel reads as many blocks of records as `z` has, all of `x` and `h` and the weights, and
    // writes `z` up to its end.
    unsafe {
        blocks(
            weights.as_ptr(),
            rows.as_ptr(),
            z.start,
            z.end,
            x.as_ptr(),
            x.len(),
            h.as_ptr(),
            h.len(),
        )
    }
}

/// One column of a tile: `$take` brings its weight out of a row's word.
macro_rules! column {
    ($take:literal, $rotate:literal) => {
        concat!(
            "ldrsh r12, [r1], #2\n",
            $take,
            " r3, r4",
            $rotate,
            "\n mla r8, r3, r12, r8\n",
            $take,
            " r3, r5",
            $rotate,
            "\n mla r9, r3, r12, r9\n",
            $take,
            " r3, r6",
            $rotate,
            "\n mla r10, r3, r12, r10\n",
            $take,
            " r3, r7",
            $rotate,
            "\n mla r11, r3, r12, r11\n",
        )
    };
}

/// Four tiles, entered so that the first pass does what does not fill four.
macro_rules! tiles {
    () => {
        concat!(
            ".rept 4\n",
            "ldm r0!, {{r4-r7}}\n",
            column!("sxtb", ""),
            column!("sxtb.w", ", ror #8"),
            column!("sxtb.w", ", ror #16"),
            column!("asrs", ", #24"),
            ".endr\n",
        )
    };
}

/// Pushes what a product starts with, from a vector and its length on the stack: r1, r2, r8-r11 and
/// lr of the register map. Needs r4-r7 zero and r3 the bytes of a tile.
macro_rules! prepare {
    ($vector:literal, $end:literal) => {
        concat!(
            "ldrd r1, r12, [sp, #",
            $vector,
            "]\n",
            "lsr r2, r12, #4\n",
            "ubfx r12, r12, #2, #2\n",
            "adr.w lr, ",
            $end,
            " + 1\n",
            "mls lr, r12, r3, lr\n",
            "push {{r1, r2, r4-r7, lr}}\n",
        )
    };
}

/// One row: r2 = bias, r3 = both multipliers, `$x` and `$h` its sums; the result goes to `$x`.
macro_rules! row {
    ($x:literal, $h:literal) => {
        concat!(
            "ldrd r2, r3, [r1], #8\n",
            "lsl r12, r3, #16\n",
            "smull r12, ",
            $x,
            ", ",
            $x,
            ", r12\n",
            "bfc r3, #0, #16\n",
            "smull r12, ",
            $h,
            ", ",
            $h,
            ", r3\n",
            "add ",
            $x,
            ", r2\n",
            "add ",
            $x,
            ", ",
            $h,
            "\n",
        )
    };
}

/// Pre-activations of the blocks from `z` to `z_end`, at least one.
///
/// ```text
/// r0       weights                r8-r11   sums
/// r1       activations            r12      an activation
/// r2       fours of tiles left    lr       where a product starts, then z
/// r3       a weight
/// r4-r7    a tile
/// ```
///
/// Stack, in words: for h and for x what a product starts with (`ldm` takes it), then the argument
/// registers r1-r3, the saved ones, and the arguments x, x_len, h, h_len.
#[unsafe(naked)]
unsafe extern "C" fn blocks(
    weights: *const u8,
    rows: *const [Row; 4],
    z: *mut [i32; 4],
    z_end: *mut [i32; 4],
    x: *const i16,
    x_len: usize,
    h: *const i16,
    h_len: usize,
) {
    naked_asm!(
        "push {{r4-r11, lr}}",
        "push {{r1-r3}}",
        "movs r3, #130",
        "movs r4, #0",
        "movs r5, #0",
        "movs r6, #0",
        "movs r7, #0",
        prepare!("56", "4f"),
        prepare!("76", "2f"),
        // A block.
        "5:",
        "ldm sp, {{r1, r2, r8-r11, pc}}",
        "1:",
        tiles!(),
        "2:",
        "subs r2, #1",
        "bpl 1b",
        "push {{r8-r11}}",
        "add r12, sp, #44",
        "ldm r12, {{r1, r2, r8-r11, pc}}",
        "3:",
        tiles!(),
        "4:",
        "subs r2, #1",
        "bpl 3b",
        "pop {{r4-r7}}",
        "ldrd r1, lr, [sp, #56]",
        row!("r4", "r8"),
        row!("r5", "r9"),
        row!("r6", "r10"),
        row!("r7", "r11"),
        "stm lr!, {{r4-r7}}",
        "strd r1, lr, [sp, #56]",
        "ldr r2, [sp, #64]",
        "cmp lr, r2",
        "bne 5b",
        "add sp, #68",
        "pop {{r4-r11, pc}}",
    )
}
