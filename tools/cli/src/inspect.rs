//! What a blob says about itself.

use std::collections::BTreeMap;

use anyhow::Result;
use gatelet::{Layer, LayerKind};
use serde::Serialize;

use crate::estimate::{Estimate, estimate};
use crate::host::Blob;

/// A layer of a blob.
#[derive(Clone, Debug, Serialize)]
pub struct LayerSummary {
    /// What it computes.
    pub kind: String,
    /// Number format of the weights.
    pub weights: String,
    /// Elements of the input.
    pub inputs: usize,
    /// Elements of the output.
    pub units: usize,
    /// Bytes of packed weights and row records.
    pub flash_bytes: usize,
    /// Bytes of the row records among them.
    pub row_bytes: usize,
    /// Products a step, padding left out.
    pub macs_per_step: usize,
    /// Value of one unit of the output.
    pub output_scale: f32,
    /// Smallest and largest row multiplier of the input matrix, in units of 2^-16 pre-activation
    /// units: the rows' weight scales.
    pub input_multipliers: (i16, i16),
    /// As `input_multipliers`, of the recurrent matrix; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recurrent_multipliers: Option<(i16, i16)>,
}

/// A blob.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The stack, from the input on.
    pub layers: Vec<LayerSummary>,
    /// Features a step.
    pub inputs: usize,
    /// Elements of the output.
    pub outputs: usize,
    /// True if the model answers once, after the last step.
    pub answers_last: bool,
    /// Most steps of a sequence, of a model that reads whole ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Value of one unit of the last layer's output.
    pub output_scale: f32,
    /// Mean and step of every output.
    pub output_scaling: Vec<(f32, f32)>,
    /// Mean and step of every input feature.
    pub normalization: Vec<(f32, f32)>,
    /// How 8-bit weights are laid out.
    pub packing: String,
    /// Bytes of the blob.
    pub blob_bytes: usize,
    /// Bytes of a stream's memory.
    pub ram_bytes: usize,
    /// Products a step.
    pub macs_per_step: usize,
    /// Estimated instructions and cycles of a step, core by core.
    pub estimates: Vec<Estimate>,
    /// Characters that are tokens, if the model reads text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub characters: Option<usize>,
    /// Names of the outputs.
    pub labels: Vec<String>,
    /// Provenance.
    pub metadata: BTreeMap<String, String>,
}

/// Summarizes a blob.
///
/// # Errors
/// If the engine refuses it.
pub fn inspect(blob: &Blob) -> Result<Summary> {
    let model = blob.model()?;
    let layers: Vec<_> =
        (0..model.depth()).filter_map(|k| model.layer(k)).map(|layer| summary(&layer)).collect();
    let metadata = model.metadata().lines().filter_map(|line| line.split_once(": "));
    Ok(Summary {
        inputs: model.inputs(),
        outputs: model.outputs(),
        answers_last: model.answers_last(),
        steps: Some(model.steps()).filter(|steps| *steps > 0),
        output_scale: model.output_scale(),
        output_scaling: (0..model.outputs()).filter_map(|k| model.output_scaling(k)).collect(),
        normalization: (0..model.inputs()).filter_map(|k| model.normalization(k)).collect(),
        packing: format!("{:?}", model.packing()).to_lowercase(),
        blob_bytes: blob.bytes().len(),
        ram_bytes: 4 * model.memory_words(),
        macs_per_step: layers.iter().map(|layer| layer.macs_per_step).sum(),
        estimates: estimate(&model),
        characters: model.vocabulary().map(|vocabulary| vocabulary.characters()),
        labels: model.labels().map(str::to_owned).collect(),
        metadata: metadata.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        layers,
    })
}

fn summary(layer: &Layer<'_>) -> LayerSummary {
    let (inputs, units) = (layer.inputs(), layer.units());
    let (mut kind, gates) = match layer.kind() {
        LayerKind::Dense(activation) => (format!("dense {activation:?}").to_lowercase(), 1),
        LayerKind::Rnn(activation) => (format!("rnn {activation:?}").to_lowercase(), 1),
        LayerKind::Lstm { .. } => ("lstm".to_owned(), 4),
        LayerKind::Gru { reset_after: true, .. } => ("gru reset-after".to_owned(), 3),
        LayerKind::Gru { reset_after: false, .. } => ("gru reset-before".to_owned(), 3),
        LayerKind::LayerNorm => ("layer normalization".to_owned(), 0),
        LayerKind::FastRnn => ("fastrnn".to_owned(), 1),
        LayerKind::FastGrnn => ("fastgrnn".to_owned(), 1),
        other => (format!("{other:?}").to_lowercase(), 0),
    };
    let mut recurrent = if layer.is_recurrent() { units } else { 0 };
    let mut inner = layer.rank() * units;
    if layer.rank() > 0 {
        kind.push_str(&format!(" of rank {}", layer.rank()));
        recurrent = layer.rank();
    }
    if let LayerKind::Lstm { peepholes, projection, .. } = layer.kind() {
        if peepholes {
            kind.push_str(" with peepholes");
        }
        if projection {
            kind.push_str(&format!(" of {} cells, projected", layer.cells()));
            inner = layer.cells() * units;
        }
    }
    if let LayerKind::Lstm { hard_sigmoid: true, .. } | LayerKind::Gru { hard_sigmoid: true, .. } =
        layer.kind()
    {
        kind.push_str(", hard sigmoid");
    }
    kind.push_str(match (layer.is_reverse(), layer.is_beside()) {
        (true, true) => ", reverse beside",
        (true, false) => ", reverse",
        (false, true) => ", beside",
        (false, false) => "",
    });
    // Bytes 4 and 5 of a row's record hold the input multiplier, 6 and 7 the recurrent one.
    // Rows of one matrix only, and padding, have a multiplier of zero.
    let range = |at: usize| {
        let multipliers = || {
            layer
                .rows()
                .iter()
                .map(move |row| i16::from_le_bytes([row[at], row[at + 1]]))
                .filter(|m| *m > 0)
        };
        multipliers().min().zip(multipliers().max())
    };
    LayerSummary {
        kind,
        weights: format!("{:?}", layer.weight_type()).to_lowercase(),
        inputs,
        units,
        flash_bytes: layer.weights().len() + layer.records().as_flattened().len(),
        row_bytes: layer.records().as_flattened().len(),
        macs_per_step: gates * layer.cells() * (inputs + recurrent) + inner,
        output_scale: layer.scale(),
        input_multipliers: range(4).unwrap_or_default(),
        recurrent_multipliers: range(6),
    }
}
