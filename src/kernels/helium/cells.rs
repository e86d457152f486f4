//! Activations and cells, four units a call.

use core::arch::global_asm;

use crate::activation::TANH;

#[inline(always)]
pub(in crate::kernels) fn lstm(z: &[[i32; 4]; 4], c: &mut [i32; 4], h: &mut [i16; 4]) {
    // SAFETY: the kernel reads `z` and the table, reads and writes `c`, and writes `h`.
    unsafe { gatelet_lstm_helium(z, c, h, table()) }
}

#[inline(always)]
pub(in crate::kernels) fn gru_after(z: &[[i32; 4]; 4], memory: &mut [i32; 4], h: &mut [i16; 4]) {
    // SAFETY: the kernel reads `z` and the table, reads and writes `memory`, and writes `h`.
    unsafe { gatelet_gru_after_helium(z, memory, h, table()) }
}

#[inline(always)]
pub(in crate::kernels) fn gru_before(z: &[[i32; 4]; 2], memory: &mut [i32; 4], h: &mut [i16; 4]) {
    // SAFETY: as in `gru_after`.
    unsafe { gatelet_gru_before_helium(z, memory, h, table()) }
}

#[inline(always)]
pub(in crate::kernels) fn tanh(z: &[[i32; 4]], y: &mut [[i16; 4]]) {
    debug_assert!(z.len() == y.len());
    if !z.is_empty() {
        let y = y.as_mut_ptr_range();
        // SAFETY: the kernel writes all of `y` and reads as many of `z`, and the table.
        unsafe { gatelet_tanh_helium(z.as_ptr(), y.start, y.end, table()) }
    }
}

/// The entry of tanh(0).
fn table() -> *const i16 {
    &TANH[TANH.len() / 2]
}

type Four = [i32; 4];

unsafe extern "C" {
    fn gatelet_lstm_helium(z: *const [Four; 4], c: *mut Four, h: *mut [i16; 4], table: *const i16);
    fn gatelet_tanh_helium(
        z: *const Four,
        y: *mut [i16; 4],
        y_end: *mut [i16; 4],
        table: *const i16,
    );
    fn gatelet_gru_after_helium(
        z: *const [Four; 4],
        memory: *mut Four,
        h: *mut [i16; 4],
        table: *const i16,
    );
    fn gatelet_gru_before_helium(
        z: *const [Four; 2],
        memory: *mut Four,
        h: *mut [i16; 4],
        table: *const i16,
    );
}

// A vector is a value of four units. Registers: r0 pre-activations; r1 cell state or memory; r2 h;
// r3, r12 table, and behind its first entry; r4 2^11; r5 2^15; q1-q3 at work; q5, q6 limits, the
// larger and the smaller; q7 2^11 - 1.
//
// The shift by 32 bits less those of the index and the fraction saturates: it leaves the index in
// the upper ten. Beyond its ends, which are flat, the table takes any fraction. It never falls, so
// `vrmulh` multiplies a step with a fraction of 32 bits unsigned, and rounds.
global_asm!(
    concat!(".cpu ", env!("KERNEL_CPU")),
    r#"
    @ q1 = index, q2 = entry, q3 = step to the next entry.
    .macro  look_up x, shift
    vqshl.s32 q1, \x, #\shift
    vshr.s32 q1, q1, #22
    vldrh.s32 q2, [r3, q1, uxtw #1]
    vldrh.s32 q3, [r12, q1, uxtw #1]
    vsub.i32 q3, q3, q2
    .endm

    .macro  tanh x, shift
    look_up \x, \shift
    vshl.i32 \x, \x, #\shift + 10
    vrmulh.u32 \x, \x, q3
    vadd.i32 \x, \x, q2
    .endm

    .macro  sigmoid x
    look_up \x, 11
    vand    \x, \x, q7
    vmul.i32 \x, \x, q3
    vmla.s32 \x, q2, r4
    vshr.s32 q1, \x, #15
    vadd.i32 \x, \x, q1
    vrshr.s32 \x, \x, #11
    vadd.i32 \x, \x, r5
    .endm

    @ q1 = x · gate for less than 2^30 in magnitude: x << 1 times gate << 14, doubled.
    .macro  gated gate
    vldrw.32 q1, [r1]
    vshl.i32 \gate, \gate, #14
    vshl.i32 q1, q1, #1
    vqrdmulh.s32 q1, q1, \gate
    .endm

    .macro  enter
    push    {{r4, r5, r7, lr}}
    vpush   {{d8-d15}}
    add     r12, r3, #2
    mov     r4, #1 << 11
    mov     r5, #1 << 15
    vmov.i32 q7, #0x7ff
    .endm

    .macro  leave
    vpop    {{d8-d15}}
    pop     {{r4, r5, r7, pc}}
    .endm

    .section .text.gatelet_lstm_helium, "ax"
    .global gatelet_lstm_helium
    .type   gatelet_lstm_helium, %function
    .thumb_func
    .balign 4
gatelet_lstm_helium:
    enter
    vldrw.32 q4, [r0]
    sigmoid q4
    vldrw.32 q0, [r0, #32]
    tanh    q0, 12
    vmul.i32 q4, q4, q0
    vrshr.s32 q4, q4, #11
    vldrw.32 q0, [r0, #16]
    sigmoid q0
    gated   q0
    vadd.i32 q4, q4, q1
    vmvn.i32 q5, #0xe0000000
    vneg.s32 q6, q5
    vmin.s32 q4, q4, q5
    vmax.s32 q4, q4, q6
    vstrw.32 q4, [r1]
    tanh    q4, 8
    vldrw.32 q0, [r0, #48]
    sigmoid q0
    vmul.i32 q4, q4, q0
    vrshr.s32 q4, q4, #16
    vstrh.32 q4, [r2]
    leave

    .section .text.gatelet_gru_helium, "ax"
    .global gatelet_gru_after_helium, gatelet_gru_before_helium
    .type   gatelet_gru_after_helium, %function
    .type   gatelet_gru_before_helium, %function
    .thumb_func
    .balign 4
gatelet_gru_after_helium:
    enter
    vldrw.32 q4, [r0, #16]
    sigmoid q4
    vldrw.32 q0, [r0, #48]
    @ n_h · gate in two halves: n_h can be any number.
    vshr.s32 q1, q0, #16
    vmovlb.u16 q0, q0
    vmul.i32 q1, q1, q4
    vmul.i32 q0, q0, q4
    vrshr.u32 q0, q0, #16
    vadd.i32 q0, q0, q1
    vldrw.32 q4, [r0, #32]
    vadd.i32 q4, q4, q0
    b       .Lcandidate

    .thumb_func
gatelet_gru_before_helium:
    enter
    vldrw.32 q4, [r0, #16]
.Lcandidate:
    tanh    q4, 12
    vldrw.32 q0, [r0]
    sigmoid q0
    vmov.i32 q1, #0x10000
    vsub.i32 q1, q1, q0
    vmul.i32 q4, q4, q1
    vrshr.s32 q4, q4, #3
    gated   q0
    vadd.i32 q4, q4, q1
    vstrw.32 q4, [r1]
    vmov.i32 q5, #0x7fff
    vneg.s32 q6, q5
    vrshr.s32 q4, q4, #13
    vmin.s32 q4, q4, q5
    vmax.s32 q4, q4, q6
    vstrh.32 q4, [r2]
    leave

    @ Registers: r0 z; r1 y; r2 its end.
    .section .text.gatelet_tanh_helium, "ax"
    .global gatelet_tanh_helium
    .type   gatelet_tanh_helium, %function
    .thumb_func
    .balign 4
gatelet_tanh_helium:
    push    {{r7, lr}}
    add     r12, r3, #2
    sub     r2, r2, r1
    lsr     r2, r2, #3
    dls     lr, r2
.Ltanh:
    vldrw.32 q0, [r0], #16
    tanh    q0, 12
    vstrh.32 q0, [r1], #8
    le      lr, .Ltanh
    pop     {{r7, pc}}
"#
);
