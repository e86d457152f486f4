//! Cores with the DSP extension: Armv7E-M (Cortex-M4, M7) and Armv8-M Mainline (M33).
//!
//! A halfword of [`Tiles::Int8Dsp`] is `even row + 256 × odd row`, a word holds two columns of it.
//! With two activations in a word, `smlald` on the weights as they are adds `Σ even·x + 256·Σ odd·x`
//! to a 64-bit sum `P`; once `sxtb16` has kept the even row, `smlad` adds `Σ even·x` to `Q`. The low
//! bytes of both are equal, so `Σ odd·x = (P >> 8) − (Q >> 8)`, exactly. That makes 14 instructions
//! for the 16 products of a tile, loads included. `smlaw` is [`scale`](crate::fixed::scale) and an
//! addition in one.

use core::arch::global_asm;
use core::mem::MaybeUninit;

use super::{Row, Tiles, portable};
use crate::activation::TANH;

/// Most columns whose even sum `Q` fits 32 bits whatever they hold: 511 × 2^7 × 2^15 < 2^31.
const MAX_COLUMNS: usize = 508;

#[inline(always)]
pub(super) fn affine<const N: usize>(
    tiles: Tiles,
    rows: &[[Row; 4]; N],
    weights: &[u8],
    x: &[i16],
    h: &[i16],
) -> [[i32; 4]; N] {
    const { assert!(N > 0) }
    if tiles != Tiles::Int8Dsp || x.len().max(h.len()) > MAX_COLUMNS {
        return portable::affine(tiles, rows, weights, x, h);
    }
    debug_assert!(weights.len() == N * tiles.bytes(x.len() + h.len()));
    let mut z = MaybeUninit::<[[i32; 4]; N]>::uninit();
    let z_end = z.as_mut_ptr().wrapping_add(1).cast();
    // SAFETY: the kernel reads `N` blocks of records, all of `x` and `h` and the weights, and
    // writes `z` up to its end.
    unsafe {
        gatelet_affine_dsp(
            rows.as_ptr(),
            weights.as_ptr(),
            z.as_mut_ptr().cast(),
            z_end,
            x.as_ptr(),
            x.len(),
            h.as_ptr(),
            h.len(),
        )
    }
    // SAFETY: written above.
    unsafe { z.assume_init() }
}

unsafe extern "C" {
    /// Pre-activations of the blocks from `z` to `z_end`, at least one.
    fn gatelet_affine_dsp(
        rows: *const [Row; 4],
        weights: *const u8,
        z: *mut [i32; 4],
        z_end: *mut [i32; 4],
        x: *const i16,
        x_len: usize,
        h: *const i16,
        h_len: usize,
    );
}

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
// Stack: what a product starts with (its activations and six zeros, taken by one `ldm`), their end
// and the product's entry into the unrolled tiles, for x and then for h; the pointers into rows and
// z; the saved registers; the arguments x, x_len, h, h_len.
global_asm!(
    r#"
    .equ END, 28
    .equ ENTRY, 32
    .equ H, 36
    .equ ROWS, 72
    .equ Z, 76
    .equ Z_END, 80
    .equ FRAME, 84
    .equ TILE, 56
    .equ UNROLL, 4

    @ Pushes what a product starts with. Its tiles, modulo UNROLL, are done at the first entry:
    @ 1 ..= UNROLL of them, none at all only if there are none. r5-r10 are zero, r3 is TILE / 4.
    .macro  prepare vector, check
    ldrd    r4, lr, [sp, #\vector]
    adr.w   r12, \check - TILE + 1
    add     r11, r4, lr, lsl #1
    subs    r2, lr, #4
    it      pl
    andpl   r2, r2, #4 * UNROLL - 4
    mls     r12, r2, r3, r12
    push    {{r4-r12}}
    .endm

    .macro  tiles
    .rept   UNROLL
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
    .endr
    .endm

    .macro  sums
    lsr     r10, r10, #8
    lsr     r11, r11, #8
    add     r10, r10, r8, lsl #24
    add     r11, r11, r9, lsl #24
    sub     r10, r10, r12, asr #8
    sub     r11, r11, lr, asr #8
    .endm

    .section .text.gatelet_affine_dsp, "ax"
    .global gatelet_affine_dsp
    .type   gatelet_affine_dsp, %function
    .thumb_func
    .balign 4
gatelet_affine_dsp:
    push    {{r4-r11, lr}}
    push    {{r0, r2, r3}}
    movs    r3, #TILE / 4
    movs    r5, #0
    movs    r6, #0
    movs    r7, #0
    mov     r8, r5
    mov     r9, r5
    mov     r10, r5
    prepare 56, .Lh_check
    prepare 84, .Lx_check

.Lblock:
    ldm     sp, {{r0, r8-r12, lr}}
    ldr     pc, [sp, #ENTRY]
.Lx:
    tiles
.Lx_check:
    ldr     r2, [sp, #END]
    cmp     r0, r2
    bne     .Lx

    sums
    ldr     r0, [sp, #ROWS]
    ldm     r0!, {{r2-r9}}
    str     r0, [sp, #ROWS]
    smlawb  r2, r12, r3, r2
    smlawb  r4, r10, r5, r4
    smlawb  r6, lr, r7, r6
    smlawb  r8, r11, r9, r8
    push    {{r2-r9}}

    add     r2, sp, #32 + H
    ldm     r2, {{r0, r8-r12, lr}}
    ldr     pc, [sp, #32 + H + ENTRY]
.Lh:
    tiles
.Lh_check:
    ldr     r2, [sp, #32 + H + END]
    cmp     r0, r2
    bne     .Lh

    sums
    pop     {{r2-r9}}
    smlawt  r2, r12, r3, r2
    smlawt  r4, r10, r5, r4
    smlawt  r6, lr, r7, r6
    smlawt  r8, r11, r9, r8
    ldr     r0, [sp, #Z]
    stm     r0!, {{r2, r4, r6, r8}}
    str     r0, [sp, #Z]
    ldr     r2, [sp, #Z_END]
    cmp     r0, r2
    bne     .Lblock

    add     sp, sp, #FRAME
    pop     {{r4-r11, pc}}
"#
);

#[inline(always)]
pub(super) fn lstm(z: &[[i32; 4]; 4], c: &mut [i32; 4]) -> [i16; 4] {
    let mut h = MaybeUninit::<[i16; 4]>::uninit();
    // SAFETY: the kernel reads `z` and the table, reads and writes `c`, and writes `h`, which is
    // valid for it but not aligned.
    unsafe {
        gatelet_lstm_dsp(z, c, h.as_mut_ptr(), &TANH[TANH.len() / 2]);
        h.assume_init()
    }
}

unsafe extern "C" {
    fn gatelet_lstm_dsp(
        z: *const [[i32; 4]; 4],
        c: *mut [i32; 4],
        h: *mut [i16; 4],
        tanh_of_zero: *const i16,
    );
}

// Registers: r0 z; r1 c; r3 table; r4-r7 the four units; r8 65535; r9 2^fraction of the table's
// index; r10 2^21, of a gate's rounding; r2 that of tanh; r11 32768; r12 and lr at work.
//
// One unaligned load gives both entries beside x, one `mla` their weights: with the fraction f of
// F bits, 65535·f + 2^F is f in the upper half and 2^F - f in the lower. `smmulr` with 2^(32-n)
// shifts right by n and rounds.
global_asm!(
    r#"
    @ x = table at x, with \fraction more fractional bits than Q0.15.
    .macro  interpolate x, bits, fraction
    ssat    \x, #\bits, \x
    asr     r12, \x, #\fraction
    ubfx    \x, \x, #0, #\fraction
    ldr     r12, [r3, r12, lsl #1]
    mla     \x, \x, r8, r9
    smuad   \x, \x, r12
    .endm

    .macro  tanh x, bits, fraction
    interpolate \x, \bits, \fraction
    smmulr  \x, \x, r2
    .endm

    .macro  sigmoid x
    interpolate \x, 21, 11
    add     \x, \x, \x, asr #15
    smmlar  \x, \x, r10, r11
    .endm

    .macro  input unit, at
    ldr     lr, [r0, #\at]
    tanh    lr, 20, 10
    mul     \unit, \unit, lr
    smmulr  \unit, \unit, r10
    .endm

    @ c << 2 times f << 14 has 32 bits more than c.
    .macro  forget unit, at
    ldr     lr, [r0, #16 + \at]
    sigmoid lr
    ldr     r12, [r1, #\at]
    lsl     lr, lr, #14
    lsl     r12, r12, #2
    smmlar  \unit, r12, lr, \unit
    .endm

    @ Saturates to ±(2^29 - 1): an `ssat` for each sign.
    .macro  saturate unit
    ssat    \unit, #30, \unit
    rsb     \unit, \unit, #0
    ssat    \unit, #30, \unit
    rsb     \unit, \unit, #0
    .endm

    .macro  output unit, at
    ldr     lr, [r0, #\at]
    sigmoid lr
    mla     \unit, \unit, lr, r11
    .endm

    .section .text.gatelet_lstm_dsp, "ax"
    .global gatelet_lstm_dsp
    .type   gatelet_lstm_dsp, %function
    .thumb_func
    .balign 4
gatelet_lstm_dsp:
    push    {{r2, r4-r11, lr}}
    movw    r8, #65535
    mov     r9, #1 << 11
    mov     r10, #1 << 21
    mov     r11, #1 << 15
    ldm     r0, {{r4-r7}}
    sigmoid r4
    sigmoid r5
    sigmoid r6
    sigmoid r7
    mov     r9, #1 << 10
    mov     r2, #1 << 22
    input   r4, 32
    input   r5, 36
    input   r6, 40
    input   r7, 44
    mov     r9, #1 << 11
    forget  r4, 0
    forget  r5, 4
    forget  r6, 8
    forget  r7, 12
    saturate r4
    saturate r5
    saturate r6
    saturate r7
    stm     r1, {{r4-r7}}
    mov     r9, #1 << 14
    mov     r2, #1 << 18
    tanh    r4, 24, 14
    tanh    r5, 24, 14
    tanh    r6, 24, 14
    tanh    r7, 24, 14
    mov     r9, #1 << 11
    output  r4, 48
    output  r5, 52
    output  r6, 56
    output  r7, 60
    pkhtb   r4, r5, r4, asr #16
    pkhtb   r6, r7, r6, asr #16
    pop     {{r2}}
    str     r4, [r2]
    str     r6, [r2, #4]
    pop     {{r4-r11, pc}}
"#
);
