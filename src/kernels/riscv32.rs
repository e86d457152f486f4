//! RISC-V with multiplication (RV32IM, compressed or not): three instructions a product, and an
//! activation loaded once for eight rows.
//!
//! There is no multiply-add and no way to take a byte out of a word in one instruction, so weights
//! come as signed bytes. `mulh` by the multiplier in the upper half of a word is
//! `(sum × multiplier) >> 16`.

use core::arch::{asm, naked_asm};

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
    if tiles != Tiles::Int8Plain {
        return portable::affine(tiles, rows, weights, x, h, z, apart);
    }
    let (x, h) = (x.as_ptr_range(), h.as_ptr_range());
    let (weights, rows) = (weights.as_ptr(), rows.as_ptr());
    let z = z.as_mut_ptr_range();
    let both = z.end.wrapping_sub(if apart { 2 } else { 0 });
    // SAFETY: the kernel reads as many blocks of records as `z` has, their weights and both vectors,
    // and writes all of `z`.
    unsafe { blocks(weights, rows, z.start, both, x.start, x.end, h.start, h.end, z.end) }
}

/// Pre-activations of the blocks from `z` to `both`, and of one whose products stay apart if `end`
/// lies behind.
///
/// ```text
/// a0      weights of a block       s0-s3   sums of its rows
/// s8      weights of the next      s4-s7   sums of the next block's rows
/// a1-a3   rows, z, both            t0      an activation
/// a4, a5  x and its end            t1-t4   weights
/// a6, a7  h and its end            t5, t6  vector of a product and its end
/// s9      bytes of a block         ra      return of a product
/// ```
#[unsafe(naked)]
#[allow(clippy::too_many_arguments)]
unsafe extern "C" fn blocks(
    weights: *const u8,
    rows: *const [Row; 4],
    z: *mut [i32; 4],
    both: *mut [i32; 4],
    x: *const i16,
    x_end: *const i16,
    h: *const i16,
    h_end: *const i16,
    end: *mut [i32; 4],
) {
    naked_asm!(
        r#"
    .option push
    .option arch, +m
    .macro  column weights, at, s0, s1, s2, s3
    lb      t1, \at(\weights)
    lb      t2, \at + 4(\weights)
    lb      t3, \at + 8(\weights)
    lb      t4, \at + 12(\weights)
    mul     t1, t1, t0
    mul     t2, t2, t0
    mul     t3, t3, t0
    mul     t4, t4, t0
    add     \s0, \s0, t1
    add     \s1, \s1, t2
    add     \s2, \s2, t3
    add     \s3, \s3, t4
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

    addi    sp, sp, -48
    saved   sw
    sub     t0, a5, a4
    sub     t1, a7, a6
    add     s9, t0, t1
    slli    s9, s9, 1
    .irp    sum, s0, s1, s2, s3, s4, s5, s6, s7
    li      \sum, 0
    .endr
    j       5f

4:  add     s8, a0, s9
    pass    rows8, 7f, 2
    mv      a0, s8
5:  sub     t0, a3, a2
    addi    t0, t0, -16
    bgtz    t0, 4b
    bltz    t0, 6f
    pass    rows4, 8f, 1
6:  lw      t0, 48(sp)
    beq     a2, t0, 9f

    mv      t5, a4
    mv      t6, a5
    jal     8f
    rows4   input
    addi    a1, a1, 32
    addi    a2, a2, 16
    rows4   bias
    mv      t5, a6
    mv      t6, a7
    jal     8f
    rows4   hidden

9:  saved   lw
    addi    sp, sp, 48
    ret

7:  product 1
8:  product 0
    .option pop
"#
    )
}
