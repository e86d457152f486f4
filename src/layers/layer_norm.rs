//! Layer normalization (Ba, Kiros & Hinton 2016), over the features of a step:
//!
//! ```text
//! y = γ·(x − mean)/√(variance + ε) + β
//! ```
//!
//! With `n` features, `S = Σx` and `Q = n·Σx² − S²` are exact in integers, and so is `D = n·x − S`;
//! `Q` is `n²` times the variance, so the fraction is `D/√(Q + n²·ε)` with nothing rounded yet. The
//! inverse root comes from Newton's iteration on a mantissa, the same work for every `Q`. What comes
//! out, 16 fractional bits, is within 2 units of the true value, and 2^-23 of it (see the test).

use super::Layer;
use crate::fixed::{positive, round_shift, saturate_i16};
use crate::kernels::sign_mask;

#[inline(never)]
pub(super) fn step(layer: &Layer<'_>, x: &[i16], state: &mut [u32]) {
    let y: &mut [i16] = bytemuck::cast_slice_mut(state);
    let x = x.split_at(layer.units.min(x.len())).0;
    let [epsilon, _] = layer.parameters();
    let moments = Moments::new(x, u64::from_le_bytes(epsilon));
    for ((y, x), row) in y.iter_mut().zip(x).zip(layer.rows()) {
        let [b0, b1, b2, b3, m0, m1, ..] = *row;
        let (bias, factor) = (i32::from_le_bytes([b0, b1, b2, b3]), i16::from_le_bytes([m0, m1]));
        let scaled = (i64::from(moments.normalize(*x)) * i64::from(factor)) >> 16;
        *y = saturate_i16(round_shift(bias.wrapping_add(scaled as i32), layer.shift.into()));
    }
}

/// What all features of a step share.
struct Moments {
    features: i32,
    /// `S`
    sum: i32,
    /// `1/√(Q + n²·ε) = root / 2^(62 − exponent)`; `root` is from 2^30 to 2^31.
    root: u32,
    exponent: i32,
}

impl Moments {
    /// Of at most 2^14 features; `epsilon` is `n²·ε`, from 1 to 2^62.
    fn new(x: &[i16], epsilon: u64) -> Self {
        let (mut sum, mut squares) = (0i32, 0u64);
        for x in x {
            let x = i32::from(*x);
            sum = sum.wrapping_add(x);
            squares = squares.wrapping_add(u64::from((x * x) as u32));
        }
        let squared = (i64::from(sum) * i64::from(sum)) as u64;
        let q = (x.len() as u64).wrapping_mul(squares).wrapping_sub(squared);
        let (root, exponent) = inverse_root(q.wrapping_add(epsilon));
        Self { features: x.len() as i32, sum, root, exponent }
    }

    /// `(x − mean)/√(variance + ε)` with 16 fractional bits.
    #[inline(always)]
    fn normalize(&self, x: i16) -> i32 {
        let d = self.features.wrapping_mul(x.into()).wrapping_sub(self.sum);
        // |D| is at most √n times the root, so below 2^(39 − exponent): this fits, and what it
        // shifts out is small beside D.
        let (up, down) = (positive(self.exponent - 8), positive(8 - self.exponent));
        let d = d.wrapping_shl(up as u32) >> (down & 31);
        ((i64::from(d) * i64::from(self.root) + (1 << 37)) >> 38) as i32
    }
}

/// `(r, k)` with `1/√q = r·2^(k − 62)` and `r` from 2^30 to 2^31, for a `q` other than 0.
fn inverse_root(q: u64) -> (u32, i32) {
    // q·4^k has one of its two highest bits set.
    let (mut q, mut k) = (q, 0);
    for half in [16, 8, 4, 2, 1] {
        let high = (q >> (64 - 2 * half)) as u32;
        // All ones if these bits are zero.
        let shift = !sign_mask((high | high.wrapping_neg()) as i32);
        let moved = q << (2 * half);
        q ^= (q ^ moved) & i64::from(shift) as u64;
        k += shift & half;
    }
    // The mantissa m, from 1/4 to 1 with 32 fractional bits; r, from 1 to 2, with 30.
    let m = q >> 32;
    // 2.1327 − 1.2187 m, within 9 % of 1/√m; each iteration squares that: 2 %, 3·10^-4, 2·10^-7, 2^-28.
    let mut r = 2_289_963_202 - ((m * 1_308_569_160) >> 32);
    for _ in 0..4 {
        let square = (r * r) >> 32;
        let rest = (3 << 28) - ((m * square) >> 32);
        r = (r * rest) >> 29;
    }
    (r as u32, k)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn inverse_root_is_precise_for_every_magnitude() {
        let mut worst: f64 = 0.0;
        for bit in 0..63 {
            for k in 0..1000u64 {
                let q = (1u64 << bit) + (k << bit) / 1000;
                let (r, k) = inverse_root(q);
                let found = f64::from(r) * libm::exp2(f64::from(k - 62));
                worst = worst.max((found * libm::sqrt(q as f64) - 1.0).abs());
            }
        }
        std::println!("inverse root: worst relative error 2^{:.1}", libm::log2(worst));
        assert!(worst <= libm::exp2(-25.0));
    }

    /// Against float64, for features of every number and spread, at the extremes too.
    #[test]
    fn normalized_features_are_within_two_units() {
        let mut seed = 1u32;
        let mut random = move || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed
        };
        let mut worst: f64 = 0.0;
        for n in [1, 2, 3, 5, 64, 1000, 1 << 14] {
            for spread in [0, 1, 2, 30, 1000, 20_000, 65_535] {
                for epsilon in [1, 1000, 1 << 40] {
                    let centre = (random() >> 16) as u16 as i16;
                    let mut x: std::vec::Vec<i16> = (0..n)
                        .map(|_| {
                            let away = (random() >> 8) % (spread + 1);
                            (i32::from(centre) + away as i32 - spread as i32 / 2)
                                .clamp(-32768, 32767) as i16
                        })
                        .collect();
                    // One far from all others: the largest that a feature can become.
                    x[0] = if spread == 2 { 32767 } else { x[0] };
                    let moments = Moments::new(&x, epsilon);
                    let (count, real) = (n as f64, x.iter().map(|x| f64::from(*x)));
                    let mean = real.clone().sum::<f64>() / count;
                    let variance = real.map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
                    let root = libm::sqrt(variance + epsilon as f64 / (count * count));
                    for x in &x {
                        let exact = (f64::from(*x) - mean) / root * 65536.0;
                        let error = (f64::from(moments.normalize(*x)) - exact).abs();
                        worst = worst.max(error - exact.abs() * libm::exp2(-23.0));
                    }
                }
            }
        }
        std::println!("normalized: worst error {worst:.3} units of 2^-16 beside 2^-23");
        assert!(worst <= 2.0);
    }
}
