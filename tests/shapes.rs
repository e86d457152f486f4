//! Blobs built field by field: the reader takes exactly those whose layers fit themselves, each other
//! and the bytes that there are.

#[path = "common/blobs.rs"]
mod blobs;

use blobs::{refusal, sealed};
use gatelet::Error;
use gatelet::blob::format::{self, header, layer};

const DENSE: u8 = 1;
const RNN: u8 = 2;
const LSTM: u8 = 3;
const GRU: u8 = 4;
const EMBEDDING: u8 = 5;
const NORM: u8 = 6;
const FAST_RNN: u8 = 7;
const FAST_GRNN: u8 = 8;

const REVERSE: u8 = 0x80;
const BESIDE: u8 = 0x40;
const PEEPHOLES: u8 = 1;
const PROJECTION: u8 = 2;
const HARD: u8 = 4;
const TANH: u8 = 3;

#[derive(Clone, Copy)]
struct Layer {
    kind: u8,
    variant: u8,
    inputs: u16,
    units: u16,
    shift: u8,
    scale: f32,
    /// Cells or rank.
    size: u16,
}

fn layer(kind: u8, variant: u8, inputs: u16, units: u16) -> Layer {
    Layer { kind, variant, inputs, units, shift: 0, scale: 1.0, size: 0 }
}

fn padded(n: u16) -> usize {
    usize::from(n).next_multiple_of(4)
}

impl Layer {
    /// Bytes of its rows and of its 8-bit weights, as the specification says.
    fn bytes(&self) -> (usize, usize) {
        let (inputs, units, size) = (padded(self.inputs), padded(self.units), padded(self.size));
        let projected = self.kind == LSTM && self.variant & PROJECTION != 0;
        let cells = if projected { size } else { units };
        match self.kind {
            DENSE => (8 * units, units * inputs),
            RNN => (8 * units, units * (inputs + units)),
            LSTM => {
                let peepholes = if self.variant & PEEPHOLES != 0 { cells / 4 * 24 } else { 0 };
                let (rows, weights) = (32 * cells + peepholes, 4 * cells * (inputs + units));
                if projected {
                    (16 + rows + 8 * units, weights + units * cells)
                } else {
                    (rows, weights)
                }
            }
            GRU => {
                let blocks = if self.variant & 1 != 0 { 4 } else { 3 };
                (8 * blocks * units, 3 * units * (inputs + units))
            }
            EMBEDDING => (0, usize::from(self.inputs) * (2 + usize::from(self.units))),
            NORM => (16 + 8 * units, 0),
            _ => {
                let inner = if size == 0 { units } else { size };
                let behind = if self.kind == FAST_GRNN { 4 * units } else { 0 };
                (16 + 8 * (units + size) + behind, units * (inputs + inner) + size * units)
            }
        }
    }

    /// A norm needs an epsilon, other kinds take zeros.
    fn parameters(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[0] = u8::from(self.kind == NORM);
        bytes[8..10].copy_from_slice(&self.size.to_le_bytes());
        bytes
    }
}

/// A model of these layers, all of zeros: rows and weights of each end where the next begin, the last
/// of them at the CRC.
#[derive(Clone)]
struct Model {
    layers: Vec<Layer>,
    flags: u8,
    steps: u16,
    encoder: u16,
    rows_last: bool,
    packing: u8,
}

fn model(layers: &[Layer]) -> Model {
    Model { layers: layers.to_vec(), flags: 0, steps: 0, encoder: 0, rows_last: false, packing: 0 }
}

impl Model {
    fn blob(&self) -> Vec<u8> {
        let mut blob = vec![0; header::BYTES + self.layers.len() * layer::BYTES];
        let align = |blob: &mut Vec<u8>| {
            blob.resize(blob.len().next_multiple_of(16), 0);
            blob.len() as u32
        };
        let normalization = align(&mut blob);
        let width = match self.layers[0] {
            Layer { kind: EMBEDDING, .. } => 1,
            first => usize::from(first.inputs),
        };
        blob.extend([[0; 4], 1f32.to_le_bytes()].as_flattened().repeat(width));
        for (index, of) in self.layers.iter().enumerate() {
            let (rows, weights) = of.bytes();
            let mut sections = [(layer::ROWS, rows), (layer::DATA, weights)];
            if self.rows_last {
                sections.reverse();
            }
            let at = header::BYTES + index * layer::BYTES;
            for (field, bytes) in sections {
                let start = align(&mut blob);
                blob[at + field..][..4].copy_from_slice(&start.to_le_bytes());
                blob.resize(blob.len() + bytes, 0);
                if field == layer::ROWS && bytes >= 16 && of.parameters() != [0; 16] {
                    blob[start as usize..][..16].copy_from_slice(&of.parameters());
                }
            }
            blob[at..][..4].copy_from_slice(&[of.kind, of.variant, 1, of.shift]);
            blob[at + layer::INPUTS..][..2].copy_from_slice(&of.inputs.to_le_bytes());
            blob[at + layer::UNITS..][..2].copy_from_slice(&of.units.to_le_bytes());
            blob[at + layer::SCALE..][..4].copy_from_slice(&of.scale.to_le_bytes());
        }
        blob.resize(blob.len() + format::CRC_BYTES, 0);
        let length = (blob.len() as u32).to_le_bytes();
        let mut put = |at: usize, bytes: &[u8]| blob[at..][..bytes.len()].copy_from_slice(bytes);
        put(header::MAGIC, &format::MAGIC);
        put(header::MAJOR, &[1, 0, 1, 0]);
        put(header::LENGTH, &length);
        put(header::LAYERS, &[self.layers.len() as u8, 0, self.packing, self.flags]);
        put(header::OUTPUT_SCALE, &1f32.to_le_bytes());
        put(header::NORMALIZATION, &normalization.to_le_bytes());
        put(header::STEPS, &self.steps.to_le_bytes());
        put(header::ENCODER, &self.encoder.to_le_bytes());
        sealed(blob)
    }

    fn refusal(&self) -> Option<Error> {
        refusal(&self.blob())
    }
}

/// The blob with so many bytes before the CRC gone.
fn shortened(mut blob: Vec<u8>, by: usize) -> Vec<u8> {
    blob.truncate(blob.len() - by);
    let length = blob.len() as u32;
    blob[header::LENGTH..][..4].copy_from_slice(&length.to_le_bytes());
    sealed(blob)
}

/// One of each kind and variant, at a size that is padded.
fn each_kind() -> Vec<Layer> {
    let mut all = vec![layer(EMBEDDING, 0, 7, 5), layer(NORM, 0, 6, 6)];
    all.extend((0..5).map(|variant| layer(DENSE, variant, 5, 3)));
    all.extend([1, TANH].map(|variant| layer(RNN, variant, 5, 3)));
    all.extend((0..8).map(|variant| Layer { size: 9, ..layer(LSTM, variant, 5, 3) }));
    all.extend([0, 1, 4, 5].map(|variant| layer(GRU, variant, 5, 3)));
    for kind in [FAST_RNN, FAST_GRNN] {
        all.extend([0, 2, 5].map(|size| Layer { size, ..layer(kind, 0, 5, 7) }));
    }
    for of in &mut all {
        let is_sized = of.kind > 6 || of.kind == LSTM && of.variant & PROJECTION != 0;
        of.size = if is_sized { of.size } else { 0 };
    }
    all
}

#[test]
fn layers_take_the_bytes_that_the_specification_says_and_no_less() {
    assert_eq!(format::PARAMETER_BYTES, layer(NORM, 0, 1, 1).parameters().len());
    for of in each_kind() {
        for rows_last in [false, true] {
            let model = Model { rows_last, ..model(&[of]) };
            let name = format!("kind {}, variant {}, rows last: {rows_last}", of.kind, of.variant);
            assert_eq!(model.refusal(), None, "{name}");
            let (rows, weights) = of.bytes();
            let (last, field) = if rows_last { (rows, "rows") } else { (weights, "data") };
            if last > 0 {
                let refused = refusal(&shortened(model.blob(), 1));
                assert_eq!(refused, Some(Error::Layer { layer: 0, field }), "{name}");
            }
        }
    }
}

#[test]
fn kinds_and_variants_that_there_are_not_are_refused() {
    let known: Vec<_> = each_kind().iter().map(|of| (of.kind, of.variant)).collect();
    for kind in 0..=12 {
        for variant in 0..64 {
            let of = Layer { size: 4, ..layer(kind, variant, 4, 4) };
            let refused = model(&[of]).refusal();
            if !known.contains(&(kind, variant)) {
                let expected = Some(Error::Layer { layer: 0, field: "kind" });
                assert_eq!(refused, expected, "{kind} {variant}");
            }
        }
    }
}

#[test]
fn widths_and_shifts_go_as_far_as_they_may() {
    let refused = |of: Layer| model(&[of]).refusal();
    let field = |field| Some(Error::Layer { layer: 0, field });
    assert_eq!(refused(layer(DENSE, 0, 1 << 15, 1)), None);
    assert_eq!(refused(layer(DENSE, 0, (1 << 15) + 1, 1)), field("inputs"));
    assert_eq!(refused(layer(DENSE, 0, 1, 1 << 15)), None);
    assert_eq!(refused(layer(DENSE, 0, 1, (1 << 15) + 1)), field("units"));
    assert_eq!(refused(Layer { shift: 16, ..layer(DENSE, 0, 1, 1) }), None);
    assert_eq!(refused(Layer { shift: 17, ..layer(DENSE, 0, 1, 1) }), field("shift"));
    assert_eq!(refused(layer(NORM, 0, 1 << 14, 1 << 14)), None);
    assert_eq!(refused(layer(NORM, 0, (1 << 14) + 1, (1 << 14) + 1)), field("rows"));
    assert_eq!(refused(layer(NORM, 0, 4, 8)), field("units"));
    for kind in [FAST_RNN, FAST_GRNN] {
        assert_eq!(refused(Layer { size: 1 << 15, ..layer(kind, 0, 1, 1) }), None);
        assert_eq!(refused(Layer { size: (1 << 15) + 1, ..layer(kind, 0, 1, 1) }), field("rows"));
    }
    for size in [1, 1 << 15] {
        assert_eq!(refused(Layer { size, ..layer(LSTM, PROJECTION, 1, 1) }), None, "{size} cells");
    }
    for size in [0, (1 << 15) + 1] {
        assert_eq!(refused(Layer { size, ..layer(LSTM, PROJECTION, 1, 1) }), field("rows"));
    }
}

/// Only a build that has no portable kernel refuses layers wider than the DSP kernel's sums.
#[test]
fn wide_layers_of_every_packing_are_taken() {
    for packing in 0..4 {
        for of in [layer(DENSE, 0, 512, 4), layer(RNN, TANH, 4, 516), layer(DENSE, 0, 4, 600)] {
            assert_eq!(Model { packing, ..model(&[of]) }.refusal(), None, "packing {packing}");
        }
    }
}

#[test]
fn layers_beside_each_other_are_whole_blocks() {
    let pair = |units: u16, beside: u16| {
        let of = |variant, units| Layer { size: 4, ..layer(FAST_RNN, variant, 4, units) };
        Model { steps: 1, ..model(&[of(0, units), of(REVERSE | BESIDE, beside)]) }
    };
    let refused = Some(Error::Layer { layer: 1, field: "units" });
    assert_eq!(pair(4, 4).refusal(), None);
    assert_eq!(pair(3, 4).refusal(), refused);
    assert_eq!(pair(4, 3).refusal(), refused);
    assert_eq!(pair(1 << 14, 1 << 14).refusal(), None);
    assert_eq!(pair(1 << 14, (1 << 14) + 4).refusal(), refused);
    // What follows takes both; a head beside something is none.
    let mut stack = pair(4, 8);
    stack.layers.push(layer(DENSE, 0, 12, 2));
    assert_eq!(stack.refusal(), None);
    stack.layers[2].inputs = 8;
    assert_eq!(stack.refusal(), Some(Error::Layer { layer: 2, field: "inputs" }));
    stack.layers[2] = layer(DENSE, BESIDE, 4, 4);
    assert_eq!(stack.refusal(), Some(Error::Layer { layer: 2, field: "variant" }));
    stack.layers[2] = layer(DENSE, REVERSE, 12, 4);
    assert_eq!(stack.refusal(), Some(Error::Layer { layer: 2, field: "variant" }));
    // Nothing is beside the first, nor beside what is not recurrent.
    let variant = |layer| Some(Error::Layer { layer, field: "variant" });
    let first = Model { steps: 1, ..model(&[layer(RNN, TANH | BESIDE, 4, 4)]) };
    assert_eq!(first.refusal(), variant(0));
    let on_dense = [layer(DENSE, 0, 4, 4), layer(RNN, TANH | BESIDE, 4, 4)];
    assert_eq!(Model { steps: 1, ..model(&on_dense) }.refusal(), variant(1));
}

#[test]
fn steps_are_given_where_they_are_needed_and_nowhere_else() {
    let steps = Some(Error::Header { field: "steps" });
    let of = |variant| layer(RNN, TANH | variant, 4, 4);
    for (layers, is_whole) in [
        (vec![of(0)], false),
        (vec![of(REVERSE)], true),
        (vec![of(0), of(BESIDE)], true),
        (vec![of(0), of(REVERSE)], true),
    ] {
        for given in [0, 1, u16::MAX] {
            let refused = Model { steps: given, ..model(&layers) }.refusal();
            assert_eq!(refused, if (given > 0) == is_whole { None } else { steps }, "{given}");
        }
    }
}

#[test]
fn a_decoder_can_take_over_where_the_encoder_ends() {
    let refused = |layers: &[Layer], encoder| Model { encoder, ..model(layers) }.refusal();
    let invalid = Some(Error::Header { field: "encoder" });
    let (lstm, gru) = (layer(LSTM, 0, 4, 4), layer(GRU, 0, 4, 4));
    let (dense, norm) = (layer(DENSE, 0, 4, 4), layer(NORM, 0, 4, 4));
    assert_eq!(refused(&[lstm, lstm], 1), None);
    assert_eq!(refused(&[lstm, lstm, lstm, lstm], 2), None);
    assert_eq!(refused(&[dense, lstm, norm, gru, lstm, dense, gru, dense], 4), None);
    for encoder in [2, 3, u16::MAX] {
        assert_eq!(refused(&[lstm, lstm], encoder), invalid, "an encoder of {encoder} layers");
    }
    // More or fewer to hand over than to take.
    assert_eq!(refused(&[lstm, lstm, lstm], 1), invalid);
    assert_eq!(refused(&[lstm, lstm, lstm], 2), invalid);
    assert_eq!(refused(&[lstm, dense], 1), invalid);
    assert_eq!(refused(&[dense, lstm], 1), invalid);
    // Of another kind, variant, size or scale.
    let projected = |size| Layer { size, ..layer(LSTM, PROJECTION, 4, 4) };
    assert_eq!(refused(&[projected(4), projected(4)], 1), None);
    for (a, b) in [
        (lstm, gru),
        (lstm, layer(LSTM, HARD, 4, 4)),
        (lstm, layer(LSTM, 0, 4, 3)),
        (projected(4), projected(8)),
        (lstm, Layer { scale: 0.5, ..lstm }),
    ] {
        assert_eq!(refused(&[a, b], 1), invalid, "{} {} {}", b.kind, b.variant, b.units);
    }
    // What the two take in: as many features, or both tokens.
    let tokens = layer(EMBEDDING, 0, 7, 4);
    assert_eq!(refused(&[tokens, lstm, tokens, lstm], 2), None);
    assert_eq!(refused(&[lstm, layer(LSTM, 0, 8, 4)], 1), invalid);
    assert_eq!(refused(&[tokens, lstm, layer(LSTM, 0, 1, 4)], 2), invalid);
    assert_eq!(refused(&[layer(LSTM, 0, 1, 4), tokens, lstm], 1), invalid);
    // It answers at every step, and looks at nothing that is to come.
    let last = Model { encoder: 1, flags: 1, ..model(&[lstm, lstm]) };
    assert_eq!(last.refusal(), invalid);
    let reverse = layer(LSTM, REVERSE, 4, 4);
    let whole = Model { encoder: 1, steps: 1, ..model(&[reverse, reverse]) };
    assert_eq!(whole.refusal(), invalid);
}

#[test]
fn tokens_come_first() {
    let tokens = layer(EMBEDDING, 0, 7, 7);
    let refused = model(&[tokens, layer(EMBEDDING, 0, 7, 4)]).refusal();
    assert_eq!(refused, Some(Error::Layer { layer: 1, field: "kind" }));
    assert_eq!(model(&[tokens, layer(DENSE, 0, 7, 4)]).refusal(), None);
}

#[test]
fn a_table_of_layers_is_all_there() {
    // Two records, of which the second reaches beyond what is before the CRC.
    let mut blob = model(&[layer(DENSE, 0, 1, 1)]).blob();
    blob.truncate(header::BYTES + layer::BYTES + layer::DATA);
    blob[header::LAYERS] = 2;
    blob.extend([0; format::CRC_BYTES]);
    let refused = refusal(&shortened(blob, 0));
    assert_eq!(refused, Some(Error::Header { field: "layers" }));
}
