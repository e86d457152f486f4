//! Armv8.1-M with Helium (Cortex-M55, M85): 9 instructions for the 32 products of a tile.
//!
//! A tile of [`Tiles::Int8Helium`] is 4 rows × 8 columns: eight activations are loaded once for four
//! rows, a row's eight weights widen to 16 bits as they are loaded, and `vmlava` adds eight products
//! to a sum. `vmulh` by a multiplier in the upper half of a lane is [`scale`](crate::fixed::scale).

use core::arch::global_asm;
use core::marker::PhantomData;

pub(super) use super::portable::affine;
use super::{Row, Tiles};
use crate::activation::TANH;

/// Tiles in a row in the code, and their size.
const UNROLLED: usize = 4;
const TILE_BYTES: usize = 36;

/// Where the products of two vectors start: `x`, then `h`.
#[repr(C)]
pub(super) struct Plan<'v>([Product; 2], PhantomData<&'v [i16]>);

/// What a product starts with: the first six words are taken by one `ldm`.
#[repr(C)]
struct Product {
    /// Sums of rows 0 and 1.
    zeros: [u32; 2],
    vector: *const i16,
    /// Sums of rows 2 and 3.
    more_zeros: [u32; 2],
    rounds: usize,
    /// Into the unrolled tiles, so that whole rounds remain.
    entry: usize,
    /// Behind the rounds: the code for the last four columns, or that behind it.
    exit: usize,
}

/// Code behind the unrolled tiles of a product, that of its last four columns, that behind both.
type Labels = [*const u8; 3];

impl Product {
    fn new(v: &[i16], [end, last, done]: Labels) -> Self {
        let tiles = v.len() / 8;
        let first = if tiles == 0 { 0 } else { (tiles - 1) % UNROLLED + 1 };
        Self {
            zeros: [0; 2],
            vector: v.as_ptr(),
            more_zeros: [0; 2],
            rounds: tiles.div_ceil(UNROLLED),
            entry: end.wrapping_sub(first * TILE_BYTES).addr() | 1,
            exit: if v.len().is_multiple_of(8) { done } else { last }.addr() | 1,
        }
    }
}

impl<'v> Plan<'v> {
    /// `None` is for the portable kernel.
    #[inline(always)]
    pub(super) fn new(tiles: Tiles, x: &'v [i16], h: &'v [i16]) -> Option<Self> {
        if tiles != Tiles::Int8Helium {
            return None;
        }
        let x_labels = [
            &raw const gatelet_affine_helium_x,
            &raw const gatelet_affine_helium_x_last,
            &raw const gatelet_affine_helium_x_done,
        ];
        let h_labels = [
            &raw const gatelet_affine_helium_h,
            &raw const gatelet_affine_helium_h_last,
            &raw const gatelet_affine_helium_h_done,
        ];
        Some(Self([Product::new(x, x_labels), Product::new(h, h_labels)], PhantomData))
    }

    /// [`Blocks::next`](super::Blocks::next), or [`next_apart`](super::Blocks::next_apart); `rows` and
    /// `z` have the same length, and there is at least one block with both products.
    #[inline(always)]
    pub(super) fn affine(
        &self,
        rows: &[[Row; 4]],
        weights: &[u8],
        z: &mut [[i32; 4]],
        apart: bool,
    ) {
        let z = z.as_mut_ptr_range();
        let both = z.end.wrapping_sub(if apart { 2 } else { 0 });
        // SAFETY: the kernel reads as many blocks of records as `z` has, their weights and both
        // vectors, which `'v` keeps alive, and writes all of `z`.
        unsafe {
            gatelet_affine_helium(rows.as_ptr(), weights.as_ptr(), z.start, &self.0, both, z.end);
        }
    }
}

unsafe extern "C" {
    /// Pre-activations of the blocks from `z` to `both`, at least one, and of one whose products stay
    /// apart if `end` lies behind.
    fn gatelet_affine_helium(
        rows: *const [Row; 4],
        weights: *const u8,
        z: *mut [i32; 4],
        plan: *const [Product; 2],
        both: *mut [i32; 4],
        end: *mut [i32; 4],
    );
    static gatelet_affine_helium_x: u8;
    static gatelet_affine_helium_x_last: u8;
    static gatelet_affine_helium_x_done: u8;
    static gatelet_affine_helium_h: u8;
    static gatelet_affine_helium_h_last: u8;
    static gatelet_affine_helium_h_done: u8;
}

// Registers: r0, r2, r4, r6 sums of rows 0 to 3 (`vmlava` wants even ones); r1 weights; r3 vector;
// r5, r7 what the products of x and h start with; r8 records; r9 z; r10 where its blocks with both
// products end; r11 code behind the product of x; lr rounds; q2, q3 biases and multipliers, and z as it
// grows.
global_asm!(
    concat!(".cpu ", env!("KERNEL_CPU")),
    r#"
    .equ ENTRY, 24
    .equ EXIT, 28

    @ The tiles of a product: rows at -24, -16 and -8 from the next tile.
    .macro  product start, name
    ldm     \start, {{r0, r2, r3, r4, r6, lr}}
    ldr     pc, [\start, #ENTRY]
.Lround_\name:
    .rept   {unrolled}
    vldrh.u16 q0, [r3], #16
    vldrb.s16 q1, [r1], #32
    vmlava.s16 r0, q0, q1
    vldrb.s16 q1, [r1, #-24]
    vmlava.s16 r2, q0, q1
    vldrb.s16 q1, [r1, #-16]
    vmlava.s16 r4, q0, q1
    vldrb.s16 q1, [r1, #-8]
    vmlava.s16 r6, q0, q1
    .endr
gatelet_affine_helium_\name:
    le      lr, .Lround_\name
    ldr     pc, [\start, #EXIT]
gatelet_affine_helium_\name\()_last:
    vldrh.s32 q0, [r3]
    vldrb.s32 q1, [r1], #16
    vmlava.s32 r0, q0, q1
    vldrb.s32 q1, [r1, #-12]
    vmlava.s32 r2, q0, q1
    vldrb.s32 q1, [r1, #-8]
    vmlava.s32 r4, q0, q1
    vldrb.s32 q1, [r1, #-4]
    vmlava.s32 r6, q0, q1
gatelet_affine_helium_\name\()_done:
    vmov    q0[2], q0[0], r0, r4
    vmov    q0[3], q0[1], r2, r6
    .endm

    .section .text.gatelet_affine_helium, "ax"
    .global gatelet_affine_helium
    .type   gatelet_affine_helium, %function
    .thumb_func
    .balign 4
gatelet_affine_helium:
    push    {{r4-r12, lr}}
    mov     r8, r0
    mov     r9, r2
    mov     r5, r3
    add     r7, r3, #32
    ldr     r10, [sp, #40]
    adr     r11, .Lh + 1

.Lblock:
    product r5, x
    vld20.32 {{q2, q3}}, [r8]
    vld21.32 {{q2, q3}}, [r8]!
    vshl.i32 q1, q3, #16
    vmulh.s32 q0, q0, q1
    vadd.i32 q2, q2, q0
    bx      r11

    @ The product of x alone, h's rows come next.
    .balign 4
.Lapart:
    vstrw.32 q2, [r9], #16
    vld20.32 {{q2, q3}}, [r8]
    vld21.32 {{q2, q3}}, [r8]!
    .balign 4
.Lh:
    product r7, h
    vmvn.i32 q1, #0xffff
    vand    q1, q1, q3
    vmulh.s32 q0, q0, q1
    vadd.i32 q2, q2, q0
    vstrw.32 q2, [r9], #16
    cmp     r9, r10
    bne     .Lblock
    @ Goes on, once, if there is a block whose products stay apart.
    adr     r11, .Lapart + 1
    ldr     r10, [sp, #44]
    cmp     r9, r10
    bne     .Lblock
    pop     {{r4-r12, pc}}

    .global gatelet_affine_helium_x, gatelet_affine_helium_x_last, gatelet_affine_helium_x_done
    .global gatelet_affine_helium_h, gatelet_affine_helium_h_last, gatelet_affine_helium_h_done
"#,
    unrolled = const UNROLLED,
);

#[inline(always)]
pub(super) fn lstm(z: &[[i32; 4]; 4], c: &mut [i32; 4], h: &mut [i16; 4]) {
    // SAFETY: the kernel reads `z` and the table, reads and writes `c`, and writes `h`.
    unsafe { gatelet_lstm_helium(z, c, h, table()) }
}

#[inline(always)]
pub(super) fn gru_after(z: &[[i32; 4]; 4], memory: &mut [i32; 4], h: &mut [i16; 4]) {
    // SAFETY: the kernel reads `z` and the table, reads and writes `memory`, and writes `h`.
    unsafe { gatelet_gru_after_helium(z, memory, h, table()) }
}

#[inline(always)]
pub(super) fn gru_before(z: &[[i32; 4]; 2], memory: &mut [i32; 4], h: &mut [i16; 4]) {
    // SAFETY: as in `gru_after`.
    unsafe { gatelet_gru_before_helium(z, memory, h, table()) }
}

#[inline(always)]
pub(super) fn tanh(z: &[[i32; 4]], y: &mut [[i16; 4]]) {
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
