//! Armv7-M without the DSP extension (Cortex-M3): 33 instructions for the 16 products of a tile.
//!
//! A word of [`Tiles::Int8Columns`] holds the four rows' weights of one column, and an arithmetic
//! shift by `8k` leaves rows `k` to 3: `T_k = Σ_{j≥k} 256^(j−k)·(w_j + 128)`, without the 128 for row
//! 3. So `w_k = T_k − 256·T_{k+1} − 128`: the kernel sums up `T_k·x`, which takes a shift and `mla` (for
//! `T_0` not even the shift), and subtracts once a block. What the 128s add depends on `Σ x` only, and
//! the sums start with its negative. All of it is exact: sums wrap like the portable ones.
//!
//! Weights of 16 bits take 36 instructions for 16 products, those of 4 bits 81 for 32: a row's eight
//! columns are a word, an activation is loaded once for the four rows. They are stored as value + 8;
//! `8·Σ x` of a group of columns with one scale goes off at its end.
//!
//! `smull` by the multiplier in the upper half of a word leaves `(sum × multiplier) >> 16` in the
//! upper word of the product.

use core::arch::global_asm;

use super::Tiles;
use super::assembly::{Affine, kernel};
pub(super) use super::columns::Plan;
use super::columns::{Code, Product};
pub(super) use super::portable::{affine, gru_after, gru_before, lstm};

/// Tiles in a row in the code.
const UNROLLED: usize = 8;
#[cfg(feature = "int16")]
const INT16_UNROLLED: usize = 4;

/// The code for a kind of weights, if there is one.
#[inline(always)]
pub(super) fn code(tiles: Tiles) -> Option<Code> {
    let (check, unrolled, tile_bytes) = match tiles {
        Tiles::Int8Columns => (&raw const gatelet_int8_armv7m, UNROLLED, 106),
        #[cfg(feature = "int16")]
        Tiles::Int16 => (&raw const gatelet_int16_armv7m, INT16_UNROLLED, 144),
        // One loop, not unrolled: one entry.
        #[cfg(feature = "int4")]
        Tiles::Int4 => (&raw const gatelet_int4_armv7m, 1, 0),
        _ => return None,
    };
    Some(Code { check, unrolled, tile_bytes })
}

pub(super) const AFFINE: Affine<Product> = gatelet_affine_armv7m;

kernel!(gatelet_affine_armv7m(Product));

unsafe extern "C" {
    // Code behind the unrolled tiles, which ends a round.
    static gatelet_int8_armv7m: u8;
    #[cfg(feature = "int16")]
    static gatelet_int16_armv7m: u8;
    #[cfg(feature = "int4")]
    static gatelet_int4_armv7m: u8;
}

optional!(
    int16,
    "int16",
    r#"
    .macro  int16_row sum
    .irp    x, r4, r5, r6, r7
    ldrsh   r3, [r0], #2
    mla     \sum, r3, \x, \sum
    .endr
    .endm

    .macro  int16_tile
    .irp    x, r4, r5, r6, r7
    ldrsh   \x, [r1], #2
    .endr
    int16_row r8
    int16_row r9
    int16_row r10
    int16_row r11
    .endm

    tiles   gatelet_int16_armv7m, int16_tile, 4
    ldr     pc, [sp, #RETURN]
"#
);

// Registers: r0 weights; r1, r2 activations and their end; r3 an activation, then a row's column; r4-r7
// rows' words; r8-r11 sums of the rows in the group; r12 an activation; lr sum of the activations.
//
// Stack of a product: end of the group, scales of the group, sums of the rows, end of the vector, z.
optional!(
    int4,
    "int4",
    r#"
    .macro  int4_column at
    ldrsh   r12, [r1], #2
    add     lr, r12
    ubfx    r3, r4, #\at, #4
    mla     r8, r3, r12, r8
    ubfx    r3, r5, #\at, #4
    mla     r9, r3, r12, r9
    ubfx    r3, r6, #\at, #4
    mla     r10, r3, r12, r10
    ubfx    r3, r7, #\at, #4
    mla     r11, r3, r12, r11
    .endm

    .global gatelet_int4_armv7m
gatelet_int4_armv7m:
    push    {{r2, lr}}
    push    {{r8-r11}}
    push    {{r2, r3}}
    b       .Lgroups
.Lgroup:
    ldr     r3, [r0], #4
    add     r2, r1, #64
    cmp     r2, r12
    it      hi
    movhi   r2, r12
    strd    r2, r3, [sp]
    mov     r8, #0
    mov     r9, #0
    mov     r10, #0
    mov     r11, #0
    mov     lr, #0
    b       .Ltiles
.Ltile:
    cmp     r3, #8
    beq     .Llast
    ldm     r0!, {{r4-r7}}
    .irp    at, 0, 16, 4, 20, 8, 24, 12, 28
    int4_column \at
    .endr
.Ltiles:
    subs    r3, r2, r1
    bne     .Ltile
    b       .Lscale
.Llast:
    ldrh    r4, [r0], #2
    ldrh    r5, [r0], #2
    ldrh    r6, [r0], #2
    ldrh    r7, [r0], #2
    .irp    at, 0, 8, 4, 12
    int4_column \at
    .endr
.Lscale:
    sub     r8, r8, lr, lsl #3
    sub     r9, r9, lr, lsl #3
    sub     r10, r10, lr, lsl #3
    sub     r11, r11, lr, lsl #3
    add     r12, sp, #4
    ldm     r12, {{r3-r7}}
    uxtb    lr, r3
    mla     r4, r8, lr, r4
    ubfx    lr, r3, #8, #8
    mla     r5, r9, lr, r5
    ubfx    lr, r3, #16, #8
    mla     r6, r10, lr, r6
    lsrs    lr, r3, #24
    mla     r7, r11, lr, r7
    stm     r12, {{r3-r7}}
.Lgroups:
    ldr     r12, [sp, #24]
    cmp     r1, r12
    bne     .Lgroup
    add     sp, #8
    pop     {{r8-r11}}
    pop     {{r2, lr}}
    ldr     pc, [sp, #RETURN]
"#
);

// Registers, in a product and behind it:
//
//   r0       weights
//   r1, r2   activations and their end | records; bias
//   r3, r12  T, an activation          | multipliers
//   r4-r7    a tile, column by column  | sums of x, then z
//   r8-r11   sums                      | sums of h
//   lr       z
//
// Stack: the sums of x; for x and then for h what a product starts with (the vector and its end, the
// sums, the entry); the code behind h's product, the pointer into rows, two idle words, the code behind
// x's; the saved registers; ends of z. While h's product is computed, the sums of x lie on top, so that
// the code behind it is found where that behind x's was.
global_asm!(
    r#"
    .equ H, 28
    .equ ROWS, 60
    .equ RETURN, 72
    .equ FRAME, 76
    .equ BOTH, FRAME + 36
    .equ END, BOTH + 4

    @ Pushes the start of a product. The sums of rows 2 to 0 are bias, 257 and 65793 times bias.
    .macro  prepare
    ldm     r3!, {{r4, r5, r8, r10}}
    add     r7, r8, r8, lsl #8
    add     r6, r8, r7, lsl #8
    push    {{r4-r10}}
    .endm

    .macro  column w
    ldrsh   r12, [r1], #2
    mla     r8, \w, r12, r8
    asrs    r3, \w, #8
    mla     r9, r3, r12, r9
    asrs    r3, \w, #16
    mla     r10, r3, r12, r10
    asrs    r3, \w, #24
    mla     r11, r3, r12, r11
    .endm

    @ x = bias + (x * m_x >> 16)
    .macro  row_x x
    ldrd    r2, r3, [r1], #8
    lsls    r3, r3, #16
    smull   r3, \x, \x, r3
    add     \x, r2
    .endm

    @ x = bias + (x * m_x >> 16) + (h * m_h >> 16)
    .macro  row x, h
    ldrd    r2, r3, [r1], #8
    lsl     r12, r3, #16
    smull   r12, \x, \x, r12
    bfc     r3, #0, #16
    smull   r12, \h, \h, r3
    add     \x, r2
    add     \x, \h
    .endm

    .section .text.gatelet_affine_armv7m, "ax"
    .global gatelet_affine_armv7m
    .type   gatelet_affine_armv7m, %function
    .thumb_func
    .balign 4
gatelet_affine_armv7m:
    push    {{r4-r11, lr}}
    adr     r4, .Lh + 1
    mov     r5, r0
    adr     r8, .Lx + 1
    push    {{r4-r8}}
    mov     r0, r1
    mov     lr, r2
    mov     r9, #0
    prepare
    prepare

.Lblock:
    ldm     sp, {{r1, r2, r8-r11, pc}}

    .balign 4
.Lx:
    push    {{r8-r11}}
    add     r12, sp, #16 + H
    ldm     r12, {{r1, r2, r8-r11, pc}}

    .balign 4
.Lh:
    pop     {{r4-r7}}
    ldr     r1, [sp, #ROWS]
    row     r4, r8
    row     r5, r9
    row     r6, r10
    row     r7, r11
    str     r1, [sp, #ROWS]
    stm     lr!, {{r4-r7}}
    ldr     r2, [sp, #BOTH]
    cmp     lr, r2
    bne     .Lblock
    @ Goes on, once, if there is a block whose products stay apart.
    ldr     r2, [sp, #END]
    cmp     lr, r2
    beq     .Lend
    str     r2, [sp, #BOTH]
    adr     r2, .Lx_apart + 1
    str     r2, [sp, #RETURN]
    b       .Lblock
.Lend:
    add     sp, #FRAME
    pop     {{r4-r11, pc}}

    @ The product of x alone; h's rows come next, to which x adds nothing.
    .balign 4
.Lx_apart:
    ldr     r1, [sp, #ROWS]
    row_x   r8
    row_x   r9
    row_x   r10
    row_x   r11
    str     r1, [sp, #ROWS]
    stm     lr!, {{r8-r11}}
    mov     r8, #0
    mov     r9, #0
    mov     r10, #0
    mov     r11, #0
    b       .Lx

    @ The tiles of a product. The code behind them makes sums of the accumulators and returns.
    .macro  tiles name, tile, unrolled
    .global \name
.Lround_\name:
    .rept   \unrolled
    \tile
    .endr
\name:
    cmp     r1, r2
    bne     .Lround_\name
    .endm

    .macro  int8_tile
    ldm     r0!, {{r4-r7}}
    column  r4
    column  r5
    column  r6
    column  r7
    .endm

    tiles   gatelet_int8_armv7m, int8_tile, {unrolled}
    sub     r8, r8, r9, lsl #8
    sub     r9, r9, r10, lsl #8
    sub     r10, r10, r11, lsl #8
    ldr     pc, [sp, #RETURN]
"#,
    int16!(),
    int4!(),
    unrolled = const UNROLLED,
);
