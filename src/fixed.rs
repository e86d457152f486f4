//! Fixed-point arithmetic: the formats, and the one rounding rule.
//!
//! | quantity | type | format | range |
//! |---|---|---|---|
//! | input, dense output | `i16` | value = raw × scale | ±32767 scales |
//! | hidden state `h` | `i16` | Q0.15 | ±32767/32768 |
//! | LSTM cell state `c` | `i32` | 20 fractional bits | ±512 |
//! | GRU memory | `i32` | 28 fractional bits | ±1 |
//! | pre-activation `z` | `i32` | Q15.16 | ±32768 |
//! | gate (sigmoid) | `i32` | 16 fractional bits, 65536 = 1.0 | 0 ..= 1 |
//!
//! **Rounding rule.** A value is narrowed by an arithmetic shift right after half of the new unit
//! has been added: `(v + (1 << (n - 1))) >> n`, so ties go up. Where [`scale`] narrows two products
//! into one sum, the halves are already part of the row's bias.
//!
//! Nothing here needs a 64-bit product, so the narrowest core (Armv6-M has only a 32 × 32 → 32
//! multiplier) computes the same bits in a few instructions. Nothing branches on data either: sums
//! wrap, and where a core cannot saturate or select, masks do it.

use crate::kernels::sign_mask;

/// Armv6-M and RISC-V have no conditional move, so the compiler turns any comparison into a branch:
/// there, masks from [`sign_mask`], which hides where they come from.
const MASKED: bool = cfg!(any(kernel = "armv6m", kernel = "riscv32"));

/// Fractional bits of a pre-activation.
pub const Z_BITS: u32 = 16;
/// Fractional bits of an LSTM cell state.
pub const CELL_BITS: u32 = 20;
/// Fractional bits of the GRU's memory.
pub const MEMORY_BITS: u32 = 28;
/// A gate that is fully open: 1.0.
pub const GATE_ONE: i32 = 1 << 16;
/// Largest magnitude of the cell state, and the largest that [`gated`] takes exactly.
pub const CELL_MAX: i32 = (1 << 29) - 1;

/// `floor(accumulator × multiplier / 2^16)`
#[inline(always)]
pub const fn scale(accumulator: i32, multiplier: i16) -> i32 {
    let high = (accumulator >> 16).wrapping_mul(multiplier as i32);
    let low = (accumulator & 0xffff).wrapping_mul(multiplier as i32) >> 16;
    high.wrapping_add(low)
}

/// `round(value × gate)`: `value` in any format, `gate` in `0..=65536` ([`GATE_ONE`] = 1.0).
///
/// An open gate returns `value` and a closed one 0, exactly.
#[inline(always)]
pub const fn gated(value: i32, gate: i32) -> i32 {
    let high = (value >> 16).wrapping_mul(gate);
    let low = (value as u32 & 0xffff).wrapping_mul(gate as u32).wrapping_add(0x8000) >> 16;
    high.wrapping_add(low as i32)
}

/// Narrows by `bits` with the rounding rule.
#[inline(always)]
pub const fn round_shift(value: i32, bits: u32) -> i32 {
    if bits == 0 { value } else { value.wrapping_add(1 << (bits - 1)) >> bits }
}

/// Saturates to `−2^(BITS − 1) ..= 2^(BITS − 1) − 1`, for values that fit 31 bits.
#[inline(always)]
pub fn saturate_signed<const BITS: u32>(value: i32) -> i32 {
    let half = 1 << (BITS - 1);
    if MASKED { masked::saturate_signed(value, half) } else { value.clamp(-half, half - 1) }
}

/// Saturates to `±(2^(BITS − 1) − 1)`.
#[inline(always)]
pub fn saturate_symmetric<const BITS: u32>(value: i32) -> i32 {
    let max = (1 << (BITS - 1)) - 1;
    if MASKED { masked::saturate_symmetric(value, max) } else { value.clamp(-max, max) }
}

/// Saturates to `±32767`, the symmetric range of every `i16` activation.
#[inline(always)]
pub fn saturate_i16(value: i32) -> i16 {
    saturate_symmetric::<16>(value) as i16
}

/// Saturates a cell state to ±[`CELL_MAX`].
#[inline(always)]
pub fn saturate_cell(value: i32) -> i32 {
    saturate_symmetric::<30>(value)
}

/// `max(0, value)`
#[inline(always)]
pub fn positive(value: i32) -> i32 {
    if MASKED { masked::positive(value) } else { value.max(0) }
}

/// `max(a, b)`
#[inline(always)]
pub fn larger(a: i32, b: i32) -> i32 {
    if MASKED { masked::larger(a, b) } else { a.max(b) }
}

mod masked {
    use super::sign_mask;

    /// `min(value, max)` for a value from 0 on (or `i32::MIN`, which stands for 2^31) and a `max` of
    /// ones.
    #[inline(always)]
    pub(super) fn limit(value: i32, max: i32) -> i32 {
        (value | sign_mask(max.wrapping_sub(value))) & max
    }

    #[inline(always)]
    pub(super) fn positive(value: i32) -> i32 {
        value & !sign_mask(value)
    }

    /// To `−half ..= half − 1`, `half` being a power of two.
    #[inline(always)]
    pub(super) fn saturate_signed(value: i32, half: i32) -> i32 {
        limit(positive(value + half), 2 * half - 1) - half
    }

    #[inline(always)]
    pub(super) fn saturate_symmetric(value: i32, max: i32) -> i32 {
        let sign = sign_mask(value);
        let magnitude = (value ^ sign).wrapping_sub(sign);
        (limit(magnitude, max) ^ sign).wrapping_sub(sign)
    }

    #[inline(always)]
    pub(super) fn larger(a: i32, b: i32) -> i32 {
        // The sign of the exact difference: of `a` if the signs differ, else of what cannot overflow.
        let less = sign_mask((a & !b) | (!(a ^ b) & a.wrapping_sub(b)));
        a ^ ((a ^ b) & less)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values around every power of two, both signs: where carries and sign bits change.
    fn corners() -> impl Iterator<Item = i32> {
        (0..32).flat_map(|bit| {
            let power = 1u32.wrapping_shl(bit) as i32;
            [-1, 0, 1, 12_345].into_iter().flat_map(move |d| {
                let v = power.wrapping_add(d);
                [v, v.wrapping_neg()]
            })
        })
    }

    #[test]
    fn scale_is_the_floor_of_the_product() {
        for acc in corners() {
            for m in [0, 1, 2, 255, 256, 16384, 32766, 32767, -1, -1000, -32767, i16::MIN] {
                let exact = ((acc as i64 * m as i64) >> 16) as i32;
                assert_eq!(scale(acc, m), exact, "{acc} x {m}");
            }
        }
    }

    #[test]
    fn gated_rounds_the_product_half_up() {
        for value in corners().filter(|v| (-CELL_MAX..=CELL_MAX).contains(v)) {
            for gate in (0..=GATE_ONE).step_by(251).chain([1, 32768, 65535, GATE_ONE]) {
                let exact = ((value as i64 * gate as i64 + 0x8000) >> 16) as i32;
                assert_eq!(gated(value, gate), exact, "{value} x {gate}");
            }
            assert_eq!(gated(value, GATE_ONE), value);
            assert_eq!(gated(value, 0), 0);
        }
    }

    #[test]
    fn saturation_keeps_what_fits() {
        for v in corners() {
            assert_eq!(saturate_i16(v) as i32, v.clamp(-32767, 32767));
            assert_eq!(saturate_cell(v), v.clamp(-CELL_MAX, CELL_MAX));
            assert_eq!(saturate_signed::<10>(v), v.clamp(-512, 511));
            assert_eq!((positive(v), larger(v, 3)), (v.max(0), v.max(3)));
        }
    }

    #[test]
    fn masks_give_what_comparisons_give() {
        for a in corners() {
            assert_eq!(masked::saturate_symmetric(a, 32767), a.clamp(-32767, 32767));
            assert_eq!(masked::saturate_symmetric(a, CELL_MAX), a.clamp(-CELL_MAX, CELL_MAX));
            assert_eq!(masked::positive(a), a.max(0));
            let fits = a >> 1;
            assert_eq!(masked::saturate_signed(fits, 512), fits.clamp(-512, 511));
            if a >= 0 {
                assert_eq!(masked::limit(a, 1023), a.min(1023));
            }
            for b in corners() {
                assert_eq!(masked::larger(a, b), a.max(b), "{a} {b}");
            }
        }
    }

    #[test]
    fn ties_round_up() {
        assert_eq!(round_shift(5, 1), 3);
        assert_eq!(round_shift(-5, 1), -2);
        assert_eq!(round_shift(-6, 2), -1);
        assert_eq!(round_shift(7, 0), 7);
    }
}
