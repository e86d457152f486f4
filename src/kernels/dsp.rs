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
