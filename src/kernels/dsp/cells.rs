//! Activations and cells, four units a call.

use core::arch::global_asm;

use crate::activation::TANH;

#[inline(always)]
pub(in crate::kernels) fn lstm(z: &[[i32; 4]; 4], c: &mut [i32; 4], h: &mut [i16; 4]) {
    // SAFETY: the kernel reads `z` and the table, reads and writes `c`, and writes `h`.
    unsafe { gatelet_lstm_dsp(z, c, h, table()) }
}

#[inline(always)]
pub(in crate::kernels) fn gru_after(z: &[[i32; 4]; 4], memory: &mut [i32; 4], h: &mut [i16; 4]) {
    // SAFETY: the kernel reads `z` and the table, reads and writes `memory`, and writes `h`.
    unsafe { gatelet_gru_after_dsp(z, memory, h, table()) }
}

#[inline(always)]
pub(in crate::kernels) fn gru_before(z: &[[i32; 4]; 2], memory: &mut [i32; 4], h: &mut [i16; 4]) {
    // SAFETY: as in `gru_after`.
    unsafe { gatelet_gru_before_dsp(z, memory, h, table()) }
}

#[inline(always)]
pub(in crate::kernels) fn tanh(z: &[[i32; 4]], y: &mut [[i16; 4]]) {
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
    concat!(".cpu ", env!("KERNEL_CPU")),
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
