//! Rounding that compensates: the error of one weight is made good by those not yet rounded.
//!
//! What counts is not the error of a weight but that of the sum it enters. With `e` the errors of a
//! row's weights and `H` the covariance of its inputs, the variance that rounding adds to the sum is
//! `eᵀ H e` (the mean goes into the bias). Factored as `H = U D Uᵀ`, `U` unit upper triangular, it is
//! `Σ_k d_k (e_k + Σ_{i<k} u_ik e_i)²`: rounding the weights in order, each with the errors before it
//! added by `u_ik`, leaves of every square only what the grid leaves. This is the rounding of
//! Optimal Brain Quantization and GPTQ (Frantar et al. 2022) in the form of LDLQ (Chee et al. 2023).

use std::ops::Range;

use crate::moments::Moments;

/// `U` and `D` of the inputs' covariance.
pub(super) struct Factor {
    /// Column `k` of `U` above the diagonal: `k` elements, one column after the other.
    above: Vec<f64>,
    d: Vec<f64>,
    /// `H`, `[n][n]`.
    covariance: Vec<f64>,
}

impl Factor {
    /// For inputs of these moments, element `c` counted in units of `steps[c]`. Calibration data
    /// are but a sample, so the covariances are pulled towards none by `shrinkage`.
    pub(super) fn new(moments: &Moments, steps: &[f64], shrinkage: f64) -> Self {
        let n = moments.len();
        let variance = |c: usize| moments.covariance(c, c) / (steps[c] * steps[c]);
        // An input that calibration never saw moving may still move.
        let mean = (0..n).map(variance).sum::<f64>() / n.max(1) as f64;
        let floor = if mean > 0.0 { shrinkage * mean } else { 1.0 };
        let mut above = vec![0.0; n * n.saturating_sub(1) / 2];
        let mut d = vec![0.0; n];
        // Row i of what is left of H, columns up to i: the factor's columns are taken from the end.
        let mut rest: Vec<Vec<f64>> = (0..n)
            .map(|i| (0..=i).map(|j| moments.covariance(i, j) / (steps[i] * steps[j])).collect())
            .collect();
        for (c, row) in rest.iter_mut().enumerate() {
            row[c] = row[c] * (1.0 + shrinkage) + floor;
        }
        let mut covariance = vec![0.0; n * n];
        for (i, row) in rest.iter().enumerate() {
            for (j, h) in row.iter().enumerate() {
                covariance[i * n + j] = *h;
                covariance[j * n + i] = *h;
            }
        }
        for k in (0..n).rev() {
            let mut row = rest.pop().expect("a row for every column");
            d[k] = row[k];
            row.truncate(k);
            let column = &mut above[k * k.saturating_sub(1) / 2..][..k];
            for (u, h) in column.iter_mut().zip(&row) {
                *u = h / d[k];
            }
            for (i, left) in rest.iter_mut().enumerate() {
                for (l, u) in left.iter_mut().zip(&*column) {
                    *l -= row[i] * u;
                }
            }
        }
        Self { above, d, covariance }
    }

    fn column(&self, k: usize) -> &[f64] {
        &self.above[k * k.saturating_sub(1) / 2..][..k]
    }

    fn row(&self, k: usize) -> &[f64] {
        let n = self.d.len();
        &self.covariance[k * n..][..n]
    }

    /// What the square of weight `k`'s own rounding error counts.
    pub(super) fn weight(&self, k: usize) -> f64 {
        self.d[k]
    }

    /// Rounds `values` to multiples of `steps` within `±limit` of them; returns the multiples and
    /// the loss, the variance that their errors add to the sum.
    pub(super) fn round(&self, values: &[f64], steps: &[f64], limit: f64) -> (Vec<i16>, f64) {
        let mut errors = Vec::with_capacity(values.len());
        let mut loss = 0.0;
        let mut rounded = Vec::with_capacity(values.len());
        for (k, (value, step)) in values.iter().zip(steps).enumerate() {
            let target = value + dot(self.column(k), &errors);
            // A step of 0 stands for a column without weights.
            let multiple =
                if *step > 0.0 { (target / step).round().clamp(-limit, limit) } else { 0.0 };
            loss += self.d[k] * (target - multiple * step).powi(2);
            errors.push(value - multiple * step);
            rounded.push(multiple as i16);
        }
        (rounded, loss)
    }
}

/// The errors of a rounded row, and how its loss would change with each of them.
pub(super) struct Errors<'a> {
    factor: &'a Factor,
    errors: Vec<f64>,
    /// `H e`: half the loss's derivatives.
    slopes: Vec<f64>,
}

impl<'a> Errors<'a> {
    pub(super) fn new(factor: &'a Factor, errors: Vec<f64>) -> Self {
        let slopes = (0..errors.len()).map(|k| dot(factor.row(k), &errors)).collect();
        Self { factor, errors, slopes }
    }

    fn add(&mut self, k: usize, error: f64) {
        self.errors[k] += error;
        for (slope, h) in self.slopes.iter_mut().zip(self.factor.row(k)) {
            *slope += h * error;
        }
    }

    /// Moves each of the multiples of `steps` to where it is best if the others stay; true if any
    /// moved.
    pub(super) fn settle(&mut self, multiples: &mut [i16], steps: &[f64], limit: f64) -> bool {
        let mut moved = false;
        for (k, (multiple, step)) in multiples.iter_mut().zip(steps).enumerate() {
            // A step of 0 stands for a column without weights.
            if *step > 0.0 {
                let old = f64::from(*multiple);
                let best = old + self.slopes[k] / self.factor.row(k)[k] / step;
                let new = best.round().clamp(-limit, limit);
                if new != old {
                    self.add(k, (old - new) * step);
                    *multiple = new as i16;
                    moved = true;
                }
            }
        }
        moved
    }

    /// By what factor the steps of these columns should grow for the loss to be least.
    pub(super) fn best_growth(
        &self,
        multiples: &[i16],
        steps: &[f64],
        columns: Range<usize>,
    ) -> f64 {
        let value = |k: usize| f64::from(multiples[k]) * steps[k];
        let (mut gain, mut cost) = (0.0, 0.0);
        for k in columns.clone() {
            let row = self.factor.row(k);
            gain += value(k) * self.slopes[k];
            cost += value(k) * columns.clone().map(|j| row[j] * value(j)).sum::<f64>();
        }
        if cost > 0.0 { 1.0 + gain / cost } else { 1.0 }
    }

    /// The steps of these columns grow by `factor`.
    pub(super) fn grow(
        &mut self,
        multiples: &[i16],
        steps: &mut [f64],
        columns: Range<usize>,
        factor: f64,
    ) {
        for k in columns {
            let step = steps[k] * factor;
            self.add(k, f64::from(multiples[k]) * (steps[k] - step));
            steps[k] = step;
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for l in 0..8 {
            lanes[l] += a[l] * b[l];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_the_variance_of_the_errors_and_falls_from_nearest_to_compensated_to_refined() {
        let (count, n) = (500, 6);
        let mut seed = 1u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed as f32 / 2f32.powi(31) - 1.0
        };
        // Inputs that have much in common.
        let vectors: Vec<f32> = (0..count)
            .flat_map(|_| {
                let common = random();
                (0..n).map(|_| common + 0.2 * random()).collect::<Vec<_>>()
            })
            .collect();
        let values: Vec<f64> = (0..n).map(|_| 5.0 * f64::from(random())).collect();
        let moments = Moments::new(&vectors, n);
        let factor = Factor::new(&moments, &vec![1.0; n], 0.01);
        let (rounded, loss) = factor.round(&values, &vec![1.0; n], 7.0);
        let variance = |rounded: &[f64]| -> f64 {
            let e: Vec<_> = values.iter().zip(rounded).map(|(v, r)| v - r).collect();
            (0..n * n).map(|k| e[k / n] * e[k % n] * moments.covariance(k / n, k % n)).sum()
        };
        let compensated = variance(&rounded.iter().map(|r| f64::from(*r)).collect::<Vec<_>>());
        let nearest = variance(&values.iter().map(|v| v.round()).collect::<Vec<_>>());
        assert!(compensated <= loss && loss < 2.0 * compensated + 0.02, "{compensated} {loss}");
        assert!(compensated < nearest, "{compensated} {nearest}");

        // Settled, and with the best step for all of them, they lose less, by an honest account.
        let (mut multiples, mut steps) = (rounded, vec![1.0; n]);
        let errors = values.iter().zip(&multiples).map(|(v, m)| v - f64::from(*m)).collect();
        let mut errors = Errors::new(&factor, errors);
        let loss = |errors: &Errors<'_>| dot(&errors.errors, &errors.slopes);
        let mut before = loss(&errors);
        for _ in 0..3 {
            errors.settle(&mut multiples, &steps, 7.0);
            let factor = errors.best_growth(&multiples, &steps, 0..n);
            errors.grow(&multiples, &mut steps, 0..n, factor);
            assert!(loss(&errors) <= before + 1e-12, "{} {before}", loss(&errors));
            before = loss(&errors);
        }
        let made: Vec<f64> = multiples.iter().zip(&steps).map(|(m, s)| f64::from(*m) * s).collect();
        let refined = variance(&made);
        assert!(refined < compensated, "{refined} {compensated}");
        for (error, (value, made)) in errors.errors.iter().zip(values.iter().zip(&made)) {
            assert!((error - (value - made)).abs() < 1e-9, "{error} {value} {made}");
        }
    }
}
