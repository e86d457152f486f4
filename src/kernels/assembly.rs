//! How the kernels in assembly are called.

use super::Row;

/// Pre-activations of the blocks from `z` to `both`, at least one, and of one whose products stay
/// apart if `end` lies behind.
pub(super) type Affine<Product> = unsafe extern "C" fn(
    rows: *const [Row; 4],
    weights: *const u8,
    z: *mut [i32; 4],
    products: *const [Product; 2],
    both: *mut [i32; 4],
    end: *mut [i32; 4],
);

/// Declares an [`Affine`] kernel in assembly, and labels in it.
macro_rules! kernel {
    ($name:ident($product:ty) $(, $label:ident)*) => {
        unsafe extern "C" {
            fn $name(
                rows: *const [$crate::kernels::Row; 4],
                weights: *const u8,
                z: *mut [i32; 4],
                products: *const [$product; 2],
                both: *mut [i32; 4],
                end: *mut [i32; 4],
            );
            $(static $label: u8;)*
        }
    };
}
pub(super) use kernel;

/// [`Blocks::next`](super::Blocks::next), or [`next_apart`](super::Blocks::next_apart).
///
/// # Safety
/// `rows` and `z` have the same length, `weights` is of as many blocks of vectors as long as those of
/// `products`, and there is at least one block with both products.
#[inline(always)]
pub(super) unsafe fn affine<Product>(
    kernel: Affine<Product>,
    products: &[Product; 2],
    rows: &[[Row; 4]],
    weights: &[u8],
    z: &mut [[i32; 4]],
    apart: bool,
) {
    let z = z.as_mut_ptr_range();
    let both = z.end.wrapping_sub(if apart { 2 } else { 0 });
    // SAFETY: the kernel reads as many blocks of records as `z` has, their weights and both vectors,
    // and writes all of `z`.
    unsafe { kernel(rows.as_ptr(), weights.as_ptr(), z.start, products, both, z.end) }
}
