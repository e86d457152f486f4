//! A layer normalization in integers.

use anyhow::{Context, Result, ensure};
use gatelet::blob::format;
use gatelet::{LayerKind, WeightType};

use super::layer::{MOST_SHIFT, Signal};
use super::{Layer, Product, Row};
use crate::graph::LayerNorm;

/// Largest `n²·epsilon` that leaves room for the sums of squares in 64 bits.
const EPSILON_MAX: f64 = (1u64 << 62) as f64;

/// The layer in integers, given `input`, which must have one step for all features; `scale` is the value
/// of one unit of its output.
///
/// # Errors
/// If it has too many features, or its epsilon or factors do not fit.
pub(super) fn quantize(
    name: &str,
    norm: &LayerNorm,
    input: &Signal,
    weights: WeightType,
    scale: f64,
) -> Result<Layer> {
    let units = norm.beta.len();
    ensure!(
        units <= format::MAX_NORMALIZED as usize,
        "layer `{name}` normalizes {units} features; gatelet takes {} at most",
        format::MAX_NORMALIZED
    );
    let step = input.steps[0];
    ensure!(
        input.steps.iter().all(|s| *s == step) && input.means.iter().all(|m| *m == input.means[0]),
        "layer `{name}` normalizes features of different scales; put a linear layer between"
    );
    let epsilon = (norm.epsilon / (step * step) * (units * units) as f64).round().max(1.0);
    ensure!(
        epsilon <= EPSILON_MAX,
        "layer `{name}`: its epsilon is far larger than any variance of its input; nothing would be left of it"
    );
    let rows = |shift: u32| -> Option<Vec<Row>> {
        let unit = scale / f64::from(1 << shift);
        let row = |(gamma, beta): (&f64, &f64)| {
            let (factor, bias) = ((gamma / unit).round(), (beta / unit + 0.5).round());
            let fits = factor.abs() <= f64::from(i16::MAX) && bias.abs() < f64::from(1 << 30);
            let x = Product { multiplier: factor as i16, ..Product::default() };
            fits.then(|| Row { bias: bias as i32, x, ..Row::default() })
        };
        norm.gamma.values().iter().zip(&norm.beta).map(row).collect()
    };
    let found = (0..=MOST_SHIFT).rev().find_map(|shift| Some((rows(shift)?, shift)));
    let (rows, shift) = found.with_context(|| {
        format!("layer `{name}`: its factors are far larger than what calibration saw come out")
    })?;
    let mut parameters = vec![0; format::PARAMETER_BYTES];
    parameters[format::parameter::FACTORS..][..8].copy_from_slice(&(epsilon as u64).to_le_bytes());
    Ok(Layer {
        name: name.to_owned(),
        kind: LayerKind::LayerNorm,
        weights,
        inputs: units,
        units,
        cells: units,
        scale: scale as f32,
        shift: shift as u8,
        reverse: false,
        beside: false,
        rows,
        inner: Vec::new(),
        parameters,
        behind: Vec::new(),
    })
}
