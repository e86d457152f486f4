//! Cores with the DSP extension: Armv7E-M (Cortex-M4, M7) and Armv8-M Mainline (M33).
//!
//! A halfword of [`Tiles::Int8Dsp`] is `even row + 256 × odd row`, a word holds two columns of it.
//! With two activations in a word, `smlald` on the weights as they are adds `Σ even·x + 256·Σ odd·x`
//! to a 64-bit sum `P`; once `sxtb16` has kept the even row, `smlad` adds `Σ even·x` to `Q`. The low
//! bytes of both are equal, so `Σ odd·x = (P >> 8) − (Q >> 8)`, exactly. That makes 14 instructions
//! for the 16 products of a tile, loads included. `smlaw` is [`scale`](crate::fixed::scale) and an
//! addition in one.
//!
//! Weights of 16 bits are what `smlad` takes: 11 instructions for 16 products. Those of 4 bits leave
//! their word two at a time by a mask: 41 instructions for 32 products, and 30 for a group of columns
//! with one scale. They are stored as value + 8; `8·Σ x` of the group goes off at its end.

use core::arch::global_asm;
use core::marker::PhantomData;

mod cells;

use super::assembly::{self, kernel};
pub(super) use super::portable::affine;
use super::{Row, Tiles};
pub(super) use cells::{gru_after, gru_before, lstm, tanh};

/// Most columns of 8-bit weights whose even sums `Q` fit 32 bits whatever the weights are: 511 × 2^7 ×
/// 2^15 < 2^31. A state is free of -32768, so that it may have one more.
const NARROW: usize = 511;

/// Tiles in a row in the code.
const UNROLLED: usize = 8;

/// The products of two vectors: `x`, then `h`.
pub(super) struct Plan<'v>([Product; 2], PhantomData<&'v [i16]>);

/// The `entry` into the code for its weights (into unrolled tiles, where it leaves whole rounds),
/// `start` and `end` of the vector, and the code `behind`.
#[repr(C)]
struct Product {
    entry: usize,
    start: *const i16,
    end: *const i16,
    behind: unsafe extern "C" fn(),
}

impl<'v> Plan<'v> {
    /// `None` is for the portable kernel.
    #[inline(always)]
    pub(super) fn new(tiles: Tiles, x: &'v [i16], h: &'v [i16]) -> Option<Self> {
        let (check, tile_bytes) = match tiles {
            Tiles::Int8Dsp if x.len() <= NARROW && h.len() <= NARROW + 1 => {
                (&raw const gatelet_int8_dsp, 56)
            }
            #[cfg(feature = "int16")]
            Tiles::Int16 => (&raw const gatelet_int16_dsp, 44),
            // One loop, not unrolled: one entry.
            #[cfg(feature = "int4")]
            Tiles::Int4 => (&raw const gatelet_int4_dsp, 0),
            _ => return None,
        };
        let product = |v: &[i16], none: *const u8, behind| {
            let idle = (v.len() / 4).wrapping_neg() % UNROLLED;
            let first = check.wrapping_sub((UNROLLED - idle) * tile_bytes);
            let entry = if v.is_empty() { none } else { first }.addr() | 1;
            Product { entry, start: v.as_ptr(), end: v.as_ptr_range().end, behind }
        };
        let of_x = product(x, check, gatelet_x_dsp);
        let of_h = product(h, &raw const gatelet_none_dsp, gatelet_h_dsp);
        Some(Self([of_x, of_h], PhantomData))
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
        unsafe { assembly::affine(gatelet_affine_dsp, &self.0, rows, weights, z, apart) }
    }
}

kernel!(gatelet_affine_dsp(Product));

unsafe extern "C" {
    // Parts of the kernel: behind a product of `x`, of `h`, and instead of one of `h`.
    fn gatelet_x_dsp();
    fn gatelet_h_dsp();
    static gatelet_none_dsp: u8;
    // Code behind the unrolled tiles, which ends a round.
    static gatelet_int8_dsp: u8;
    #[cfg(feature = "int16")]
    static gatelet_int16_dsp: u8;
    #[cfg(feature = "int4")]
    static gatelet_int4_dsp: u8;
}

optional!(
    int16,
    "int16",
    r#"
    .macro  int16_tile
    ldrd    r6, r7, [r0], #8
    ldm.w   r1!, {{r2-r5}}
    smlad   r12, r2, r6, r12
    smlad   r10, r4, r6, r10
    smlad   r12, r3, r7, r12
    smlad   r10, r5, r7, r10
    ldm.w   r1!, {{r2-r5}}
    smlad   lr, r2, r6, lr
    smlad   r11, r4, r6, r11
    smlad   lr, r3, r7, lr
    smlad   r11, r5, r7, r11
    .endm

    tiles   gatelet_int16_dsp, int16_tile
    ldr     pc, [sp, #RETURN]
"#
);

// Registers: r0 activations; r1 weights; r2-r5 activations; r6 a row's word; r7 columns of it; r8-r11
// sums of the rows in the group; r12 sum of its activations; lr mask.
//
// Stack of a product: end of the group, end of the vector, scales of the group, sums of the rows
// 1, 3, 0 and 2 (the order in which they are taken).
optional!(
    int4,
    "int4",
    r#"
    @ sum += columns of r6 from bit `at` on · two activations.
    .macro  nibbles sum, at, x
    and     r7, lr, r6, lsr #\at
    smlad   \sum, r7, \x, \sum
    .endm

    .macro  eight_columns sum
    ldr     r6, [r1], #4
    and     r7, r6, lr
    smlad   \sum, r7, r2, \sum
    nibbles \sum, 4, r3
    nibbles \sum, 8, r4
    nibbles \sum, 12, r5
    .endm

    .macro  four_columns sum
    ldrh    r6, [r1], #2
    orr     r6, r6, r6, lsl #8
    and     r7, r6, lr
    smlad   \sum, r7, r2, \sum
    nibbles \sum, 4, r3
    .endm

    .global gatelet_int4_dsp
gatelet_int4_dsp:
    ldr     r3, [sp, #END]
    mov     r8, #0
    mov     r9, #0
    mov     r10, #0
    mov     r11, #0
    push    {{r8-r11}}
    push    {{r2-r4}}
    mov     lr, #0x000f000f
    b       .Lgroups
.Lgroup:
    ldr     r4, [r1], #4
    add     r3, r0, #64
    cmp     r3, r2
    it      hi
    movhi   r3, r2
    str     r3, [sp]
    str     r4, [sp, #8]
    mov     r8, #0
    mov     r9, #0
    mov     r10, #0
    mov     r11, #0
    mov     r12, #0
    b       .Ltiles
.Ltile:
    cmp     r3, #8
    beq     .Llast
    ldm     r0!, {{r2-r5}}
    mov     r6, #0x00010001
    smlad   r12, r2, r6, r12
    smlad   r12, r3, r6, r12
    smlad   r12, r4, r6, r12
    smlad   r12, r5, r6, r12
    eight_columns r8
    eight_columns r9
    eight_columns r10
    eight_columns r11
.Ltiles:
    ldr     r3, [sp]
    subs    r3, r3, r0
    bne     .Ltile
    b       .Lscale
.Llast:
    ldm     r0!, {{r2, r3}}
    mov     r6, #0x00010001
    smlad   r12, r2, r6, r12
    smlad   r12, r3, r6, r12
    four_columns r8
    four_columns r9
    four_columns r10
    four_columns r11
.Lscale:
    sub     r8, r8, r12, lsl #3
    sub     r9, r9, r12, lsl #3
    sub     r10, r10, r12, lsl #3
    sub     r11, r11, r12, lsl #3
    add     r7, sp, #8
    ldm     r7, {{r2-r6}}
    uxtb    r12, r2
    mla     r5, r8, r12, r5
    ubfx    r12, r2, #8, #8
    mla     r3, r9, r12, r3
    ubfx    r12, r2, #16, #8
    mla     r6, r10, r12, r6
    lsr     r12, r2, #24
    mla     r4, r11, r12, r4
    stm     r7, {{r2-r6}}
.Lgroups:
    ldr     r2, [sp, #4]
    cmp     r0, r2
    bne     .Lgroup
    add     sp, sp, #12
    pop     {{r10-r12, lr}}
    ldr     pc, [sp, #RETURN]
"#
);

// Registers, in a product and behind it:
//
//   r0       activations              | records, then z
//   r1       weights
//   r2-r5    tile                     | bias and multipliers of rows 0 and 1
//   r6, r7   four activations         | bias and multipliers of row 2
//   r10, r8  P of rows 0 and 1        | r10: sum of row 1
//   r11, r9  P of rows 2 and 3        | r11: sum of row 3; r8, r9: bias and multipliers of row 3
//   r12, lr  Q of rows 0 and 1, of rows 2 and 3: the sums of rows 0 and 2
//
// With 16 bits, r12, r10, lr and r11 are the rows' sums from the start. For 4 bits see below.
//
// Stack: what x's product starts with (the vector and six zeros, taken by one `ldm`); h's end, return,
// entry and start; the pointers into rows and z; x's entry, end and return; the saved registers; ends
// of z. While h's product is computed, eight words lie on top, so that its end and return are where
// x's were.
global_asm!(
    concat!(".cpu ", env!("KERNEL_CPU")),
    r#"
    .equ ZEROS, 4
    .equ H_ENTRY, 36
    .equ H, 40
    .equ ROWS, 44
    .equ Z, 48
    .equ ENTRY, 52
    .equ END, 28 + 32
    .equ RETURN, 32 + 32
    .equ FRAME, 68
    .equ BOTH, FRAME + 36
    .equ Z_END, BOTH + 4

    @ Starts a block.
    .macro  block
    ldm     sp, {{r0, r8-r12, lr}}
    ldr     pc, [sp, #ENTRY]
    .endm

    @ The tiles of a product. The code behind them makes sums of the accumulators and returns.
    .macro  tiles name, tile
    .global \name
.Lround_\name:
    .rept   {unrolled}
    \tile
    .endr
\name:
    ldr     r2, [sp, #END]
    cmp     r0, r2
    bne     .Lround_\name
    .endm

    @ Adds the product of x to the biases; multipliers are in between.
    .macro  add_x
    smlawb  r2, r12, r3, r2
    smlawb  r4, r10, r5, r4
    smlawb  r6, lr, r7, r6
    smlawb  r8, r11, r9, r8
    .endm

    .macro  store
    ldr     r3, [sp, #Z]
    stm     r3!, {{r2, r4, r6, r8}}
    str     r3, [sp, #Z]
    .endm

    .section .text.gatelet_affine_dsp, "ax"
    .global gatelet_affine_dsp, gatelet_x_dsp, gatelet_h_dsp, gatelet_none_dsp
    .type   gatelet_affine_dsp, %function
    .thumb_func
    .balign 4
gatelet_affine_dsp:
    push    {{r4-r11, lr}}
    ldm     r3!, {{r4-r7}}
    push    {{r4-r7}}
    push    {{r0, r2}}
    ldm     r3, {{r6, r7, r12, lr}}
    push    {{r6, r7}}
    adr     r6, .Lzeros
    ldm     r6, {{r6-r11}}
    push    {{r5-r12, lr}}
    block
    .balign 4
.Lzeros:
    .space  24

    .thumb_func
gatelet_x_dsp:
    ldr     r0, [sp, #ROWS]
    ldm     r0!, {{r2-r9}}
    add_x
.Lthen_h:
    str     r0, [sp, #ROWS]
    push    {{r2-r9}}
    add     r2, sp, #32 + ZEROS
    ldm     r2, {{r8-r12, lr}}
    ldr     r0, [sp, #32 + H]
    ldr     pc, [sp, #32 + H_ENTRY]

    @ The product of x alone, h's rows come next.
    .balign 4
.Lx_apart:
    ldr     r0, [sp, #ROWS]
    ldm     r0!, {{r2-r9}}
    add_x
    store
    ldm     r0!, {{r2-r9}}
    b       .Lthen_h

    .thumb_func
gatelet_h_dsp:
    pop     {{r2-r9}}
    smlawt  r2, r12, r3, r2
    smlawt  r4, r10, r5, r4
    smlawt  r6, lr, r7, r6
    smlawt  r8, r11, r9, r8
.Lstore:
    store
    ldr     r2, [sp, #BOTH]
    cmp     r3, r2
    beq     .Lboth
    block

gatelet_none_dsp:
    pop     {{r2-r9}}
    b       .Lstore

    @ Goes on, once, if there is a block whose products stay apart.
.Lboth:
    ldr     r2, [sp, #Z_END]
    cmp     r3, r2
    beq     .Lend
    str     r2, [sp, #BOTH]
    adr     r2, .Lx_apart
    adds    r2, #1
    str     r2, [sp, #RETURN]
    block
.Lend:
    add     sp, sp, #FRAME
    pop     {{r4-r11, pc}}

    .macro  int8_tile
    ldm.w   r1!, {{r2-r5}}
    ldrd    r6, r7, [r0], #8
    smlald  r10, r8, r2, r6
    smlald  r11, r9, r4, r6
    smlald  r10, r8, r3, r7
    smlald  r11, r9, r5, r7
    sxtb16  r2, r2
    sxtb16  r3, r3
    sxtb16  r4, r4
    sxtb16  r5, r5
    smlad   r12, r2, r6, r12
    smlad   lr, r4, r6, lr
    smlad   r12, r3, r7, r12
    smlad   lr, r5, r7, lr
    .endm

    tiles   gatelet_int8_dsp, int8_tile
    lsr     r10, r10, #8
    lsr     r11, r11, #8
    add     r10, r10, r8, lsl #24
    add     r11, r11, r9, lsl #24
    sub     r10, r10, r12, asr #8
    sub     r11, r11, lr, asr #8
    ldr     pc, [sp, #RETURN]
"#,
    int16!(),
    int4!(),
    unrolled = const UNROLLED,
);
