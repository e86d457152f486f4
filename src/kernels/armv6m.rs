//! Armv6-M (Cortex-M0, M0+): 65 instructions for the 16 products of a tile.
//!
//! Only eight registers take part in most instructions, and a multiplication overwrites one factor.
//! Four activations are unpacked once for the four rows, a row's four weights come as a word; sums
//! live in the high registers, which `add` reaches. There is no 64-bit product: `scale` is
//! [`fixed::scale`](crate::fixed::scale) as it stands.

use core::arch::{asm, naked_asm};

pub(super) use super::portable::{gru_after, gru_before, lstm};
use super::{Row, Tiles, portable};

/// All ones for a negative value, else 0. The compiler does not see what it is, and so does not
/// make a branch of what is done with it.
#[inline(always)]
pub(crate) fn sign_mask(value: i32) -> i32 {
    let mask;
    // SAFETY: shifts a register.
    unsafe {
        asm!("asrs {mask}, {value}, #31", mask = lateout(reg) mask, value = in(reg) value, options(pure, nomem, nostack))
    }
    mask
}

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

/// A row of a tile.
macro_rules! tile_row {
    ($sum:literal) => {
        concat!(
            "ldm r0!, {{r6}}\n",
            "sxtb r7, r6\n muls r7, r2, r7\n add ",
            $sum,
            ", r7\n",
            "lsls r7, r6, #16\n asrs r7, r7, #24\n muls r7, r3, r7\n add ",
            $sum,
            ", r7\n",
            "lsls r7, r6, #8\n asrs r7, r7, #24\n muls r7, r4, r7\n add ",
            $sum,
            ", r7\n",
            "asrs r6, r6, #24\n muls r6, r5, r6\n add ",
            $sum,
            ", r6\n",
        )
    };
}

/// Pushes what a product starts with, from a vector and its length on the stack: the vector, its
/// end, and the entry into the unrolled tiles that does what does not fill four.
macro_rules! prepare {
    ($vector:literal, $length:literal) => {
        concat!(
            "ldr r4, [sp, #",
            $vector,
            "]\n",
            "ldr r5, [sp, #",
            $length,
            "]\n",
            "movs r6, #12\n",
            "ands r6, r5\n",
            "muls r6, r2, r6\n",
            "lsrs r6, r6, #1\n",
            "subs r6, r3, r6\n",
            "adds r5, r5, r5\n",
            "adds r5, r4, r5\n",
            "push {{r4-r6}}\n",
        )
    };
}

/// r6 += scale(r3, r4)
macro_rules! add_scaled {
    () => {
        "asrs r5, r3, #16\n muls r5, r4, r5\n adds r6, r6, r5\n
         uxth r3, r3\n muls r3, r4, r3\n lsrs r3, r3, #16\n adds r6, r6, r3\n"
    };
}

/// One row: records at r1, z at r2, the sum of x on the stack, that of h in a register.
macro_rules! row {
    ($x:literal, $h:literal, $bias:literal, $m_x:literal, $m_h:literal) => {
        concat!(
            "ldr r6, [r1, #",
            $bias,
            "]\n",
            "ldr r3, [sp, #",
            $x,
            "]\n",
            "ldrh r4, [r1, #",
            $m_x,
            "]\n",
            add_scaled!(),
            "mov r3, ",
            $h,
            "\n",
            "ldrh r4, [r1, #",
            $m_h,
            "]\n",
            add_scaled!(),
            "str r6, [r2, #",
            $x,
            "]\n",
        )
    };
}

/// Pre-activations of the blocks from `z` to `z_end`, at least one.
///
/// ```text
/// r0      weights                r8-r11   sums of the four rows
/// r1      activations            r12      end of the activations
/// r2-r5   four of them
/// r6, r7  a row's word, a weight
/// ```
///
/// Stack, in words: for x and for h the vector, its end and its entry; the argument registers
/// r1-r3, the saved ones, and the arguments x, x_len, h, h_len.
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
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4-r7}}",
        "push {{r1-r3}}",
        // Half the bytes of a tile, and the end of the tiles.
        "movs r2, #65",
        "adr r3, 9f",
        prepare!("56", "60"),
        prepare!("60", "64"),
        "b 2f",
        // A product.
        ".balign 4",
        "1:",
        "ldm r3!, {{r1, r4, r5}}",
        "mov r12, r4",
        "movs r4, #0",
        "mov r8, r4",
        "mov r9, r4",
        "mov r10, r4",
        "mov r11, r4",
        "mov pc, r5",
        ".balign 4",
        "8:",
        ".rept 4",
        "ldm r1!, {{r3, r5}}",
        "sxth r2, r3",
        "asrs r3, r3, #16",
        "sxth r4, r5",
        "asrs r5, r5, #16",
        tile_row!("r8"),
        tile_row!("r9"),
        tile_row!("r10"),
        tile_row!("r11"),
        ".endr",
        "9:",
        "cmp r1, r12",
        "beq 7f",
        "b 8b",
        "7:",
        "bx lr",
        // A block.
        "2:",
        "mov r3, sp",
        "bl 1b",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r4-r7}}",
        "add r3, sp, #28",
        "bl 1b",
        "ldr r1, [sp, #40]",
        "ldr r2, [sp, #44]",
        row!("0", "r8", "0", "4", "6"),
        row!("4", "r9", "8", "12", "14"),
        row!("8", "r10", "16", "20", "22"),
        row!("12", "r11", "24", "28", "30"),
        "add sp, #16",
        "adds r1, #32",
        "adds r2, #16",
        "str r1, [sp, #24]",
        "str r2, [sp, #28]",
        "ldr r3, [sp, #32]",
        "cmp r2, r3",
        "bne 2b",
        "add sp, #36",
        "pop {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
    )
}
