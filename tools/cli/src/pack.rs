//! Writes the blob: blocks of four rows in the order the layers read them, tiles in the order the
//! kernels read them. Offsets come from [`gatelet::blob::format`], the definition the reader uses.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use gatelet::blob::format::{self, extra, header, layer, variant};
use gatelet::{LayerKind, Packing, WeightType};

use crate::graph::Output;
use crate::quantize::{Layer, Product, Quantized, Row};

const BLOCK: usize = format::BLOCK;

/// What the blob says beside the model.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// Names of the outputs; empty, or one each.
    pub labels: Vec<String>,
    /// Provenance: key and value.
    pub metadata: Vec<(String, String)>,
    /// Further sections by their kind, one of [`format::extra::KINDS`].
    pub extras: BTreeMap<u32, Vec<u8>>,
}

/// The blob of `model`.
///
/// # Errors
/// If there are labels but not one for each output, or one holds a line break.
pub fn pack(model: &Quantized, packing: Packing, notes: &Notes) -> Result<Vec<u8>> {
    let outputs = model.outputs();
    let labels = &notes.labels;
    ensure!(
        labels.is_empty() || labels.len() == outputs,
        "{} labels for {outputs} outputs: give one line for each output",
        labels.len()
    );
    ensure!(labels.iter().all(|l| !l.contains('\n')), "a label holds a line break");

    let steps = u16::try_from(model.steps).map_err(|_| {
        anyhow::anyhow!(
            "sequences of {} steps are too long to be read as a whole: gatelet takes {} at most",
            model.steps,
            u16::MAX
        )
    })?;

    let mut blob = Writer { bytes: vec![0; header::BYTES + model.layers.len() * layer::BYTES] };
    for (index, quantized) in model.layers.iter().enumerate() {
        ensure!(
            quantized.inputs.max(quantized.units) <= format::MAX_WIDTH as usize,
            "layer `{}` is {} x {}: the widest gatelet takes is {}",
            quantized.name,
            quantized.inputs,
            quantized.units,
            format::MAX_WIDTH
        );
        let (rows, data) = if quantized.kind == LayerKind::Embedding {
            let table = blob.section(&table(quantized));
            (table, table)
        } else {
            let (mut rows, mut tiles) = (quantized.parameters.clone(), Vec::new());
            for block in blocks(quantized) {
                block.iter().for_each(|row| push_row(&mut rows, row));
                for product in [block.each_ref().map(|r| &r.x), block.each_ref().map(|r| &r.h)] {
                    push_tiles(&mut tiles, quantized.weights, packing, &product);
                }
            }
            rows.extend(&quantized.behind);
            (blob.section(&rows), blob.section(&tiles))
        };
        let at = header::BYTES + index * layer::BYTES;
        let (kind, variant) = quantized.kind.code();
        let variant = variant
            | if quantized.reverse { variant::REVERSE } else { 0 }
            | if quantized.beside { variant::BESIDE } else { 0 };
        blob.put(at + layer::KIND, &[kind, variant, quantized.weights as u8, quantized.shift]);
        blob.put(at + layer::INPUTS, &(quantized.inputs as u16).to_le_bytes());
        blob.put(at + layer::UNITS, &(quantized.units as u16).to_le_bytes());
        blob.put(at + layer::ROWS, &rows.to_le_bytes());
        blob.put(at + layer::DATA, &data.to_le_bytes());
        blob.put(at + layer::SCALE, &quantized.scale.to_le_bytes());
    }

    let normalization = blob.section(&scalings(&model.normalization));
    let labels = blob.text(&labels.join("\n"));
    let metadata: Vec<_> = notes.metadata.iter().map(|(k, v)| format!("{k}: {v}")).collect();
    let metadata = blob.text(&metadata.join("\n"));
    let mut extras = notes.extras.clone();
    if let Some(outputs) = &model.output_scaling {
        extras.insert(extra::OUTPUTS, scalings(outputs));
    }
    let extras = blob.directory(&extras);

    let flags = match model.output {
        Output::Last => format::flags::LAST_STEP,
        Output::AtLast => format::flags::LAST_STEP | format::flags::AT_LAST_STEP,
        Output::EveryStep => 0,
    };
    let length = (blob.bytes.len() + format::CRC_BYTES) as u32;
    let scale = model.layers[model.layers.len() - 1].scale;
    blob.put(header::MAGIC, &format::MAGIC);
    blob.put(header::MAJOR, &format::MAJOR.to_le_bytes());
    blob.put(header::MINOR, &format::MINOR.to_le_bytes());
    blob.put(header::LENGTH, &length.to_le_bytes());
    blob.put(header::LAYERS, &(model.layers.len() as u16).to_le_bytes());
    blob.put(header::PACKING, &[packing as u8, flags]);
    blob.put(header::OUTPUT_SCALE, &scale.to_le_bytes());
    blob.put(header::NORMALIZATION, &normalization.to_le_bytes());
    blob.put(header::LABELS, &labels.to_le_bytes());
    blob.put(header::STEPS, &steps.to_le_bytes());
    blob.put(header::ENCODER, &(model.encoder as u16).to_le_bytes());
    blob.put(header::METADATA, &metadata.to_le_bytes());
    blob.put(header::EXTRAS, &extras.to_le_bytes());
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&blob.bytes);
    blob.bytes.extend(crc.to_le_bytes());
    Ok(blob.bytes)
}

/// Means and steps as records.
fn scalings(of: &[(f32, f32)]) -> Vec<u8> {
    of.iter().flat_map(|(mean, step)| [mean.to_le_bytes(), step.to_le_bytes()]).flatten().collect()
}

struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Appends a section, aligned; returns its offset.
    fn section(&mut self, bytes: &[u8]) -> u32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(format::ALIGNMENT), 0);
        let at = self.bytes.len() as u32;
        self.bytes.extend(bytes);
        at
    }

    /// Appends a text section; 0 stands for none.
    fn text(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        self.sized(text.as_bytes())
    }

    /// Appends a section that starts with its length.
    fn sized(&mut self, bytes: &[u8]) -> u32 {
        self.section(&[&(bytes.len() as u32).to_le_bytes(), bytes].concat())
    }

    /// Appends further sections behind a directory of them; 0 stands for none.
    fn directory(&mut self, extras: &BTreeMap<u32, Vec<u8>>) -> u32 {
        if extras.is_empty() {
            return 0;
        }
        let directory = self.section(&vec![0; 4 + extra::BYTES * extras.len()]);
        let mut at = directory as usize;
        self.put(at, &(extras.len() as u32).to_le_bytes());
        at += 4;
        for (kind, bytes) in extras {
            let offset = self.sized(bytes);
            self.put(at, &kind.to_le_bytes());
            self.put(at + 4, &offset.to_le_bytes());
            at += extra::BYTES;
        }
        directory
    }
}

/// An embedding's records, token after token.
fn table(layer: &Layer) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Row { x: Product { multiplier, weights, .. }, .. } in &layer.rows {
        bytes.extend(multiplier.to_le_bytes());
        match layer.weights {
            WeightType::Int16 => bytes.extend(weights.iter().flat_map(|w| w.to_le_bytes())),
            WeightType::Int4 => bytes.extend(weights.chunks(2).map(|pair| {
                let nibble = |k: usize| (pair.get(k).copied().unwrap_or(0) + 8) as u8;
                nibble(0) | nibble(1) << 4
            })),
            _ => bytes.extend(weights.iter().map(|w| *w as u8)),
        }
    }
    bytes
}

/// The layer's blocks in the order its `step` takes them.
fn blocks(layer: &Layer) -> Vec<[Row; BLOCK]> {
    let gate = |gate: usize| &layer.rows[gate * layer.cells..][..layer.cells];
    let groups = (0..layer.cells).step_by(BLOCK);
    // Gates that share a pass over the groups of four cells.
    let passes: &[&[usize]] = match layer.kind {
        LayerKind::Gru { reset_after: false, .. } => &[&[1], &[0, 2]],
        LayerKind::Gru { reset_after: true, .. } | LayerKind::Lstm { .. } => &[&[0, 1, 2, 3]],
        _ => &[&[0]],
    };
    let gates = passes
        .iter()
        .flat_map(|gates| groups.clone().flat_map(|first| gates.iter().map(move |g| (*g, first))))
        .map(|(of, first)| block(gate(of), first));
    let inner = (0..layer.inner.len()).step_by(BLOCK).map(|first| block(&layer.inner, first));
    match layer.kind {
        LayerKind::FastRnn | LayerKind::FastGrnn => inner.chain(gates).collect(),
        _ => gates.chain(inner).collect(),
    }
}

/// The block of `rows` from `first` on; rows past the last are zero.
fn block(rows: &[Row], first: usize) -> [Row; BLOCK] {
    std::array::from_fn(|r| rows.get(first + r).cloned().unwrap_or_else(|| rows[0].zeroed()))
}

impl Row {
    /// A row of the same shape that adds nothing.
    fn zeroed(&self) -> Self {
        let zeroed = |p: &Product| Product {
            multiplier: 0,
            weights: vec![0; p.weights.len()],
            scales: vec![0; p.scales.len()],
        };
        Self { bias: 0, x: zeroed(&self.x), h: zeroed(&self.h) }
    }
}

fn push_row(bytes: &mut Vec<u8>, row: &Row) {
    bytes.extend(row.bias.to_le_bytes());
    bytes.extend(row.x.multiplier.to_le_bytes());
    bytes.extend(row.h.multiplier.to_le_bytes());
}

/// Appends the tiles of one matrix of a block.
fn push_tiles(
    bytes: &mut Vec<u8>,
    weights: WeightType,
    packing: Packing,
    block: &[&Product; BLOCK],
) {
    let columns = block[0].weights.len().next_multiple_of(BLOCK);
    let weight = |r: usize, c: usize| block[r].weights.get(c).copied().unwrap_or(0);
    let wide =
        weights == WeightType::Int4 || (weights == WeightType::Int8 && packing == Packing::Helium);
    let mut first = 0;
    while first < columns {
        if weights == WeightType::Int4 && first % format::GROUP == 0 {
            bytes.extend(block.iter().map(|row| row.scales[first / format::GROUP]));
        }
        let width = if wide && columns - first >= 2 * BLOCK { 2 * BLOCK } else { BLOCK };
        let tile = first..first + width;
        if (weights, packing) == (WeightType::Int8, Packing::Dsp) {
            for pair in [0, 2] {
                bytes.extend(
                    tile.clone()
                        .flat_map(|c| (weight(pair, c) + 256 * weight(pair + 1, c)).to_le_bytes()),
                );
            }
        } else if (weights, packing) == (WeightType::Int8, Packing::Columns) {
            for c in tile {
                bytes.extend((0..BLOCK).map(|r| weight(r, c) as u8 ^ if r < 3 { 0x80 } else { 0 }));
            }
        } else {
            for r in 0..BLOCK {
                let row: Vec<i16> = tile.clone().map(|c| weight(r, c)).collect();
                match weights {
                    WeightType::Int16 => bytes.extend(row.iter().flat_map(|w| w.to_le_bytes())),
                    WeightType::Int4 => bytes.extend(nibbles(&row)),
                    _ => bytes.extend(row.iter().map(|w| *w as u8)),
                }
            }
        }
        first += width;
    }
}

/// A row of 4-bit weights: nibbles `k` and `k + half` are columns `2k` and `2k + 1`, offset by 8.
fn nibbles(row: &[i16]) -> Vec<u8> {
    let half = row.len() / 2;
    let nibble = |k: usize| (row[2 * (k % half) + k / half] + 8) as u8;
    (0..half).map(|byte| nibble(2 * byte) | nibble(2 * byte + 1) << 4).collect()
}
