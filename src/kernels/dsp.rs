//! Cores with the DSP extension: Armv7E-M (Cortex-M4, M7) and Armv8-M Mainline (M33).
//!
//! A halfword of [`Tiles::Int8Dsp`] is `even row + 256 × odd row`, a word holds two columns of it.
//! With two activations in a word, `smlald` on the weights as they are adds `Σ even·x + 256·Σ odd·x`
//! to a 64-bit sum `P`; once `sxtb16` has kept the even row, `smlad` adds `Σ even·x` to `Q`. The low
//! bytes of both are equal, so `Σ odd·x = (P >> 8) − (Q >> 8)`, exactly. That makes 14 instructions
//! for the 16 products of a tile, loads included. `smlaw` is [`scale`](crate::fixed::scale) and an
//! addition in one.

use core::arch::global_asm;
use core::marker::PhantomData;

pub(super) use super::portable::affine;
use super::{Row, Tiles};
use crate::activation::TANH;

/// Most columns whose even sum `Q` fits 32 bits whatever they hold: 511 × 2^7 × 2^15 < 2^31.
const MAX_COLUMNS: usize = 508;

/// Tiles of `x` and of `h` in a row in the code (inputs are mostly the shorter), and their size.
const X_UNROLLED: usize = 4;
const H_UNROLLED: usize = 8;
const TILE_BYTES: usize = 56;

/// Where the products of two vectors start: `h`, then `x`.
#[repr(C)]
pub(super) struct Plan<'v>([Product; 2], PhantomData<&'v [i16]>);

/// `start` and `end` of a vector, and the `entry` into the unrolled tiles that leaves whole rounds.
#[repr(C)]
struct Product {
    start: *const i16,
    end: *const i16,
    entry: usize,
}

impl Product {
    /// `check` is the code behind the `unrolled` tiles, which ends a round.
    fn new(v: &[i16], check: *const u8, unrolled: usize) -> Self {
        let first = match v.len() / 4 {
            0 => 0,
            tiles => (tiles - 1) % unrolled + 1,
        };
        let entry = check.wrapping_sub(first * TILE_BYTES).addr() | 1;
        Self { start: v.as_ptr(), end: v.as_ptr_range().end, entry }
    }
}

impl<'v> Plan<'v> {
    /// `None` is for the portable kernel.
    #[inline(always)]
    pub(super) fn new(tiles: Tiles, x: &'v [i16], h: &'v [i16]) -> Option<Self> {
        if tiles != Tiles::Int8Dsp || x.len().max(h.len()) > MAX_COLUMNS {
            return None;
        }
        let x = Product::new(x, &raw const gatelet_affine_dsp_x, X_UNROLLED);
        let h = Product::new(h, &raw const gatelet_affine_dsp_h, H_UNROLLED);
        Some(Self([h, x], PhantomData))
    }

    /// [`Blocks::next`](super::Blocks::next); `rows` and `z` have the same length, from 1 on.
    #[inline(always)]
    pub(super) fn affine(&self, rows: &[[Row; 4]], weights: &[u8], z: &mut [[i32; 4]]) {
        let z = z.as_mut_ptr_range();
        // SAFETY: the kernel reads as many blocks of records as `z` has, their weights and both
        // vectors, which `'v` keeps alive, and writes all of `z`.
        unsafe { gatelet_affine_dsp(rows.as_ptr(), weights.as_ptr(), z.start, &self.0, z.end) }
    }
}

unsafe extern "C" {
    /// Pre-activations of the blocks from `z` to `z_end`, at least one.
    fn gatelet_affine_dsp(
        rows: *const [Row; 4],
        weights: *const u8,
        z: *mut [i32; 4],
        plan: *const [Product; 2],
        z_end: *mut [i32; 4],
    );
    /// Code behind the unrolled tiles of x.
    static gatelet_affine_dsp_x: u8;
    /// Code behind the unrolled tiles of h.
    static gatelet_affine_dsp_h: u8;
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
// Stack: for x and then for h, what a product starts with (the vector and six zeros, taken by one
// `ldm`), its end and its entry; the pointers into rows and z; the saved registers; z_end.
global_asm!(
    concat!(".cpu ", env!("KERNEL_CPU")),
    r#"
    .equ END, 28
    .equ ENTRY, 32
    .equ H, 36
    .equ ROWS, 72
    .equ Z, 76
    .equ FRAME, 80
    .equ Z_END, FRAME + 36

    .macro  tiles count
    .rept   \count
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
    .global gatelet_affine_dsp, gatelet_affine_dsp_x, gatelet_affine_dsp_h
    .type   gatelet_affine_dsp, %function
    .thumb_func
    .balign 4
gatelet_affine_dsp:
    push    {{r4-r11, lr}}
    push    {{r0, r2}}
    adr     r5, .Lzeros
    ldm     r5, {{r5-r10}}
    ldm     r3!, {{r4, r11, r12}}
    push    {{r4-r12}}
    ldm     r3, {{r4, r11, r12}}
    push    {{r4-r12}}

.Lblock:
    ldm     sp, {{r0, r8-r12, lr}}
    ldr     pc, [sp, #ENTRY]
.Lx:
    tiles   {x_unrolled}
gatelet_affine_dsp_x:
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
    tiles   {h_unrolled}
gatelet_affine_dsp_h:
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

    .balign 4
.Lzeros:
    .space  24
"#,
    x_unrolled = const X_UNROLLED,
    h_unrolled = const H_UNROLLED,
);

#[inline(always)]
pub(super) fn lstm(z: &[[i32; 4]; 4], c: &mut [i32; 4], h: &mut [i16; 4]) {
    // SAFETY: the kernel reads `z` and the table, reads and writes `c`, and writes `h`.
    unsafe { gatelet_lstm_dsp(z, c, h, table()) }
}

#[inline(always)]
pub(super) fn gru_after(z: &[[i32; 4]; 4], memory: &mut [i32; 4], h: &mut [i16; 4]) {
    // SAFETY: the kernel reads `z` and the table, reads and writes `memory`, and writes `h`.
    unsafe { gatelet_gru_after_dsp(z, memory, h, table()) }
}

#[inline(always)]
pub(super) fn gru_before(z: &[[i32; 4]; 2], memory: &mut [i32; 4], h: &mut [i16; 4]) {
    // SAFETY: as in `gru_after`.
    unsafe { gatelet_gru_before_dsp(z, memory, h, table()) }
}

#[inline(always)]
pub(super) fn tanh(z: &[[i32; 4]], y: &mut [[i16; 4]]) {
    debug_assert!(z.len() == y.len());
    if !z.is_empty() {
        let y = y.as_mut_ptr_range();
        // SAFETY: the kernel writes all of `y` and reads as many of `z`, and the table.
        unsafe { gatelet_tanh_dsp(z.as_ptr(), y.start, y.end, table()) }
    }
}

/// The entry of tanh(0).
fn table() -> *const i16 {
    &TANH[TANH.len() / 2]
}

type Four = [i32; 4];

unsafe extern "C" {
    fn gatelet_lstm_dsp(z: *const [Four; 4], c: *mut Four, h: *mut [i16; 4], table: *const i16);
    fn gatelet_tanh_dsp(z: *const Four, y: *mut [i16; 4], y_end: *mut [i16; 4], table: *const i16);
    fn gatelet_gru_after_dsp(
        z: *const [Four; 4],
        memory: *mut Four,
        h: *mut [i16; 4],
        table: *const i16,
    );
    fn gatelet_gru_before_dsp(
        z: *const [Four; 2],
        memory: *mut Four,
        h: *mut [i16; 4],
        table: *const i16,
    );
}

// Registers: r0 pre-activations; r1 cell state or memory; r3 table; r4-r7 the four units; r8 65535;
// r9 2^F, F the bits of the index's fraction; r10 2^21, of a gate's rounding; r11 32768; r2 of
// another rounding; r12 and lr at work. The address of h waits on the stack.
//
// One unaligned load gives both entries beside x, one `mla` their weights: with the fraction f,
// 65535·f + 2^F is f in the upper half and 2^F - f in the lower. `smmulr` with 2^(32-n) shifts
// right by n and rounds.
global_asm!(
    r#"
    @ x = table at x, with \fraction more fractional bits than Q0.15. Beyond the table's ends, which
    @ are flat, any fraction will do.
    .macro  interpolate x, fraction
    ssat    r12, #10, \x, asr #\fraction
    ubfx    \x, \x, #0, #\fraction
    ldr     r12, [r3, r12, lsl #1]
    mla     \x, \x, r8, r9
    smuad   \x, \x, r12
    .endm

    .macro  tanh x, fraction
    interpolate \x, \fraction
    smmulr  \x, \x, r2
    .endm

    .macro  sigmoid x
    interpolate \x, 11
    add     \x, \x, \x, asr #15
    smmlar  \x, \x, r10, r11
    .endm

    .macro  input unit, at
    ldr     lr, [r0, #\at]
    tanh    lr, 10
    mul     \unit, \unit, lr
    smmulr  \unit, \unit, r10
    .endm

    @ unit += gate lr · memory: memory << 2 times gate << 14 has 32 bits more than memory.
    .macro  remember unit, at
    ldr     r12, [r1, #\at]
    lsl     lr, lr, #14
    lsl     r12, r12, #2
    smmlar  \unit, r12, lr, \unit
    .endm

    .macro  forget unit, at
    ldr     lr, [r0, #16 + \at]
    sigmoid lr
    remember \unit, \at
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
    tanh    r4, 14
    tanh    r5, 14
    tanh    r6, 14
    tanh    r7, 14
    mov     r9, #1 << 11
    output  r4, 48
    output  r5, 52
    output  r6, 56
    output  r7, 60
    pkhtb   r4, r5, r4, asr #16
    pkhtb   r5, r7, r6, asr #16
    pop     {{r2}}
    stm     r2, {{r4, r5}}
    pop     {{r4-r11, pc}}

    @ n = n_x + (gate lr · n_h), the product in 64 bits: n_h can be any number.
    .macro  reset unit, at
    ldr     lr, [r0, #16 + \at]
    sigmoid lr
    ldr     r12, [r0, #48 + \at]
    smull   \unit, r12, r12, lr
    ldr     lr, [r0, #32 + \at]
    adds    \unit, \unit, r11
    adc     r12, r12, #0
    add     lr, lr, \unit, lsr #16
    add     \unit, lr, r12, lsl #16
    .endm

    .macro  blend unit, at
    ldr     lr, [r0, #\at]
    sigmoid lr
    rsb     r12, lr, #65536
    mul     \unit, \unit, r12
    smmulr  \unit, \unit, r2
    remember \unit, \at
    .endm

    .macro  narrow unit
    smmulr  \unit, \unit, r2
    ssat    \unit, #16, \unit
    .endm

    .section .text.gatelet_gru_dsp, "ax"
    .global gatelet_gru_after_dsp, gatelet_gru_before_dsp
    .type   gatelet_gru_after_dsp, %function
    .type   gatelet_gru_before_dsp, %function
    .thumb_func
    .balign 4
gatelet_gru_after_dsp:
    push    {{r2, r4-r11, lr}}
    movw    r8, #65535
    mov     r9, #1 << 11
    mov     r10, #1 << 21
    mov     r11, #1 << 15
    reset   r4, 0
    reset   r5, 4
    reset   r6, 8
    reset   r7, 12
    b       .Lcandidate

    .thumb_func
gatelet_gru_before_dsp:
    push    {{r2, r4-r11, lr}}
    movw    r8, #65535
    mov     r10, #1 << 21
    mov     r11, #1 << 15
    ldrd    r4, r5, [r0, #16]
    ldrd    r6, r7, [r0, #24]
.Lcandidate:
    mov     r9, #1 << 10
    mov     r2, #1 << 22
    tanh    r4, 10
    tanh    r5, 10
    tanh    r6, 10
    tanh    r7, 10
    mov     r9, #1 << 11
    mov     r2, #1 << 29
    blend   r4, 0
    blend   r5, 4
    blend   r6, 8
    blend   r7, 12
    stm     r1, {{r4-r7}}
    mov     r2, #1 << 19
    narrow  r4
    narrow  r5
    narrow  r6
    narrow  r7
    pkhbt   r4, r4, r5, lsl #16
    pkhbt   r5, r6, r7, lsl #16
    @ -32768 becomes -32767: negated twice, with saturation.
    mov     r12, #0
    qsub16  r4, r12, r4
    qsub16  r5, r12, r5
    qsub16  r4, r12, r4
    qsub16  r5, r12, r5
    pop     {{r2}}
    stm     r2, {{r4, r5}}
    pop     {{r4-r11, pc}}

    @ Registers: r0 z; r1 y; r10 its end.
    .section .text.gatelet_tanh_dsp, "ax"
    .global gatelet_tanh_dsp
    .type   gatelet_tanh_dsp, %function
    .thumb_func
    .balign 4
gatelet_tanh_dsp:
    push    {{r4-r10, lr}}
    mov     r10, r2
    movw    r8, #65535
    mov     r9, #1 << 10
    mov     r2, #1 << 22
.Ltanh:
    ldm     r0!, {{r4-r7}}
    tanh    r4, 10
    tanh    r5, 10
    tanh    r6, 10
    tanh    r7, 10
    pkhbt   r4, r4, r5, lsl #16
    pkhbt   r5, r6, r7, lsl #16
    stm     r1!, {{r4, r5}}
    cmp     r1, r10
    bne     .Ltanh
    pop     {{r4-r10, pc}}
"#
);
