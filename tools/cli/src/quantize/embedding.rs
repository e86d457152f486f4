//! A table in integers: every token's row has its own multiplier, and all come out in one scale.

use gatelet::{LayerKind, WeightType};
use rayon::prelude::*;

use super::rows::Limit;
use super::{Layer, Product, Row};
use crate::graph::Embedding;

/// Largest output that weights of every type reach: 4-bit ones, `7 · 32767 / 8`.
const REACH: f64 = 28671.0;
/// Multipliers tried, relative to the one that clips no weight: a few clipped weights may cost less
/// than coarse steps for the others.
const TRIED: [f64; 9] = [1.0, 0.975, 0.95, 0.925, 0.9, 0.85, 0.8, 0.75, 0.7];

/// Value of one unit of the output: the table is all that it can be, so it needs no headroom.
pub(super) fn scale(embedding: &Embedding) -> f64 {
    let peak = embedding.table.values().iter().fold(0.0, |a: f64, v| a.max(v.abs()));
    // f32, as the blob stores it.
    f64::from((if peak > 0.0 { peak } else { 1.0 } / REACH) as f32)
}

/// The table in integers.
pub(super) fn quantize(name: &str, embedding: &Embedding, weights: WeightType) -> Layer {
    let (table, scale) = (&embedding.table, scale(embedding));
    // As many fractional bits as leave `i16` multipliers for the largest row.
    let shift = match weights {
        WeightType::Int4 => 3,
        WeightType::Int16 => 15,
        _ => 7,
    };
    let row = |token: usize| {
        let values: Vec<f64> =
            table.row(token).iter().map(|v| v / scale * f64::from(1 << shift)).collect();
        Row { x: product(&values, weights.limit()), ..Row::default() }
    };
    Layer {
        name: name.to_owned(),
        kind: LayerKind::Embedding,
        weights,
        inputs: table.rows(),
        units: table.cols(),
        cells: table.cols(),
        scale: scale as f32,
        shift,
        reverse: false,
        beside: false,
        rows: (0..table.rows()).into_par_iter().map(row).collect(),
        inner: Vec::new(),
        parameters: Vec::new(),
        behind: Vec::new(),
    }
}

/// The multiplier and weights closest to `values`.
fn product(values: &[f64], limit: f64) -> Product {
    let widest = values.iter().fold(0.0, |a: f64, v| a.max(v.abs())) / limit;
    let rounded = |multiplier: f64| -> (f64, Product) {
        let weight = |v: &f64| (v / multiplier).round().clamp(-limit, limit);
        let loss = values.iter().map(|v| (v - weight(v) * multiplier).powi(2)).sum();
        let weights = values.iter().map(|v| weight(v) as i16).collect();
        (loss, Product { multiplier: multiplier as i16, weights, scales: Vec::new() })
    };
    let tried = TRIED.map(|t| rounded((t * widest).ceil().clamp(1.0, 32767.0)));
    let best = tried.into_iter().min_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, product)| product).unwrap_or_default()
}
