//! Armv8.1-M with Helium (Cortex-M55, M85): 9 instructions for the 32 products of a tile.
//!
//! A tile of [`Tiles::Int8Helium`] is 4 rows × 8 columns: eight activations are loaded once for four
//! rows, a row's eight weights widen to 16 bits as they are loaded, and `vmlava` adds eight products
//! to a sum. `vmulh` by a multiplier in the upper half of a lane is [`scale`](crate::fixed::scale).
//!
//! Weights of 16 bits, four columns of a row side by side, take 9 instructions for 16 products. A row's
//! eight weights of 4 bits are one word, copied to all lanes and shifted there: 22 for 32 products, and 16
//! for a group of columns with one scale. They are stored as value + 8; `8·Σ x` of the group goes off at
//! its end.

use core::arch::global_asm;
use core::marker::PhantomData;

mod cells;

use super::assembly::{self, Affine, kernel};
pub(super) use super::portable::affine;
use super::{Row, Tiles};
pub(super) use cells::{gru_after, gru_before, lstm, tanh};

/// Tiles in a row in the code, and their size.
const UNROLLED: usize = 4;
const TILE_BYTES: usize = 36;

/// Where the products of two vectors start, `x`, then `h`; and the code.
pub(super) struct Plan<'v> {
    products: [Product; 2],
    kernel: Affine<Product>,
    vectors: PhantomData<&'v [i16]>,
}

/// What a product starts with: the first six words are taken by one `ldm`.
#[repr(C)]
struct Product {
    /// Sums of rows 0 and 1.
    zeros: [u32; 2],
    vector: *const i16,
    /// Sums of rows 2 and 3.
    more_zeros: [u32; 2],
    /// Rounds through the unrolled tiles.
    rounds: usize,
    /// Into the unrolled tiles, so that whole rounds remain.
    entry: usize,
    /// Behind the rounds: the code for the last four columns, or that behind it.
    exit: usize,
}

/// Code behind the unrolled tiles of a product, that of its last four columns, that behind both.
type Labels = [*const u8; 3];

/// The code for a kind of weights: a tile's columns as a power of two (a division could panic), and the
/// labels of the products of `x` and `h`.
struct Code {
    kernel: Affine<Product>,
    column_bits: u32,
    labels: [Labels; 2],
}

// SAFETY: addresses of code, nothing that changes.
unsafe impl Sync for Code {}

static INT8: Code = Code {
    kernel: gatelet_int8_helium,
    column_bits: 3,
    labels: [
        [
            &raw const gatelet_int8_helium_x,
            &raw const gatelet_int8_helium_x_last,
            &raw const gatelet_int8_helium_x_done,
        ],
        [
            &raw const gatelet_int8_helium_h,
            &raw const gatelet_int8_helium_h_last,
            &raw const gatelet_int8_helium_h_done,
        ],
    ],
};

#[cfg(feature = "int16")]
static INT16: Code = Code {
    kernel: gatelet_int16_helium,
    column_bits: 2,
    labels: [
        [
            &raw const gatelet_int16_helium_x,
            &raw const gatelet_int16_helium_x_done,
            &raw const gatelet_int16_helium_x_done,
        ],
        [
            &raw const gatelet_int16_helium_h,
            &raw const gatelet_int16_helium_h_done,
            &raw const gatelet_int16_helium_h_done,
        ],
    ],
};

/// One loop, not unrolled: it counts in fours of columns.
#[cfg(feature = "int4")]
static INT4: Code =
    Code { kernel: gatelet_int4_helium, column_bits: 0, labels: [[core::ptr::null(); 3]; 2] };

impl Product {
    /// A tile covers `2^column_bits` columns.
    fn new(v: &[i16], column_bits: u32, [end, last, done]: &Labels) -> Self {
        let tiles = v.len() >> column_bits;
        let whole = tiles << column_bits == v.len();
        let first = if tiles == 0 { 0 } else { (tiles - 1) % UNROLLED + 1 };
        Self {
            zeros: [0; 2],
            vector: v.as_ptr(),
            more_zeros: [0; 2],
            rounds: tiles.div_ceil(UNROLLED),
            entry: end.wrapping_sub(first * TILE_BYTES).addr() | 1,
            exit: if whole { *done } else { *last }.addr() | 1,
        }
    }
}

impl<'v> Plan<'v> {
    /// `None` is for the portable kernel.
    #[inline(always)]
    pub(super) fn new(tiles: Tiles, x: &'v [i16], h: &'v [i16]) -> Option<Self> {
        let Code { kernel, column_bits, labels: [of_x, of_h] } = match tiles {
            Tiles::Int8Helium => &INT8,
            #[cfg(feature = "int16")]
            Tiles::Int16 => &INT16,
            #[cfg(feature = "int4")]
            Tiles::Int4 => &INT4,
            _ => return None,
        };
        let products = [Product::new(x, *column_bits, of_x), Product::new(h, *column_bits, of_h)];
        Some(Self { products, kernel: *kernel, vectors: PhantomData })
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
        unsafe { assembly::affine(self.kernel, &self.products, rows, weights, z, apart) }
    }
}

kernel!(
    gatelet_int8_helium(Product),
    gatelet_int8_helium_x,
    gatelet_int8_helium_x_last,
    gatelet_int8_helium_x_done,
    gatelet_int8_helium_h,
    gatelet_int8_helium_h_last,
    gatelet_int8_helium_h_done
);
#[cfg(feature = "int16")]
kernel!(
    gatelet_int16_helium(Product),
    gatelet_int16_helium_x,
    gatelet_int16_helium_x_done,
    gatelet_int16_helium_h,
    gatelet_int16_helium_h_done
);
#[cfg(feature = "int4")]
kernel!(gatelet_int4_helium(Product));

// Registers: r0, r2, r4, r6 sums of rows 0 to 3 (`vmlava` wants even ones); r1 weights; r3 vector;
// r5, r7 what the products of x and h start with; r8 records; r9 z; r10 where its blocks with both
// products end; r11 code behind the product of x; lr rounds; q2, q3 biases and multipliers, and z as it
// grows.
global_asm!(
    concat!(".cpu ", env!("KERNEL_CPU")),
    r#"
    .equ ENTRY, 24
    .equ EXIT, 28

    .macro  function name
    .section .text.\name, "ax"
    .global \name
    .type   \name, %function
    .thumb_func
    .balign 4
\name:
    .endm

    @ The tiles of a product, its sums in q0.
    .macro  product start, name, tile, last
    .global \name, \name\()_last, \name\()_done
    ldm     \start, {{r0, r2, r3, r4, r6, lr}}
    ldr     pc, [\start, #ENTRY]
.Lround_\name:
    .rept   {unrolled}
    \tile
    .endr
\name:
    le      lr, .Lround_\name
    ldr     pc, [\start, #EXIT]
\name\()_last:
    \last
\name\()_done:
    join_sums
    .endm

    .macro  join_sums
    vmov    q0[2], q0[0], r0, r4
    vmov    q0[3], q0[1], r2, r6
    .endm

    @ q2, q3: biases and multipliers of four rows.
    .macro  records
    vld20.32 {{q2, q3}}, [r8]
    vld21.32 {{q2, q3}}, [r8]!
    .endm

    @ q2 += product of x, then that of h, times multiplier >> 16.
    .macro  scale_x sums
    vshl.i32 q1, q3, #16
    vmulh.s32 \sums, \sums, q1
    vadd.i32 q2, q2, \sums
    .endm

    .macro  scale_h sums
    vmvn.i32 q1, #0xffff
    vand    q1, q1, q3
    vmulh.s32 \sums, \sums, q1
    vadd.i32 q2, q2, \sums
    vstrw.32 q2, [r9], #16
    .endm

    .macro  affine name, tile, last
    function \name
    push    {{r4-r12, lr}}
    mov     r8, r0
    mov     r9, r2
    mov     r5, r3
    add     r7, r3, #32
    ldr     r10, [sp, #40]
    adr     r11, .Lh_\name + 1

.Lblock_\name:
    product r5, \name\()_x, \tile, \last
    records
    scale_x q0
    bx      r11

    @ The product of x alone, h's rows come next.
    .balign 4
.Lapart_\name:
    vstrw.32 q2, [r9], #16
    records
.Lh_\name:
    product r7, \name\()_h, \tile, \last
    scale_h q0
    cmp     r9, r10
    bne     .Lblock_\name
    @ Goes on, once, if there is a block whose products stay apart.
    adr     r11, .Lapart_\name + 1
    ldr     r10, [sp, #44]
    cmp     r9, r10
    bne     .Lblock_\name
    pop     {{r4-r12, pc}}
    .endm

    @ Rows at -24, -16 and -8 from the next tile.
    .macro  int8_tile
    vldrh.u16 q0, [r3], #16
    vldrb.s16 q1, [r1], #32
    vmlava.s16 r0, q0, q1
    vldrb.s16 q1, [r1, #-24]
    vmlava.s16 r2, q0, q1
    vldrb.s16 q1, [r1, #-16]
    vmlava.s16 r4, q0, q1
    vldrb.s16 q1, [r1, #-8]
    vmlava.s16 r6, q0, q1
    .endm

    .macro  int8_last
    vldrh.s32 q0, [r3]
    vldrb.s32 q1, [r1], #16
    vmlava.s32 r0, q0, q1
    vldrb.s32 q1, [r1, #-12]
    vmlava.s32 r2, q0, q1
    vldrb.s32 q1, [r1, #-8]
    vmlava.s32 r4, q0, q1
    vldrb.s32 q1, [r1, #-4]
    vmlava.s32 r6, q0, q1
    .endm

    affine  gatelet_int8_helium, int8_tile, int8_last
"#,
    unrolled = const UNROLLED,
);

#[cfg(feature = "int16")]
global_asm!(
    concat!(".cpu ", env!("KERNEL_CPU")),
    r#"
    .macro  int16_tile
    vldrh.s32 q0, [r3], #8
    vldrh.s32 q1, [r1], #32
    vmlava.s32 r0, q0, q1
    vldrh.s32 q1, [r1, #-24]
    vmlava.s32 r2, q0, q1
    vldrh.s32 q1, [r1, #-16]
    vmlava.s32 r4, q0, q1
    vldrh.s32 q1, [r1, #-8]
    vmlava.s32 r6, q0, q1
    .endm

    .macro  int16_last
    .endm

    affine  gatelet_int16_helium, int16_tile, int16_last
"#
);

// Registers: r0, r2, r4, r6 sums of the rows in the group, r12 that of its activations; r1 weights; r3
// vector, r5 its end; r7 bytes of the group's activations; r8 records; r9 z; r10 a row's columns; r11 the
// products; lr tiles; q2, q3 as above; q4 shifts of the lanes; q5 mask; q6 sums; q7 scales.
#[cfg(feature = "int4")]
global_asm!(
    concat!(".cpu ", env!("KERNEL_CPU")),
    r#"
    .equ BOTH, 100
    .equ END, 104

    @ sum += columns · activations
    .macro  add_row sum
    vdup.32 q1, r10
    vshl.u16 q1, q1, q4
    vand    q1, q1, q5
    vmlava.s16 \sum, q0, q1
    .endm

    .macro  eight_columns sum
    ldr     r10, [r1], #4
    add_row \sum
    .endm

    .macro  four_columns sum
    ldrh    r10, [r1], #2
    orr     r10, r10, r10, lsl #8
    add_row \sum
    .endm

    .macro  rows columns
    \columns r0
    \columns r2
    \columns r4
    \columns r6
    .endm

    .macro  grouped_product at
    ldr     r3, [r11, #\at + 8]
    ldr     r5, [r11, #\at + 20]
    bl      .Lproduct_int4
    .endm

    function gatelet_int4_helium
    push    {{r4-r11, lr}}
    vpush   {{d8-d15}}
    mov     r8, r0
    mov     r9, r2
    mov     r11, r3
    adr     r7, .Lshifts
    vldrw.32 q4, [r7]
    vmov.i16 q5, #15

.Lblock_int4:
    grouped_product 0
    records
    scale_x q6
    grouped_product 32
    scale_h q6
    ldr     r7, [sp, #BOTH]
    cmp     r9, r7
    bne     .Lblock_int4

    @ A block whose products stay apart, if there is one.
    ldr     r7, [sp, #END]
    cmp     r9, r7
    beq     .Lend_int4
    grouped_product 0
    records
    scale_x q6
    vstrw.32 q2, [r9], #16
    records
    grouped_product 32
    scale_h q6
.Lend_int4:
    vpop    {{d8-d15}}
    pop     {{r4-r11, pc}}

    .balign 4
.Lshifts:
    .hword  0, 0, -4, -4, -8, -8, -12, -12

.Lproduct_int4:
    push    {{lr}}
    add     r5, r3, r5, lsl #3
    vmov.i32 q6, #0
    b       .Lgroups
.Lgroup:
    vldrb.u32 q7, [r1], #4
    movs    r0, #0
    movs    r2, #0
    movs    r4, #0
    movs    r6, #0
    mov     r12, #0
    subs    r7, r5, r3
    cmp     r7, #64
    it      hi
    movhi   r7, #64
    lsr     lr, r7, #4
    wls     lr, lr, .Llast
.Ltile:
    vldrh.u16 q0, [r3], #16
    vaddva.s16 r12, q0
    rows    eight_columns
    le      lr, .Ltile
.Llast:
    tst     r7, #8
    beq     .Lscale
    movs    r7, #4
    vctp.16 r7
    vpst
    vldrht.u16 q0, [r3], #8
    vaddva.s16 r12, q0
    rows    four_columns
.Lscale:
    lsl     r12, r12, #3
    join_sums
    vsub.i32 q0, q0, r12
    vmul.i32 q0, q0, q7
    vadd.i32 q6, q6, q0
.Lgroups:
    cmp     r3, r5
    bne     .Lgroup
    pop     {{pc}}
"#
);
