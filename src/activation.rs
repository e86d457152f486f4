//! Sigmoid, tanh and softmax in fixed point.
//!
//! One table serves both squashing functions: `TANH[k] ≈ 32768·tanh((k − 512)/64)` over ±8, read
//! with linear interpolation. A chord of a concave curve lies below it, at most `h²/8·max|tanh''| =
//! 2.4e-5` for `h = 1/64`; the entries are raised by half of that (`−h²/16·tanh''`), which centres
//! the error and leaves 0.4 LSB of Q0.15. With half a unit each for the rounding of the entries and
//! of the result, both functions stay within 2 LSB of Q0.15 of the true value for every `i32` (the
//! test tries each one that is not saturated), and `sigmoid(z) = (1 + tanh(z/2))/2` halves what
//! remains.
//!
//! tanh saturates at ±32767, the largest Q0.15. Sigmoid has 2^16 = 1.0, so that an open gate is
//! exactly one and a closed one exactly zero: its interpolant is stretched by `1 + 2^-15`, which
//! takes ±32767 to ±32768 at a cost of at most one unit of 2^-16.

use crate::fixed::{GATE_ONE, larger, positive, round_shift, saturate_i16, saturate_signed, scale};
use crate::kernels::sign_mask;

const STEP: f64 = 1.0 / 64.0;

pub(crate) static TANH: [i16; 1025] = tanh_table();

/// `e^x` by its Taylor series after halving the argument until it is small.
const fn exp(x: f64) -> f64 {
    let y = x / 1024.0;
    let (mut sum, mut term, mut n) = (1.0, 1.0, 1);
    while n < 12 {
        term *= y / n as f64;
        sum += term;
        n += 1;
    }
    let mut squarings = 0;
    while squarings < 10 {
        sum *= sum;
        squarings += 1;
    }
    sum
}

const fn round(x: f64) -> i32 {
    if x < 0.0 { (x - 0.5) as i32 } else { (x + 0.5) as i32 }
}

const fn tanh_table() -> [i16; 1025] {
    let mut table = [0; 1025];
    let mut k = 0;
    while k < 1025 {
        let x = (k as f64 - 512.0) * STEP;
        let t = 1.0 - 2.0 / (exp(2.0 * x) + 1.0);
        let curvature = -2.0 * t * (1.0 - t * t);
        let value = round(32768.0 * (t - STEP * STEP / 16.0 * curvature));
        table[k] = match value {
            32768.. => 32767,
            ..-32767 => -32767,
            _ => value as i16,
        };
        k += 1;
    }
    table
}

/// The table at `x`, whose unit is `STEP / 2^FRACTION`: the entry below, and what interpolation adds
/// to it, with `FRACTION` more fractional bits. The table is flat at both ends, so beyond them any
/// fraction will do.
#[inline(always)]
fn interpolate<const FRACTION: u32>(x: i32) -> (i32, i32) {
    let index = (saturate_signed::<10>(x >> FRACTION) + 512) as usize;
    let fraction = x & ((1 << FRACTION) - 1);
    let (low, high) = (TANH[index] as i32, TANH[index + 1] as i32);
    (low, (high - low) * fraction)
}

/// `tanh(z)`: pre-activation Q15.16 in, Q0.15 in ±32767 out.
#[inline(always)]
pub fn tanh(z: i32) -> i32 {
    let (low, more) = interpolate::<10>(z);
    low + round_shift(more, 10)
}

/// `tanh(c)` of a cell state with 20 fractional bits; Q0.15 in ±32767 out.
#[inline(always)]
pub fn tanh_cell(c: i32) -> i32 {
    let (low, more) = interpolate::<14>(c);
    low + round_shift(more, 14)
}

/// `sigmoid(z)`: pre-activation Q15.16 in, gate in `0..=65536` out.
#[inline(always)]
pub fn sigmoid(z: i32) -> i32 {
    let (low, more) = interpolate::<11>(z);
    let t = (low << 11) + more;
    GATE_ONE / 2 + round_shift(t + (t >> 15), 11)
}

/// `clamp(z + 1/2, 0, 1)`: pre-activation Q15.16 in, gate in `0..=65536` out, exact for every `z`
/// below 32767.5. The slope of a framework's hard sigmoid is part of the weights.
#[inline(always)]
pub fn hard_sigmoid(z: i32) -> i32 {
    GATE_ONE - positive(GATE_ONE - positive(z.wrapping_add(GATE_ONE / 2)))
}

/// `2^(−k/64)` with 15 fractional bits, raised like the tanh entries.
static EXP2: [u16; 65] = exp2_table();

const fn exp2_table() -> [u16; 65] {
    const LN_2: f64 = core::f64::consts::LN_2;
    let mut table = [0; 65];
    let mut k = 0;
    while k < 65 {
        let value = exp(-(k as f64) * STEP * LN_2);
        let chord = STEP * STEP / 16.0 * LN_2 * LN_2 * value;
        table[k] = round(32768.0 * (value - chord)) as u16;
        k += 1;
    }
    table[0] = 32768;
    table
}

/// `e^−d` for `d` in Q15.16; the result has 15 fractional bits, 32768 = 1.0.
#[inline(always)]
pub(crate) fn exp_negative(d: u32) -> u32 {
    /// `log2(e)/4` with 16 fractional bits; the argument carries the other factor 4.
    const LOG2_E_QUARTER: i16 = 23637;
    // From 16 on the result rounds to zero whatever the argument.
    let beyond = sign_mask(-((d >> 20) as i32)) as u32;
    let d = (d | beyond) & ((1 << 20) - 1);
    let down = scale((d << 2) as i32, LOG2_E_QUARTER) as u32;
    let index = (down >> 10) as usize & 63;
    let fraction = down & 1023;
    let (high, low) = (EXP2[index] as u32, EXP2[index + 1] as u32);
    // Eight extra bits keep the largest shift (23 + 8) below the width of the word.
    let mantissa = (high << 8) - (((high - low) * fraction) >> 2);
    let shift = (down >> 16) + 8;
    (mantissa + (1 << (shift - 1))) >> shift
}

/// `round(2^31 / divisor)` by restoring division: the same instructions for every divisor.
///
/// `divisor` is at least 2^15, so the quotient fits 17 bits.
fn reciprocal(divisor: u32) -> u32 {
    let mut remainder = (1u32 << 31) + (divisor >> 1);
    let (mut quotient, mut bit) = (0, 17);
    while bit > 0 {
        bit -= 1;
        // All ones where the divisor, moved up by `bit`, still fits into what remains.
        let fits = !sign_mask((remainder >> bit).wrapping_sub(divisor) as i32) as u32;
        remainder -= (divisor << bit) & fits;
        quotient |= (1 << bit) & fits;
    }
    quotient
}

/// Softmax of `logits` (Q15.16, any length from 1), written over with e^(z − max) on the way;
/// probabilities in Q0.15, 32767 standing for 1. Within 2 LSB of the true value.
pub fn softmax(logits: &mut [i32], probabilities: &mut [i16]) {
    let mut max = i32::MIN;
    for z in logits.iter() {
        max = larger(max, *z);
    }
    let mut sum = 0u32;
    for z in logits.iter_mut() {
        let e = exp_negative(max.wrapping_sub(*z) as u32);
        *z = e as i32;
        sum = sum.wrapping_add(e);
    }
    let inverse = reciprocal(sum.max(1 << 15));
    for (p, e) in probabilities.iter_mut().zip(logits.iter()) {
        let p_i32 = ((*e as u32).wrapping_mul(inverse).wrapping_add(0x8000) >> 16) as i32;
        *p = saturate_i16(p_i32);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    fn worst(range: impl Iterator<Item = i32>, error: impl Fn(i32) -> f64) -> f64 {
        range.map(|z| error(z).abs()).fold(0.0, f64::max)
    }

    /// The definitions above the tables, by another library's functions.
    #[test]
    fn tables_hold_what_they_should() {
        for (k, entry) in TANH.iter().enumerate() {
            let x = (k as f64 - 512.0) / 64.0;
            let t = libm::tanh(x);
            let second_derivative = -2.0 * t * (1.0 - t * t);
            let raised = 32768.0 * (t - second_derivative / (64.0 * 64.0 * 16.0));
            assert_eq!(*entry as f64, libm::round(raised).clamp(-32767.0, 32767.0), "{x}");
        }
        assert_eq!(EXP2[0], 32768);
        for (k, entry) in EXP2.iter().enumerate().skip(1) {
            let value = libm::exp2(-(k as f64) / 64.0);
            let second_derivative = value * libm::pow(core::f64::consts::LN_2, 2.0);
            let lowered = 32768.0 * (value - second_derivative / (64.0 * 64.0 * 16.0));
            assert_eq!(*entry as f64, libm::round(lowered), "{k}");
        }
    }

    #[test]
    fn sigmoid_is_within_two_lsb_everywhere() {
        let exact = |z: i32| 1.0 / (1.0 + libm::exp(-(z as f64) / 65536.0));
        let error = |z: i32| sigmoid(z) as f64 / 2.0 - 32768.0 * exact(z);
        let e = worst(-(1 << 20)..=1 << 20, error);
        std::println!("sigmoid: worst error {e:.3} LSB");
        assert!(e <= 2.0);
    }

    #[test]
    fn tanh_is_within_two_lsb_everywhere() {
        let exact = |z: i32, one: f64| 32768.0 * libm::tanh(z as f64 / one);
        let e = worst(-(1 << 19)..=1 << 19, |z| tanh(z) as f64 - exact(z, 65536.0));
        std::println!("tanh: worst error {e:.3} LSB");
        assert!(e <= 2.0);
        let e = worst(-(1 << 23)..=1 << 23, |c| tanh_cell(c) as f64 - exact(c, 1048576.0));
        std::println!("tanh of the cell state: worst error {e:.3} LSB");
        assert!(e <= 2.0);
    }

    #[test]
    fn beyond_the_table_both_are_saturated() {
        for z in (1 << 20..=i32::MAX).step_by(4093).chain([i32::MAX]) {
            assert_eq!((sigmoid(z), tanh(z)), (GATE_ONE, 32767), "{z}");
            assert_eq!((sigmoid(-z), tanh(-z)), (0, -32767), "-{z}");
        }
        assert_eq!((sigmoid(i32::MIN), tanh(i32::MIN)), (0, -32767));
    }

    #[test]
    fn hard_sigmoid_is_exact() {
        for z in (-(1 << 20)..1 << 20).chain([i32::MIN, i32::MAX - GATE_ONE / 2]) {
            let exact = (z as i64 + 0x8000).clamp(0, 0x10000);
            assert_eq!(hard_sigmoid(z) as i64, exact, "{z}");
        }
    }

    #[test]
    fn gates_are_exact_where_the_true_value_rounds_to_it() {
        for z in -(1 << 20)..=1 << 20 {
            let exact = 65536.0 / (1.0 + libm::exp(-(z as f64) / 65536.0));
            if exact >= 65535.5 {
                assert_eq!(sigmoid(z), GATE_ONE, "{z}");
            }
            if exact < 0.5 {
                assert_eq!(sigmoid(z), 0, "{z}");
            }
        }
        assert_eq!((sigmoid(0), tanh(0), tanh_cell(0)), (GATE_ONE / 2, 0, 0));
    }

    #[test]
    fn exp_is_within_two_units() {
        let e = worst(0..=1 << 21, |d| {
            exp_negative(d as u32) as f64 - 32768.0 * libm::exp(-d as f64 / 65536.0)
        });
        std::println!("exp: worst error {e:.3} units of 2^-15");
        assert!(e <= 2.0);
    }

    #[test]
    fn reciprocal_is_rounded() {
        for d in (1 << 15..1 << 17).chain((1 << 17..1 << 31).step_by(65_537)) {
            assert_eq!(reciprocal(d), ((1u64 << 31) + d as u64 / 2).div_euclid(d as u64) as u32);
        }
    }

    #[test]
    fn softmax_is_within_two_lsb() {
        let mut seed = 1u32;
        for n in 1..40 {
            for spread in [1, 1 << 12, 1 << 16, 1 << 19, 1 << 24] {
                let mut logits = [0i32; 40];
                for z in &mut logits[..n] {
                    seed = seed.wrapping_mul(1664525).wrapping_add(1013904223);
                    *z = (seed >> 1) as i32 % spread - spread / 2;
                }
                let real: std::vec::Vec<f64> =
                    logits[..n].iter().map(|z| *z as f64 / 65536.0).collect();
                let max = real.iter().cloned().fold(f64::MIN, f64::max);
                let sum: f64 = real.iter().map(|z| libm::exp(z - max)).sum();
                let mut p = [0i16; 40];
                softmax(&mut logits[..n], &mut p[..n]);
                for (p, z) in p.iter().zip(&real) {
                    let exact = 32768.0 * libm::exp(z - max) / sum;
                    assert!((*p as f64 - exact).abs() <= 2.0, "{p} for {exact}");
                }
            }
        }
    }

    #[test]
    fn softmax_takes_the_extremes() {
        let mut logits = [i32::MIN, i32::MAX, 0];
        let mut p = [0; 3];
        softmax(&mut logits, &mut p);
        assert_eq!(p, [0, 32767, 0]);
    }
}
