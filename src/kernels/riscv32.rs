//! RISC-V with multiplication (RV32IM, compressed or not): three instructions a product, and an
//! activation loaded once for eight rows.
//!
//! There is no multiply-add and no way to take a byte out of a word in one instruction, so weights
//! come as signed bytes. Those of 16 bits take as many, an activation loaded once for four rows; those of 4
//! bits four: a row's eight columns are a word. They are stored as value + 8; `8·Σ x` of a group of columns
//! with one scale goes off at its end.
//!
//! `mulh` by the multiplier in the upper half of a word is
//! `(sum × multiplier) >> 16`.

use core::arch::{asm, global_asm};

pub(super) use super::portable::{gru_after, gru_before, lstm};
use super::{Row, Tiles, portable};

/// All ones for a negative value, else 0. The compiler does not see what it is, and so does not
/// make a branch of what is done with it.
#[inline(always)]
pub(crate) fn sign_mask(value: i32) -> i32 {
    let mask;
    // SAFETY: shifts a register.
    unsafe {
        asm!(
            "srai {mask}, {value}, 31",
            mask = lateout(reg) mask,
            value = in(reg) value,
            options(pure, nomem, nostack)
        );
    }
    mask
}

#[inline(always)]
pub(super) fn affine(
    tiles: Tiles,
    rows: &[[Row; 4]],
    weights: &[u8],
    x: &[i16],
    h: &[i16],
    z: &mut [[i32; 4]],
    apart: bool,
) {
    let kernel: Kernel = match tiles {
        Tiles::Int8Plain => gatelet_int8_riscv32,
        #[cfg(feature = "int16")]
        Tiles::Int16 => gatelet_int16_riscv32,
        #[cfg(feature = "int4")]
        Tiles::Int4 => gatelet_int4_riscv32,
        _ => return portable::affine(tiles, rows, weights, x, h, z, apart),
    };
    let (x, h) = (x.as_ptr_range(), h.as_ptr_range());
    let (weights, rows) = (weights.as_ptr(), rows.as_ptr());
    let z = z.as_mut_ptr_range();
    let both = z.end.wrapping_sub(if apart { 2 } else { 0 });
    // SAFETY: the kernel reads as many blocks of records as `z` has, their weights and both vectors,
    // and writes all of `z`.
    unsafe { kernel(weights, rows, z.start, both, x.start, x.end, h.start, h.end, z.end) }
}

/// Pre-activations of the blocks from `z` to `both`, at least one, and of one whose products stay apart
/// if `end` lies behind.
type Kernel = unsafe extern "C" fn(
    weights: *const u8,
    rows: *const [Row; 4],
    z: *mut [i32; 4],
    both: *mut [i32; 4],
    x: *const i16,
    x_end: *const i16,
    h: *const i16,
    h_end: *const i16,
    end: *mut [i32; 4],
);

macro_rules! kernel {
    ($name:ident) => {
        unsafe extern "C" {
            fn $name(
                weights: *const u8,
                rows: *const [Row; 4],
                z: *mut [i32; 4],
                both: *mut [i32; 4],
                x: *const i16,
                x_end: *const i16,
                h: *const i16,
                h_end: *const i16,
                end: *mut [i32; 4],
            );
        }
    };
}

kernel!(gatelet_int8_riscv32);
#[cfg(feature = "int16")]
kernel!(gatelet_int16_riscv32);
#[cfg(feature = "int4")]
kernel!(gatelet_int4_riscv32);

optional!(
    int16,
    "int16",
    r#"
    .macro  int16_product
    j       2f
1:  .irp    c, 0, 2, 4, 6
    lh      t0, \c(t5)
    lh      t1, \c(a0)
    lh      t2, \c + 8(a0)
    lh      t3, \c + 16(a0)
    lh      t4, \c + 24(a0)
    multiply_add s0, s1, s2, s3
    .endr
    addi    t5, t5, 8
    addi    a0, a0, 32
2:  bne     t5, t6, 1b
    ret
    .endm

    kernel  gatelet_int16_riscv32, int16_product
"#
);

// s4-s7: sums of the rows in the group; s8: sum of its activations; s9: its end; ra: a weight (the return
// address waits on the stack).
optional!(
    int4,
    "int4",
    r#"
    .macro  int4_row sum, word, at
    .if     \at
    srli    ra, \word, \at
    andi    ra, ra, 15
    .else
    andi    ra, \word, 15
    .endif
    mul     ra, ra, t0
    add     \sum, \sum, ra
    .endm

    .macro  int4_columns columns:vararg
    .irp    at, \columns
    lh      t0, 0(t5)
    addi    t5, t5, 2
    add     s8, s8, t0
    int4_row s4, t1, \at
    int4_row s5, t2, \at
    int4_row s6, t3, \at
    int4_row s7, t4, \at
    .endr
    .endm

    .macro  int4_scale sum, of_group, k
    lbu     t0, \k(ra)
    sub     \of_group, \of_group, s8
    mul     \of_group, \of_group, t0
    add     \sum, \sum, \of_group
    li      \of_group, 0
    .endm

    # Stack: the return address, the address of the group's scales.
    .macro  int4_product
    addi    sp, sp, -16
    sw      ra, 0(sp)
    li      s8, 0
    j       6f
1:  sw      a0, 4(sp)
    addi    a0, a0, 4
    addi    s9, t5, 64
    bleu    s9, t6, 4f
    mv      s9, t6
    j       4f
2:  lw      t1, 0(a0)
    lw      t2, 4(a0)
    lw      t3, 8(a0)
    lw      t4, 12(a0)
    addi    a0, a0, 16
    int4_columns 0, 16, 4, 20, 8, 24, 12, 28
4:  sub     t0, s9, t5
    addi    t0, t0, -8
    bgtz    t0, 2b
    bltz    t0, 5f
    lhu     t1, 0(a0)
    lhu     t2, 2(a0)
    lhu     t3, 4(a0)
    lhu     t4, 6(a0)
    addi    a0, a0, 8
    int4_columns 0, 8, 4, 12
5:  lw      ra, 4(sp)
    slli    s8, s8, 3
    int4_scale s0, s4, 0
    int4_scale s1, s5, 1
    int4_scale s2, s6, 2
    int4_scale s3, s7, 3
    li      s8, 0
6:  bne     t5, t6, 1b
    lw      ra, 0(sp)
    addi    sp, sp, 16
    ret
    .endm

    kernel  gatelet_int4_riscv32, int4_product
"#
);

// Registers:
//
//   a0      weights of a block       s0-s3   sums of its rows
//   s8      weights of the next      s4-s7   sums of the next block's rows
//   a1-a3   rows, z, both            t0      an activation
//   a4, a5  x and its end            t1-t4   weights
//   a6, a7  h and its end            t5, t6  vector of a product and its end
//   s9      bytes of a block         ra      return of a product
global_asm!(
    r#"
    .option push
    .option arch, +m
    .macro  multiply_add s0, s1, s2, s3
    mul     t1, t1, t0
    mul     t2, t2, t0
    mul     t3, t3, t0
    mul     t4, t4, t0
    add     \s0, \s0, t1
    add     \s1, \s1, t2
    add     \s2, \s2, t3
    add     \s3, \s3, t4
    .endm

    .macro  column weights, at, s0, s1, s2, s3
    lb      t1, \at(\weights)
    lb      t2, \at + 4(\weights)
    lb      t3, \at + 8(\weights)
    lb      t4, \at + 12(\weights)
    multiply_add \s0, \s1, \s2, \s3
    .endm

    # Tile \k of one block or of two.
    .macro  tile k, two
    .irp    c, 0, 1, 2, 3
    lh      t0, 8 * \k + 2 * \c(t5)
    column  a0, 16 * \k + \c, s0, s1, s2, s3
    .if     \two
    column  s8, 16 * \k + \c, s4, s5, s6, s7
    .endif
    .endr
    .endm

    # Adds the product of the vector from t5 to t6 to the sums, two tiles at a time; an odd first
    # one comes in at the middle.
    .macro  product two
    sub     t0, t6, t5
    andi    t0, t0, 8
    beqz    t0, 3f
    addi    t5, t5, -8
    addi    a0, a0, -16
    addi    s8, s8, -16
    j       2f
1:  tile    0, \two
2:  tile    1, \two
    addi    t5, t5, 16
    addi    a0, a0, 32
    addi    s8, s8, 32
3:  bne     t5, t6, 1b
    ret
    .endm

    # Row \row: z = bias + (sum * multiplier >> 16)
    .macro  input sum, row
    lhu     t1, 8 * \row + 4(a1)
    lw      t0, 8 * \row(a1)
    slli    t1, t1, 16
    mulh    \sum, \sum, t1
    add     t0, t0, \sum
    sw      t0, 4 * \row(a2)
    li      \sum, 0
    .endm

    # Row \row: z += sum * multiplier >> 16
    .macro  hidden sum, row
    lhu     t1, 8 * \row + 6(a1)
    lw      t0, 4 * \row(a2)
    slli    t1, t1, 16
    mulh    \sum, \sum, t1
    add     t0, t0, \sum
    sw      t0, 4 * \row(a2)
    li      \sum, 0
    .endm

    # Row \row: z = bias
    .macro  bias sum, row
    lw      t0, 8 * \row(a1)
    sw      t0, 4 * \row(a2)
    .endm

    .macro  rows4 do
    \do     s0, 0
    \do     s1, 1
    \do     s2, 2
    \do     s3, 3
    .endm

    .macro  rows8 do
    rows4   \do
    \do     s4, 4
    \do     s5, 5
    \do     s6, 6
    \do     s7, 7
    .endm

    .macro  pass rows, product, blocks
    mv      t5, a4
    mv      t6, a5
    jal     \product
    \rows   input
    mv      t5, a6
    mv      t6, a7
    jal     \product
    \rows   hidden
    addi    a1, a1, 32 * \blocks
    addi    a2, a2, 16 * \blocks
    .endm

    .macro  saved do
    \do     ra, 0(sp)
    \do     s0, 4(sp)
    \do     s1, 8(sp)
    \do     s2, 12(sp)
    \do     s3, 16(sp)
    \do     s4, 20(sp)
    \do     s5, 24(sp)
    \do     s6, 28(sp)
    \do     s7, 32(sp)
    \do     s8, 36(sp)
    \do     s9, 40(sp)
    .endm

    .macro  enter name
    .section .text.\name, "ax"
    .global \name
    .type   \name, @function
\name:
    addi    sp, sp, -48
    saved   sw
    .irp    sum, s0, s1, s2, s3, s4, s5, s6, s7
    li      \sum, 0
    .endr
    .endm

    # A block whose products stay apart, if there is one.
    .macro  leave product
    lw      t0, 48(sp)
    beq     a2, t0, 9f
    mv      t5, a4
    mv      t6, a5
    jal     \product
    rows4   input
    addi    a1, a1, 32
    addi    a2, a2, 16
    rows4   bias
    mv      t5, a6
    mv      t6, a7
    jal     \product
    rows4   hidden
9:  saved   lw
    addi    sp, sp, 48
    ret
    .endm

    # A block at a time.
    .macro  kernel name, product
    enter   \name
7:  pass    rows4, 8f, 1
    bne     a2, a3, 7b
    leave   8f
8:  \product
    .endm

    enter   gatelet_int8_riscv32
    sub     t0, a5, a4
    sub     t1, a7, a6
    add     s9, t0, t1
    slli    s9, s9, 1
    j       5f
4:  add     s8, a0, s9
    pass    rows8, 7f, 2
    mv      a0, s8
5:  sub     t0, a3, a2
    addi    t0, t0, -16
    bgtz    t0, 4b
    bltz    t0, 6f
    pass    rows4, 8f, 1
6:  leave   8f
7:  product 1
8:  product 0
"#,
    int16!(),
    int4!(),
    "    .option pop",
);
