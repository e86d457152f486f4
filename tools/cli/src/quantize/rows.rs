//! One row in integers: its multipliers, its weights, and the proof that its sums cannot overflow.
//!
//! The engine computes a row's pre-activation as
//! `z = bias + ((m_x·acc_x) >> 16) + ((m_h·acc_h) >> 16)` with integer multipliers, so a weight is
//! worth `m·unit·2^-16 / step` where `unit` is the value of one `z` and `step` that of one input.
//! A row's scale is ours to choose: one that makes the multiplier an integer leaves no error in it.

use std::ops::Range;

use anyhow::{Result, ensure};
use gatelet::WeightType;
use gatelet::blob::format;

use super::rounding::{Errors, Factor};
use super::{Product, Row};

/// Columns that share a scale among 4-bit weights.
const GROUP: usize = format::GROUP;
/// Largest scale of a group of 4-bit weights.
const SCALE_MAX: f64 = u8::MAX as f64;
/// Scales tried for a group, about.
const SCALES_TRIED: u8 = 24;
/// Largest multiplier.
const MULTIPLIER_MAX: f64 = i16::MAX as f64;
/// Largest sum of a row's weights that ±32767 inputs cannot carry past an `i32`.
const SUM_MAX: i64 = i32::MAX as i64 / 32767;
/// Times that a row's weights and scales are moved, at most.
const PASSES: usize = 20;
/// Multipliers tried, relative to the least that clips no weight: a smaller one has finer steps for
/// the other weights, a larger one may happen to fall better.
const TRIED: [f64; 10] = [0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.03, 1.06, 1.1];

/// One row as it should be.
pub(super) struct Target {
    /// Pre-activation for inputs of zero.
    pub(super) bias: f64,
    /// What one unit of each integer input contributes to the pre-activation: the columns of `x`,
    /// then those of `h`.
    pub(super) contributions: Vec<f64>,
    /// How many of the columns are `x`'s.
    pub(super) inputs: usize,
}

/// The integer inputs of some rows, as calibration saw them.
pub(super) struct Inputs {
    /// Their mean.
    pub(super) mean: Vec<f64>,
    /// Their covariance.
    pub(super) factor: Factor,
}

/// `target` in integers; `unit` is the value of one unit of the pre-activation.
pub(super) fn row(target: &Target, inputs: &Inputs, unit: f64, weights: WeightType) -> Result<Row> {
    // From here on in units of a product before its shift by 16.
    let values: Vec<f64> = target.contributions.iter().map(|v| v / unit * 65536.0).collect();
    let search = Search {
        values: &values,
        columns: [0..target.inputs, target.inputs..values.len()],
        factor: &inputs.factor,
        weights,
    };
    let too_steep = || {
        let largest = values.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
        anyhow::anyhow!(
            "one input can move a pre-activation by {:.3e}: normalize the inputs, clip the weights or give them more bits",
            largest / 65536.0 * unit * 32767.0
        )
    };
    let [x, h] = search.best().ok_or_else(too_steep)?;

    // What the errors amount to on average, the bias makes good. Each floor of a product loses half
    // a unit on average.
    let errors = values.iter().zip(x.values().chain(h.values())).map(|(v, made)| v - made);
    let drift: f64 = errors.zip(&inputs.mean).map(|(error, mean)| error * mean).sum();
    let floors = [&x, &h].iter().filter(|p| p.multiplier != 0).count();
    let bias = (target.bias / unit + drift / 65536.0 + 0.5 * floors as f64).round();
    let reach = bias.abs() + x.reach() + h.reach();
    // Half the range, so that the engine's own rounding constants fit on top.
    ensure!(
        reach < f64::from(1 << 30),
        "a pre-activation can reach {:.3e}, beyond the engine's 32 bits: scale the inputs down",
        reach * unit
    );
    Ok(Row { bias: bias as i32, x, h })
}

impl Product {
    /// Sum of the weights' magnitudes, each times its group's scale: what inputs of one can make of
    /// the accumulator.
    fn sum(&self) -> i64 {
        let scale = |c: usize| self.scales.get(c / GROUP).map_or(1, |s| i64::from(*s));
        self.weights.iter().enumerate().map(|(c, w)| i64::from(*w).abs() * scale(c)).sum()
    }

    /// How far the product can move `z`.
    fn reach(&self) -> f64 {
        (self.sum() * 32767) as f64 * f64::from(self.multiplier) / 65536.0
    }

    /// What each weight contributes, before the shift by 16.
    fn values(&self) -> impl Iterator<Item = f64> {
        self.weights.iter().zip(self.steps()).map(|(w, step)| f64::from(*w) * step)
    }

    /// What a weight of one contributes in each column.
    fn steps(&self) -> impl Iterator<Item = f64> {
        let scale = |c: usize| self.scales.get(c / GROUP).map_or(1.0, |s| f64::from(*s));
        (0..self.weights.len()).map(move |c| f64::from(self.multiplier) * scale(c))
    }
}

/// For the multipliers that lose least.
struct Search<'a> {
    values: &'a [f64],
    /// Of `x` and of `h`.
    columns: [Range<usize>; 2],
    factor: &'a Factor,
    weights: WeightType,
}

impl Search<'_> {
    /// The row's products. `None` if no multiplier is large enough.
    fn best(&self) -> Option<[Product; 2]> {
        let least = self.columns.each_ref().map(|columns| self.least(columns));
        let mut multipliers = least;
        let (mut best, mut least_loss) = loop {
            if multipliers.iter().any(|m| *m > MULTIPLIER_MAX) {
                return None;
            }
            if let Some(found) = self.round(multipliers) {
                break found;
            }
            multipliers = multipliers.map(|m| (m * 1.02).ceil());
        };
        for p in [1, 0] {
            let mut tried = TRIED.map(|t| (t * least[p]).round().min(MULTIPLIER_MAX)).to_vec();
            tried.dedup();
            for m in tried.into_iter().filter(|m| *m > 0.0) {
                let mut multipliers = best.each_ref().map(|p| f64::from(p.multiplier));
                multipliers[p] = m;
                if let Some((found, loss)) = self.round(multipliers)
                    && loss < least_loss
                {
                    (best, least_loss) = (found, loss);
                }
            }
        }
        Some(match self.weights {
            // The grid is coarse, and its steps can still move.
            WeightType::Int4 => self.refined(best),
            _ => best,
        })
    }

    /// The products with weights and groups' scales moved, one at a time, to where the row loses least
    /// while the others stay: rounding in order could not yet see the errors behind.
    fn refined(&self, rounded: [Product; 2]) -> [Product; 2] {
        let mut products = rounded.clone();
        let made = products.iter().flat_map(Product::values);
        let errors = self.values.iter().zip(made).map(|(v, made)| v - made).collect();
        let mut errors = Errors::new(self.factor, errors);
        for _ in 0..PASSES {
            let mut steps: Vec<f64> = products.iter().flat_map(Product::steps).collect();
            let mut weights: Vec<i16> =
                products.iter().flat_map(|product| &product.weights).copied().collect();
            let mut moved = errors.settle(&mut weights, &steps, self.weights.limit());
            for (product, columns) in products.iter_mut().zip(&self.columns) {
                product.weights.copy_from_slice(&weights[columns.clone()]);
                let groups = columns.clone().step_by(GROUP);
                for (scale, first) in product.scales.iter_mut().zip(groups) {
                    let group = first..columns.end.min(first + GROUP);
                    let old = f64::from(*scale);
                    let best = old * errors.best_growth(&weights, &steps, group.clone());
                    let new = best.round().clamp(1.0, SCALE_MAX);
                    if old > 0.0 && new != old {
                        errors.grow(&weights, &mut steps, group, new / old);
                        *scale = new as u8;
                        moved = true;
                    }
                }
            }
            if !moved {
                break;
            }
        }
        if products.iter().all(|p| p.sum() <= SUM_MAX) { products } else { rounded }
    }

    /// The least multiplier that clips no weight; 0 if there is none.
    fn least(&self, columns: &Range<usize>) -> f64 {
        let values = &self.values[columns.clone()];
        let largest = values.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
        let total: f64 = values.iter().map(|v| v.abs()).sum();
        let scale = if self.weights == WeightType::Int4 { SCALE_MAX } else { 1.0 };
        (largest / (self.weights.limit() * scale)).max(total / SUM_MAX as f64).ceil()
    }

    /// The products with these multipliers and their loss; `None` if a sum could overflow.
    fn round(&self, multipliers: [f64; 2]) -> Option<([Product; 2], f64)> {
        let mut products = [0, 1].map(|p| self.empty(self.columns[p].clone(), multipliers[p]));
        let steps: Vec<f64> = products.iter().flat_map(Product::steps).collect();
        let (weights, loss) = self.factor.round(self.values, &steps, self.weights.limit());
        for (product, columns) in products.iter_mut().zip(&self.columns) {
            product.weights.copy_from_slice(&weights[columns.clone()]);
        }
        // The proof: no input of ±32767 can carry the 32-bit accumulator past its end.
        products.iter().all(|p| p.sum() <= SUM_MAX).then_some((products, loss))
    }

    /// A product without weights, its groups' scales chosen.
    fn empty(&self, columns: Range<usize>, multiplier: f64) -> Product {
        let weights = vec![0; columns.len()];
        let mut scales = Vec::new();
        if self.weights == WeightType::Int4 {
            let groups = columns.clone().step_by(GROUP);
            scales.extend(
                groups.map(|first| self.scale(first..columns.end.min(first + GROUP), multiplier)),
            );
        }
        Product { multiplier: multiplier as i16, weights, scales }
    }

    /// The scale with which a group of 4-bit weights loses least; it may clip the largest.
    fn scale(&self, group: Range<usize>, multiplier: f64) -> u8 {
        let values = &self.values[group.clone()];
        let limit = self.weights.limit();
        let largest = values.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
        if largest == 0.0 {
            return 0;
        }
        let widest = (largest / limit / multiplier).ceil().clamp(1.0, SCALE_MAX);
        let loss = |scale: u8| -> f64 {
            let step = f64::from(scale) * multiplier;
            let error = |v: f64| v - (v / step).round().clamp(-limit, limit) * step;
            let weights = group.clone().map(|c| self.factor.weight(c));
            values.iter().zip(weights).map(|(v, weight)| weight * error(*v).powi(2)).sum()
        };
        let narrowest = (widest / 2.0).ceil() as u8;
        let widest = widest as u8;
        (narrowest..=widest)
            .step_by(usize::from((widest - narrowest) / SCALES_TRIED).max(1))
            .map(|scale| (scale, loss(scale)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map_or(1, |(scale, _)| scale)
    }
}

/// What the tool knows of a number format.
pub(super) trait Limit {
    /// Largest magnitude of a weight.
    fn limit(&self) -> f64;
}

impl Limit for WeightType {
    fn limit(&self) -> f64 {
        match self {
            Self::Int4 => 7.0,
            Self::Int16 => 32767.0,
            _ => 127.0,
        }
    }
}
