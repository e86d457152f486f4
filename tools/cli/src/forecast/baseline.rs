//! What a forecast is compared with, and the figures of the comparison.

/// Longest season looked for.
const MOST_SEASON: usize = 400;
/// Least autocorrelation of a season that deserves the name.
const LEAST_CORRELATION: f64 = 0.1;

/// The steps after which a series repeats itself best: the highest peak of the autocorrelation of its
/// differences. 1 if there is none.
pub(super) fn season(values: &[f64]) -> usize {
    let differences: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let known: Vec<f64> = differences.iter().copied().filter(|d| d.is_finite()).collect();
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    let correlation = |lag: usize| {
        let pairs = differences.iter().zip(differences.iter().skip(lag));
        let products = pairs.map(|(a, b)| (a - mean) * (b - mean)).filter(|p| p.is_finite());
        let (sum, count) = products.fold((0.0, 0), |(sum, count), p| (sum + p, count + 1));
        sum / f64::from(count.max(1))
    };
    let longest = (differences.len() / 3).min(MOST_SEASON);
    let all: Vec<f64> = (0..=longest + 1).map(correlation).collect();
    let is_peak = |lag: &usize| all[*lag] > all[lag - 1] && all[*lag] >= all[lag + 1];
    let best = (2..=longest).filter(is_peak).map(|lag| all[lag]).fold(0.0, f64::max);
    if best <= LEAST_CORRELATION * all[0] {
        return 1;
    }
    // Two seasons fit about as well as one.
    (2..=longest).filter(is_peak).find(|lag| all[*lag] >= 0.9 * best).unwrap_or(1)
}

/// The series with what is missing taken from a season before (at its start, from the first value).
pub(super) fn filled(values: &[f64], season: usize) -> Vec<f64> {
    let first = values.iter().copied().find(|v| v.is_finite()).unwrap_or(0.0);
    let mut filled: Vec<f64> = Vec::with_capacity(values.len());
    for (step, value) in values.iter().enumerate() {
        let before = step.checked_sub(season).map_or(first, |step| filled[step]);
        filled.push(if value.is_finite() { *value } else { before });
    }
    filled
}

/// The last season, over and over.
pub(super) fn seasonal_naive(history: &[f64], season: usize, horizon: usize) -> Vec<f64> {
    let season = season.min(history.len());
    let last = &history[history.len() - season..];
    last.iter().copied().cycle().take(horizon).collect()
}

/// A linear autoregression: `y = c + Σ w_k y_{t−k}`, by least squares.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    /// The constant, then the weights of the last value, the one before it, ...
    coefficients: Vec<f64>,
}

impl Linear {
    /// Fits a season and one step of lags (so that it can say: as much more as a season ago), at most
    /// a quarter of the series.
    ///
    /// Rows that a missing value takes part in are left out.
    pub(super) fn fit(values: &[f64], season: usize) -> Self {
        let lags = (season + 1).min(values.len() / 4).max(1);
        let size = lags + 1;
        let known: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
        let (mut gram, mut target) = (vec![vec![0.0; size]; size], vec![0.0; size]);
        // Centred, so that the ridge below does not pull towards zero.
        for window in values.windows(size).filter(|w| w.iter().all(|v| v.is_finite())) {
            let mut row = vec![1.0];
            row.extend(window[..lags].iter().rev().map(|v| v - mean));
            for (a, line) in gram.iter_mut().enumerate() {
                target[a] += row[a] * (window[lags] - mean);
                for (sum, v) in line.iter_mut().zip(&row).take(a + 1) {
                    *sum += row[a] * v;
                }
            }
        }
        let ridge = 1e-9 * (0..size).map(|k| gram[k][k]).sum::<f64>() / size as f64;
        (0..size).for_each(|k| gram[k][k] += ridge.max(f64::MIN_POSITIVE));
        let mut coefficients = solve(gram, target);
        let weights: f64 = coefficients[1..].iter().sum();
        coefficients[0] += mean * (1.0 - weights);
        Self { coefficients }
    }

    /// Values before the next that it looks at.
    pub(super) fn lags(&self) -> usize {
        self.coefficients.len() - 1
    }

    /// The next values, each fed back for those after it.
    pub(super) fn forecast(&self, history: &[f64], horizon: usize) -> Vec<f64> {
        let mut values: Vec<f64> = history[history.len().saturating_sub(self.lags())..].to_vec();
        for _ in 0..horizon {
            let lagged = self.coefficients[1..].iter().zip(values.iter().rev());
            values.push(self.coefficients[0] + lagged.map(|(w, v)| w * v).sum::<f64>());
        }
        values.split_off(values.len() - horizon)
    }
}

/// Solves `a x = b` for a positive definite `a`, of which the lower triangle is given: Cholesky.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for j in 0..n {
        for i in j..n {
            let done: f64 = (0..j).map(|k| a[i][k] * a[j][k]).sum();
            let rest = a[i][j] - done;
            a[i][j] = if i == j { rest.max(f64::MIN_POSITIVE).sqrt() } else { rest / a[j][j] };
        }
    }
    for i in 0..n {
        let done: f64 = (0..i).map(|k| a[i][k] * b[k]).sum();
        b[i] = (b[i] - done) / a[i][i];
    }
    for i in (0..n).rev() {
        let done: f64 = (i + 1..n).map(|k| a[k][i] * b[k]).sum();
        b[i] = (b[i] - done) / a[i][i];
    }
    b
}

/// Errors of one method's forecasts.
#[derive(Clone, Debug, Default)]
pub(super) struct Errors {
    absolute: f64,
    symmetric: f64,
    count: usize,
    first: f64,
    first_count: usize,
}

impl Errors {
    /// Notes the forecast of the steps after an origin; those whose truth is missing do not count.
    pub(super) fn add(&mut self, truth: &[f64], forecast: &[f64]) {
        for (step, (truth, forecast)) in truth.iter().zip(forecast).enumerate() {
            if truth.is_nan() {
                continue;
            }
            let error = (truth - forecast).abs();
            let size = truth.abs() + forecast.abs();
            self.absolute += error;
            self.symmetric += if size > 0.0 { 2.0 * error / size } else { 0.0 };
            self.count += 1;
            if step == 0 {
                self.first += error;
                self.first_count += 1;
            }
        }
    }

    /// Mean absolute scaled error (Hyndman and Koehler 2006): the mean absolute error over
    /// [`naive_error`]. Below 1 is better than that. None where that is 0, or nothing was measured.
    pub(super) fn mase(&self, naive: f64) -> Option<f64> {
        (naive > 0.0 && self.count > 0).then(|| self.absolute / self.count as f64 / naive)
    }

    /// As [`mase`](Self::mase), of the first step alone.
    pub(super) fn mase_first(&self, naive: f64) -> Option<f64> {
        (naive > 0.0 && self.first_count > 0).then(|| self.first / self.first_count as f64 / naive)
    }

    /// Symmetric mean absolute percentage error, 0 to 200 (Makridakis, M4): `2 |y − f| / (|y| + |f|)`,
    /// 0 where both are 0.
    pub(super) fn smape(&self) -> f64 {
        100.0 * self.symmetric / self.count.max(1) as f64
    }
}

/// Mean absolute error of the seasonal-naive forecast one season ahead within `values`.
pub(super) fn naive_error(values: &[f64], season: usize) -> f64 {
    let pairs = values.iter().zip(values.iter().skip(season));
    let errors: Vec<f64> = pairs.map(|(a, b)| (a - b).abs()).filter(|e| e.is_finite()).collect();
    errors.iter().sum::<f64>() / errors.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn wave(steps: usize, season: f64) -> Vec<f64> {
        (0..steps)
            .map(|t| 100.0 + 0.1 * t as f64 + 10.0 * libm::sin(t as f64 * TAU / season))
            .collect()
    }

    #[test]
    fn seasons_are_found() {
        assert_eq!(season(&wave(200, 12.0)), 12);
        assert_eq!(season(&wave(600, 24.0)), 24);
        assert_eq!(season(&[5.0; 50]), 1);
        assert_eq!(season(&[5.0]), 1);
        assert_eq!(season(&[]), 1);
        let mut gappy = wave(200, 12.0);
        gappy[50..70].fill(f64::NAN);
        assert_eq!(season(&gappy), 12);
    }

    #[test]
    fn a_line_follows_what_is_linear() {
        let mut values = wave(240, 12.0);
        values[30] = f64::NAN;
        let linear = Linear::fit(&values[..200], 12);
        assert_eq!(linear.lags(), 13);
        let found = linear.forecast(&values[..200], 40);
        for (found, exact) in found.iter().zip(&values[200..]) {
            assert!((found - exact).abs() < 0.1, "{found} {exact}");
        }
        let constant = Linear::fit(&[3.0; 30], 1).forecast(&[3.0; 30], 5);
        assert!(constant.iter().all(|v| (v - 3.0).abs() < 1e-6), "{constant:?}");
    }

    #[test]
    fn the_last_season_comes_again() {
        assert_eq!(seasonal_naive(&[9.0, 1.0, 2.0, 3.0], 3, 5), [1.0, 2.0, 3.0, 1.0, 2.0]);
        assert_eq!(filled(&[f64::NAN, 1.0, 2.0, f64::NAN, f64::NAN], 2), [1.0, 1.0, 2.0, 1.0, 2.0]);
        assert_eq!(naive_error(&[1.0, 2.0, 4.0, f64::NAN], 1), 1.5);
    }

    #[test]
    fn figures_are_those_of_their_formulas() {
        let mut errors = Errors::default();
        errors.add(&[10.0, f64::NAN, 0.0], &[14.0, 1.0, 0.0]);
        assert_eq!(errors.mase(2.0), Some(1.0));
        assert_eq!(errors.mase_first(2.0), Some(2.0));
        assert_eq!(errors.mase(0.0), None);
        assert!((errors.smape() - 100.0 * (8.0 / 24.0) / 2.0).abs() < 1e-12);
    }
}
