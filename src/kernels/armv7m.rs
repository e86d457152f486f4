//! Armv7-M without the DSP extension (Cortex-M3): 33 instructions for the 16 products of a tile.
//!
//! A word of [`Tiles::Int8Columns`] holds the four rows' weights of one column, and an arithmetic
//! shift by `8k` leaves rows `k` to 3: `T_k = Σ_{j≥k} 256^(j−k)·(w_j + 128)`, without the 128 for row
//! 3. So `w_k = T_k − 256·T_{k+1} − 128`: the kernel sums up `T_k·x`, which takes a shift and `mla` (for
//! `T_0` not even the shift), and subtracts once a block. What the 128s add depends on `Σ x` only, and
//! the sums start with its negative. All of it is exact: sums wrap like the portable ones.
//!
//! `smull` by the multiplier in the upper half of a word leaves `(sum × multiplier) >> 16` in the
//! upper word of the product.

use core::arch::global_asm;
use core::marker::PhantomData;

pub(super) use super::portable::{affine, gru_after, gru_before, lstm};
use super::{Row, Tiles};

/// Tiles in a row in the code, and their size.
const UNROLLED: usize = 8;
const TILE_BYTES: usize = 106;

/// Where the products of two vectors start: `h`, then `x`.
#[repr(C)]
pub(super) struct Plan<'v>([Product; 2], PhantomData<&'v [i16]>);

/// `start` and `end` of a vector, the negative `bias` that 128 in every weight makes, and the `entry`
/// into the unrolled tiles that leaves whole rounds.
#[repr(C)]
struct Product {
    start: *const i16,
    end: *const i16,
    bias: i32,
    entry: usize,
}

impl Product {
    fn new(v: &[i16]) -> Self {
        let bias = v.iter().fold(0i32, |sum, v| sum.wrapping_add(*v as i32)).wrapping_mul(-128);
        let first = match v.len() / 4 {
            0 => 0,
            tiles => (tiles - 1) % UNROLLED + 1,
        };
        let check = &raw const gatelet_affine_armv7m_check;
        let entry = check.wrapping_sub(first * TILE_BYTES).addr() | 1;
        Self { start: v.as_ptr(), end: v.as_ptr_range().end, bias, entry }
    }
}

impl<'v> Plan<'v> {
    /// `None` is for the portable kernel.
    #[inline(always)]
    pub(super) fn new(tiles: Tiles, x: &'v [i16], h: &'v [i16]) -> Option<Self> {
        let plan = || Self([Product::new(h), Product::new(x)], PhantomData);
        (tiles == Tiles::Int8Columns).then(plan)
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
            gatelet_affine_armv7m(rows.as_ptr(), weights.as_ptr(), z.start, &self.0, both, z.end);
        }
    }
}

unsafe extern "C" {
    /// Pre-activations of the blocks from `z` to `both`, at least one, and of one whose products stay
    /// apart if `end` lies behind.
    fn gatelet_affine_armv7m(
        rows: *const [Row; 4],
        weights: *const u8,
        z: *mut [i32; 4],
        plan: *const [Product; 2],
        both: *mut [i32; 4],
        end: *mut [i32; 4],
    );
    /// Code behind the unrolled tiles, which ends a round.
    static gatelet_affine_armv7m_check: u8;
}

// Registers, in a product and behind it:
//
//   r0       weights
//   r1, r2   activations and their end | records; bias
//   r3, r12  T, an activation          | multipliers
//   r4-r7    a tile, column by column  | sums of x, then z
//   r8-r11   sums                      | sums of h
//   lr       z
//
// Stack: the sums of x; for x and then for h what a product starts with (the vector and its end, the
// sums, the entry); the code behind h's product, the pointer into rows, two idle words, the code behind
// x's; the saved registers; ends of z. While h's product is computed, the sums of x lie on top, so that
// the code behind it is found where that behind x's was.
global_asm!(
    r#"
    .equ H, 28
    .equ ROWS, 60
    .equ RETURN, 72
    .equ FRAME, 76
    .equ BOTH, FRAME + 36
    .equ END, BOTH + 4

    @ Pushes the start of a product. The sums of rows 2 to 0 are bias, 257 and 65793 times bias.
    .macro  prepare
    ldm     r3!, {{r4, r5, r8, r10}}
    add     r7, r8, r8, lsl #8
    add     r6, r8, r7, lsl #8
    push    {{r4-r10}}
    .endm

    .macro  column w
    ldrsh   r12, [r1], #2
    mla     r8, \w, r12, r8
    asrs    r3, \w, #8
    mla     r9, r3, r12, r9
    asrs    r3, \w, #16
    mla     r10, r3, r12, r10
    asrs    r3, \w, #24
    mla     r11, r3, r12, r11
    .endm

    @ x = bias + (x * m_x >> 16)
    .macro  row_x x
    ldrd    r2, r3, [r1], #8
    lsls    r3, r3, #16
    smull   r3, \x, \x, r3
    add     \x, r2
    .endm

    @ x = bias + (x * m_x >> 16) + (h * m_h >> 16)
    .macro  row x, h
    ldrd    r2, r3, [r1], #8
    lsl     r12, r3, #16
    smull   r12, \x, \x, r12
    bfc     r3, #0, #16
    smull   r12, \h, \h, r3
    add     \x, r2
    add     \x, \h
    .endm

    .section .text.gatelet_affine_armv7m, "ax"
    .global gatelet_affine_armv7m, gatelet_affine_armv7m_check
    .type   gatelet_affine_armv7m, %function
    .thumb_func
    .balign 4
gatelet_affine_armv7m:
    push    {{r4-r11, lr}}
    adr     r4, .Lh + 1
    mov     r5, r0
    adr     r8, .Lx + 1
    push    {{r4-r8}}
    mov     r0, r1
    mov     lr, r2
    mov     r9, #0
    prepare
    prepare

.Lblock:
    ldm     sp, {{r1, r2, r8-r11, pc}}

    .balign 4
.Lx:
    push    {{r8-r11}}
    add     r12, sp, #16 + H
    ldm     r12, {{r1, r2, r8-r11, pc}}

    .balign 4
.Lh:
    pop     {{r4-r7}}
    ldr     r1, [sp, #ROWS]
    row     r4, r8
    row     r5, r9
    row     r6, r10
    row     r7, r11
    str     r1, [sp, #ROWS]
    stm     lr!, {{r4-r7}}
    ldr     r2, [sp, #BOTH]
    cmp     lr, r2
    bne     .Lblock
    @ Goes on, once, if there is a block whose products stay apart.
    ldr     r2, [sp, #END]
    cmp     lr, r2
    beq     .Lend
    str     r2, [sp, #BOTH]
    adr     r2, .Lx_apart + 1
    str     r2, [sp, #RETURN]
    b       .Lblock
.Lend:
    add     sp, #FRAME
    pop     {{r4-r11, pc}}

    @ The product of x alone; h's rows come next, to which x adds nothing.
    .balign 4
.Lx_apart:
    ldr     r1, [sp, #ROWS]
    row_x   r8
    row_x   r9
    row_x   r10
    row_x   r11
    str     r1, [sp, #ROWS]
    stm     lr!, {{r8-r11}}
    mov     r8, #0
    mov     r9, #0
    mov     r10, #0
    mov     r11, #0
    b       .Lx

.Lround:
    .rept   {unrolled}
    ldm     r0!, {{r4-r7}}
    column  r4
    column  r5
    column  r6
    column  r7
    .endr
gatelet_affine_armv7m_check:
    cmp     r1, r2
    bne     .Lround
    sub     r8, r8, r9, lsl #8
    sub     r9, r9, r10, lsl #8
    sub     r10, r10, r11, lsl #8
    ldr     pc, [sp, #RETURN]
"#,
    unrolled = const UNROLLED,
);
