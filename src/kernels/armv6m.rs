//! Armv6-M (Cortex-M0, M0+): 51 instructions for the 16 products of a tile.
//!
//! A word of [`Tiles::Int8Columns`] holds the four rows' weights of one column, and an arithmetic
//! shift by `8k` leaves rows `k` to 3: `T_k = Σ_{j≥k} 256^(j−k)·(w_j + 128)`, without the 128 for row
//! 3. So `w_k = T_k − 256·T_{k+1} − 128`: the kernel sums up `T_k·x`, one shift (for `T_0` none), `muls`
//! and `add`, and subtracts once a block. What the 128s add depends on `Σ x` only, and the sums start
//! with its negative. All of it is exact: sums wrap like the portable ones.
//!
//! Weights of 16 bits take 62 instructions for 16 products, two to a word. Those of 4 bits take 161 for
//! 32: a row's eight columns are a word, an activation is loaded once for the four rows. They are stored
//! as value + 8; `8·Σ x` of a group of columns with one scale goes off at its end.
//!
//! Only eight registers take part in most instructions, and a multiplication overwrites a factor;
//! the sums live in the high registers, which `add` reaches. There is no 64-bit product: `scale` is
//! [`fixed::scale`](crate::fixed::scale) as it stands.

use core::arch::{asm, global_asm};

use super::Tiles;
use super::assembly::{Affine, kernel};
pub(super) use super::columns::Plan;
use super::columns::{Code, Product};
pub(super) use super::portable::{affine, gru_after, gru_before, lstm};

/// All ones for a negative value, else 0. The compiler does not see what it is, and so does not
/// make a branch of what is done with it.
#[inline(always)]
pub(crate) fn sign_mask(value: i32) -> i32 {
    let mask;
    // SAFETY: shifts a register.
    unsafe {
        asm!(
            "asrs {mask}, {value}, #31",
            mask = lateout(reg) mask,
            value = in(reg) value,
            options(pure, nomem, nostack)
        );
    }
    mask
}

/// Tiles in a row in the code.
const UNROLLED: usize = 4;

/// The code for a kind of weights, if there is one.
#[inline(always)]
pub(super) fn code(tiles: Tiles) -> Option<Code> {
    let (check, tile_bytes) = match tiles {
        Tiles::Int8Columns => (&raw const gatelet_int8_armv6m, 102),
        #[cfg(feature = "int16")]
        Tiles::Int16 => (&raw const gatelet_int16_armv6m, 124),
        // One loop, not unrolled: one entry.
        #[cfg(feature = "int4")]
        Tiles::Int4 => (&raw const gatelet_int4_armv6m, 0),
        _ => return None,
    };
    Some(Code { check, unrolled: UNROLLED, tile_bytes })
}

pub(super) const AFFINE: Affine<Product> = gatelet_affine_armv6m;

kernel!(gatelet_affine_armv6m(Product));

unsafe extern "C" {
    // Code behind the unrolled tiles, which ends a round.
    static gatelet_int8_armv6m: u8;
    #[cfg(feature = "int16")]
    static gatelet_int16_armv6m: u8;
    #[cfg(feature = "int4")]
    static gatelet_int4_armv6m: u8;
}

optional!(
    int16,
    "int16",
    r#"
    @ Row \k, of which two columns are a word.
    .macro  int16_row sum, k, at, x, y
    ldr     r5, [r0, #8 * \k + \at]
    sxth    r6, r5
    muls    r6, \x, r6
    add     \sum, r6
    asrs    r5, r5, #16
    muls    r5, \y, r5
    add     \sum, r5
    .endm

    .macro  int16_columns at, x
    sxth    r4, \x
    asrs    \x, \x, #16
    int16_row r8, 0, \at, r4, \x
    int16_row r9, 1, \at, r4, \x
    int16_row r10, 2, \at, r4, \x
    int16_row r11, 3, \at, r4, \x
    .endm

    .macro  int16_tile
    ldm     r1!, {{r2, r3}}
    int16_columns 0, r2
    int16_columns 4, r3
    adds    r0, #32
    .endm

    tiles   gatelet_int16_armv6m, int16_tile
    bx      lr
"#
);

// Registers: r0 weights; r1 activations; r2 one of them; r3-r6 rows' words; r7 a row's column; r8-r11 sums
// of the rows in the group; r12 sum of its activations.
//
// Stack of a product: end of the group, scales of the group, sums of the rows, end of the vector, return
// address.
optional!(
    int4,
    "int4",
    r#"
    .macro  int4_row sum, word, at
    lsls    r7, \word, #28 - \at
    lsrs    r7, r7, #28
    muls    r7, r2, r7
    add     \sum, r7
    .endm

    .macro  int4_column at
    ldrh    r2, [r1]
    adds    r1, #2
    sxth    r2, r2
    add     r12, r2
    int4_row r8, r3, \at
    int4_row r9, r4, \at
    int4_row r10, r5, \at
    int4_row r11, r6, \at
    .endm

    .macro  int4_scale sum, k
    mov     r4, \sum
    subs    r4, r4, r2
    uxtb    r5, r3
    muls    r4, r5, r4
    ldr     r6, [sp, #8 + 4 * \k]
    adds    r4, r4, r6
    str     r4, [sp, #8 + 4 * \k]
    lsrs    r3, r3, #8
    .endm

    .global gatelet_int4_armv6m
gatelet_int4_armv6m:
    push    {{r2, lr}}
    movs    r4, #0
    movs    r5, #0
    movs    r6, #0
    movs    r7, #0
    push    {{r4-r7}}
    sub     sp, #8
    b       .Lgroups
.Lgroup:
    ldm     r0!, {{r4}}
    str     r4, [sp, #4]
    mov     r3, r1
    adds    r3, #64
    cmp     r3, r2
    bls     .Lwithin
    mov     r3, r2
.Lwithin:
    str     r3, [sp]
    movs    r3, #0
    mov     r8, r3
    mov     r9, r3
    mov     r10, r3
    mov     r11, r3
    mov     r12, r3
    b       .Ltiles
.Ltile:
    ldm     r0!, {{r3-r6}}
    .irp    at, 0, 16, 4, 20, 8, 24, 12, 28
    int4_column \at
    .endr
.Ltiles:
    ldr     r2, [sp]
    subs    r2, r2, r1
    beq     .Lscale
    cmp     r2, #8
    beq     .Llast
    b       .Ltile
.Llast:
    ldrh    r3, [r0]
    ldrh    r4, [r0, #2]
    ldrh    r5, [r0, #4]
    ldrh    r6, [r0, #6]
    adds    r0, #8
    .irp    at, 0, 8, 4, 12
    int4_column \at
    .endr
.Lscale:
    mov     r2, r12
    lsls    r2, r2, #3
    ldr     r3, [sp, #4]
    int4_scale r8, 0
    int4_scale r9, 1
    int4_scale r10, 2
    int4_scale r11, 3
.Lgroups:
    ldr     r2, [sp, #24]
    cmp     r1, r2
    beq     .Lproduct_end
    b       .Lgroup
.Lproduct_end:
    add     sp, #8
    pop     {{r4-r7}}
    pop     {{r2, pc}}
"#
);

// Registers, in a product and behind it:
//
//   r0       weights                     | at work (r12 keeps the weights)
//   r1       activations                 | records, then z
//   r2, r3   four of them                | at work
//   r4       one                         | r4-r7: sums of h, then z
//   r5, r6   weights of two columns
//   r7       T
//   r8-r11   sums
//   r12      end of the activations
//
// Stack: the sums of x; for x and then for h what a product starts with (the vector and its end, the
// sums of rows 0 to 2, the entry); the pointers into rows and z; the saved registers; ends of z.
global_asm!(
    r#"
    .equ H, 24
    .equ ROWS, 48
    .equ Z, 52
    .equ FRAME, 56
    .equ BOTH, FRAME + 36
    .equ END, BOTH + 4

    @ Pushes the start of a product. The sums of rows 2 to 0 are bias, 257 and 65793 times bias.
    .macro  prepare
    ldm     r3!, {{r1, r2, r6, r7}}
    lsls    r5, r6, #8
    adds    r5, r5, r6
    lsls    r4, r5, #8
    adds    r4, r4, r6
    push    {{r1, r2, r4-r7}}
    .endm

    .macro  column w, x
    asrs    r7, \w, #24
    muls    r7, \x, r7
    add     r11, r7
    asrs    r7, \w, #16
    muls    r7, \x, r7
    add     r10, r7
    asrs    r7, \w, #8
    muls    r7, \x, r7
    add     r9, r7
    muls    \w, \x, \w
    add     r8, \w
    .endm

    .macro  columns x
    ldm     r0!, {{r5, r6}}
    sxth    r4, \x
    column  r5, r4
    asrs    \x, \x, #16
    column  r6, \x
    .endm

    .macro  int8_tile
    ldm     r1!, {{r2, r3}}
    columns r2
    columns r3
    .endm

    @ The tiles of a product, and its sums. The code behind them finishes the sums and returns.
    .macro  tiles name, tile
    .global \name
.Lround_\name:
    .rept   {unrolled}
    \tile
    .endr
\name:
    cmp     r1, r12
    beq     .Lend_\name
    b       .Lround_\name
.Lend_\name:
    mov     r4, r8
    mov     r5, r9
    mov     r6, r10
    mov     r7, r11
    .endm

    @ h = bias + (x * m_x >> 16) + (h * m_h >> 16)
    .macro  row h, k
    ldr     r0, [sp, #4 * \k]
    ldrh    r2, [r1, #8 * \k + 4]
    asrs    r3, r0, #16
    muls    r3, r2, r3
    uxth    r0, r0
    muls    r0, r2, r0
    lsrs    r0, r0, #16
    adds    r3, r3, r0
    ldrh    r2, [r1, #8 * \k + 6]
    asrs    r0, \h, #16
    muls    r0, r2, r0
    adds    r3, r3, r0
    uxth    \h, \h
    muls    \h, r2, \h
    lsrs    \h, \h, #16
    adds    \h, \h, r3
    ldr     r0, [r1, #8 * \k]
    adds    \h, \h, r0
    .endm

    .section .text.gatelet_affine_armv6m, "ax"
    .global gatelet_affine_armv6m
    .type   gatelet_affine_armv6m, %function
    .thumb_func
    .balign 4
gatelet_affine_armv6m:
    push    {{r4-r7, lr}}
    mov     r4, r8
    mov     r5, r9
    mov     r6, r10
    mov     r7, r11
    push    {{r4-r7}}
    push    {{r0, r2}}
    mov     r0, r1
    prepare
    prepare

.Lblock:
    mov     r3, sp
    bl      .Lproduct
    push    {{r4-r7}}
    add     r3, sp, #16 + H
    bl      .Lproduct
    bl      .Lrows
    ldr     r2, [sp, #BOTH]
    cmp     r1, r2
    bne     .Lblock

    @ A block whose products stay apart, if there is one.
    ldr     r2, [sp, #END]
    cmp     r1, r2
    beq     .Lreturn
    mov     r3, sp
    bl      .Lproduct
    push    {{r4-r7}}
    movs    r4, #0
    movs    r5, #0
    movs    r6, #0
    movs    r7, #0
    bl      .Lrows
    add     r3, sp, #H
    bl      .Lproduct
    sub     sp, #16
    movs    r1, #0
    str     r1, [sp]
    str     r1, [sp, #4]
    str     r1, [sp, #8]
    str     r1, [sp, #12]
    bl      .Lrows

.Lreturn:
    add     sp, #FRAME
    pop     {{r4-r7}}
    mov     r8, r4
    mov     r9, r5
    mov     r10, r6
    mov     r11, r7
    pop     {{r4-r7, pc}}

    @ z of four rows, from the sums of x, which leave the stack, and those of h; r1: z.
.Lrows:
    mov     r12, r0
    ldr     r1, [sp, #16 + ROWS]
    row     r4, 0
    row     r5, 1
    row     r6, 2
    row     r7, 3
    mov     r0, r12
    add     sp, #16
    adds    r1, #32
    str     r1, [sp, #ROWS]
    ldr     r1, [sp, #Z]
    stm     r1!, {{r4-r7}}
    str     r1, [sp, #Z]
    bx      lr

    @ The product that starts with what r3 points to, into r4-r7.
.Lproduct:
    ldm     r3!, {{r1, r2, r4-r7}}
    mov     r12, r2
    mov     r8, r4
    mov     r9, r5
    mov     r10, r6
    movs    r4, #0
    mov     r11, r4
    mov     pc, r7

    tiles   gatelet_int8_armv6m, int8_tile
    lsls    r1, r5, #8
    subs    r4, r4, r1
    lsls    r1, r6, #8
    subs    r5, r5, r1
    lsls    r1, r7, #8
    subs    r6, r6, r1
    bx      lr
"#,
    int16!(),
    int4!(),
    unrolled = const UNROLLED,
);
