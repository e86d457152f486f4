//! The `.gate` file: validated once, then borrowed where it lies.
//!
//! [`format`] names every offset; `FORMAT.md` beside this file is the byte-exact specification.

pub mod format;
mod self_test;
mod signature;

use crate::error::Error;
use crate::kernels::Tiles;
use crate::layers::{Activation, Layer, LayerKind, Packing, WeightType};
use crate::text::Vocabulary;
use format::{extra, flags, header, layer, variant};

/// Aligns embedded bytes to 16, as a blob must be. `include_model!` uses it.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug)]
pub struct Aligned<T: ?Sized>(pub T);

/// A blob that passed validation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blob<'a> {
    bytes: &'a [u8],
}

/// `?` for constant functions.
macro_rules! tri {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return Err(error),
        }
    };
}

impl<'a> Blob<'a> {
    /// Validates everything but the alignment of `bytes` in memory. `crc` computes the CRC-32 of
    /// a slice: at compile time by table, on a device without one.
    pub(crate) const fn new(bytes: &'a [u8], crc: u32) -> Result<Self, Error> {
        let blob = Self { bytes };
        tri!(blob.check_header());
        let stored = blob.u32(bytes.len() - format::CRC_BYTES);
        if stored != crc {
            return Err(Error::Checksum { stored, computed: crc });
        }
        tri!(blob.check_layers());
        tri!(blob.check_sections());
        Ok(blob)
    }

    /// The bytes that the CRC covers: all but the CRC itself.
    pub(crate) const fn covered(bytes: &[u8]) -> &[u8] {
        bytes.split_at(bytes.len().saturating_sub(format::CRC_BYTES)).0
    }

    const fn check_header(&self) -> Result<(), Error> {
        let found = self.bytes.len() as u32;
        let least = (header::BYTES + format::CRC_BYTES) as u32;
        if found >= 4 && self.u32(header::MAGIC) != u32::from_le_bytes(format::MAGIC) {
            return Err(Error::Magic);
        }
        if found < least || self.bytes.len() > u32::MAX as usize / 2 {
            return Err(Error::Length { expected: least, found });
        }
        let major = self.u16(header::MAJOR);
        if major != format::MAJOR {
            return Err(Error::Version { major });
        }
        let expected = self.u32(header::LENGTH);
        if expected != found {
            return Err(Error::Length { expected, found });
        }
        if self.packing().is_none() {
            return Err(Error::Header { field: "packing" });
        }
        let known = flags::LAST_STEP | flags::AT_LAST_STEP;
        let at_last_only = self.u8(header::FLAGS) & known == flags::AT_LAST_STEP;
        if self.u8(header::FLAGS) & !known != 0 || at_last_only {
            return Err(Error::Header { field: "flags" });
        }
        if !is_scale(self.f32(header::OUTPUT_SCALE)) {
            return Err(Error::Header { field: "output_scale" });
        }
        let mut at = header::RESERVED;
        while at < header::BYTES {
            if self.u8(at) != 0 {
                return Err(Error::Header { field: "reserved" });
            }
            at += 1;
        }
        let table = self.depth() * layer::BYTES;
        if self.depth() == 0 || self.section(header::BYTES, table).is_none() {
            return Err(Error::Header { field: "layers" });
        }
        Ok(())
    }

    const fn check_layers(&self) -> Result<(), Error> {
        // What the layer before was given, and what it and those beside it give.
        let (mut inputs, mut outputs) = (0usize, 0usize);
        let mut whole_sequence = false;
        let mut index = 0;
        while index < self.depth() {
            let layer = tri!(self.check_layer(index));
            let is_first = index == 0 || index == self.encoder();
            if !is_first && matches!(layer.kind, LayerKind::Embedding) {
                return Err(Error::Layer { layer: index as u8, field: "kind" });
            }
            whole_sequence |= layer.reverse || layer.beside;
            if layer.beside {
                // Outputs join without gaps: blocks must be whole.
                if !outputs.is_multiple_of(format::BLOCK)
                    || !layer.units.is_multiple_of(format::BLOCK)
                    || outputs + layer.units > format::MAX_WIDTH as usize
                {
                    return Err(Error::Layer { layer: index as u8, field: "units" });
                }
            } else {
                inputs = if is_first { layer.inputs } else { outputs };
                outputs = 0;
            }
            if layer.inputs != inputs {
                return Err(Error::Layer { layer: index as u8, field: "inputs" });
            }
            outputs += layer.units;
            index += 1;
        }
        if whole_sequence != (self.steps() > 0) {
            return Err(Error::Header { field: "steps" });
        }
        self.check_encoder(whole_sequence)
    }

    /// The decoder must be able to take over where the encoder ends.
    const fn check_encoder(&self, whole_sequence: bool) -> Result<(), Error> {
        const INVALID: Error = Error::Header { field: "encoder" };
        let encoder = self.encoder();
        if encoder == 0 {
            return Ok(());
        }
        let (Some(first), Some(second)) = (self.layer(0), self.layer(encoder)) else {
            return Err(INVALID);
        };
        let alike = matches!(first.kind, LayerKind::Embedding)
            == matches!(second.kind, LayerKind::Embedding);
        if whole_sequence || self.answers_last() || !alike || first.width() != second.width() {
            return Err(INVALID);
        }
        let (mut from, mut to) = (0, encoder);
        loop {
            from = self.next_recurrent(from);
            to = self.next_recurrent(to);
            match (self.layer(from), self.layer(to)) {
                (Some(a), Some(b)) if from < encoder => {
                    let (a_code, b_code) = (a.kind.code(), b.kind.code());
                    if a_code.0 != b_code.0
                        || a_code.1 != b_code.1
                        || a.units != b.units
                        || a.state_words() != b.state_words()
                        || a.scale.to_bits() != b.scale.to_bits()
                    {
                        return Err(INVALID);
                    }
                }
                // Behind the encoder's last recurrent layer the next is the decoder's first.
                (_, None) if from >= encoder => return Ok(()),
                _ => return Err(INVALID),
            }
            from += 1;
            to += 1;
        }
    }

    /// The first recurrent layer from `index` on; the number of layers if there is none.
    pub(crate) const fn next_recurrent(&self, mut index: usize) -> usize {
        while let Some(layer) = self.layer(index)
            && !layer.is_recurrent()
        {
            index += 1;
        }
        index
    }

    /// Layers of the encoder, from the first on; 0 if the model is no encoder-decoder.
    pub(crate) const fn encoder(&self) -> usize {
        self.u16(header::ENCODER) as usize
    }

    const fn check_layer(&self, index: usize) -> Result<Layer<'a>, Error> {
        macro_rules! refuse {
            ($field:expr) => {
                return Err(Error::Layer { layer: index as u8, field: $field })
            };
        }
        let at = header::BYTES + index * layer::BYTES;
        let variant = self.u8(at + layer::VARIANT);
        let Some(kind) = kind(self.u8(at + layer::KIND), variant, true) else {
            refuse!("kind");
        };
        let directed = variant & (variant::REVERSE | variant::BESIDE) != 0;
        if let Some(feature) = missing_kind(kind, directed) {
            return Err(Error::Feature { layer: index as u8, feature });
        }
        let Some(layer) = self.layer(index) else { refuse!("weights") };
        let follows_recurrent = match index.checked_sub(1) {
            Some(before) => matches!(self.layer(before), Some(before) if before.is_recurrent()),
            None => false,
        };
        if (layer.beside && !follows_recurrent)
            || ((layer.beside || layer.reverse) && !layer.is_recurrent())
        {
            refuse!("variant");
        }
        if layer.shift > 16 {
            refuse!("shift");
        }
        if layer.inputs == 0 || layer.inputs > format::MAX_WIDTH as usize {
            refuse!("inputs");
        }
        if layer.units == 0 || layer.units > format::MAX_WIDTH as usize {
            refuse!("units");
        }
        if let Some(feature) = missing_feature(&layer) {
            return Err(Error::Feature { layer: index as u8, feature });
        }
        if !is_scale(layer.scale) {
            refuse!("scale");
        }
        if !parameters_are_possible(&layer) {
            refuse!("rows");
        }
        if let LayerKind::LayerNorm = layer.kind
            && layer.units != layer.inputs
        {
            refuse!("units");
        }
        let row_bytes = layer.record_count() * format::ROW_BYTES;
        if self.section(self.u32(at + layer::ROWS) as usize, row_bytes).is_none() {
            refuse!("rows");
        }
        let (rows, mut row) = (layer.rows(), 0);
        while row < rows.len() {
            let [.., _, x, _, h] = rows[row];
            if (x > 0x7f || h > 0x7f) && !matches!(layer.kind, LayerKind::LayerNorm) {
                // Multipliers of products are not negative.
                refuse!("rows");
            }
            row += 1;
        }
        let Some(weight_bytes) = layer.weight_bytes() else {
            refuse!("units");
        };
        if self.section(self.u32(at + layer::DATA) as usize, weight_bytes).is_none() {
            refuse!("data");
        }
        Ok(layer)
    }

    const fn check_sections(&self) -> Result<(), Error> {
        let Some(normalization) = self.normalization() else {
            return Err(Error::Header { field: "normalization" });
        };
        if !are_scalings(normalization) {
            return Err(Error::Header { field: "normalization" });
        }
        if self.text(header::LABELS).is_none() {
            return Err(Error::Header { field: "labels" });
        }
        if self.text(header::METADATA).is_none() {
            return Err(Error::Header { field: "metadata" });
        }
        self.check_extras()
    }

    const fn check_extras(&self) -> Result<(), Error> {
        const INVALID: Error = Error::Header { field: "extras" };
        let Some(directory) = self.directory() else { return Err(INVALID) };
        let (mut entry, mut last) = (0, 0);
        while entry < directory.len() {
            let (kind, at) = kind_and_offset(&directory[entry]);
            // Ascending, so that none comes twice.
            if kind <= last || !is_known(kind) || self.sized(at).is_none() {
                return Err(INVALID);
            }
            if kind == extra::VOCABULARY && self.vocabulary().is_none() {
                return Err(Error::Header { field: "vocabulary" });
            }
            last = kind;
            entry += 1;
        }
        if let Some(section) = self.extra(extra::OUTPUTS) {
            let (outputs, rest) = section.as_chunks();
            if outputs.len() != self.outputs() || !rest.is_empty() || !are_scalings(outputs) {
                return Err(Error::Header { field: "outputs" });
            }
        }
        #[cfg(feature = "audio")]
        if let Some(section) = self.extra(extra::AUDIO) {
            let settings = tri!(crate::audio::Settings::from_bytes(section));
            if settings.features() != self.u16(header::BYTES + layer::INPUTS) as usize {
                return Err(Error::Header { field: "audio" });
            }
        }
        #[cfg(feature = "trigger")]
        if let Some(section) = self.extra(extra::TRIGGER) {
            let settings = tri!(crate::decode::trigger::Settings::from_bytes(section));
            if settings.outputs() != self.outputs() {
                return Err(Error::Header { field: "trigger" });
            }
        }
        tri!(self.check_self_test());
        #[cfg(feature = "forecast")]
        if let Some(section) = self.extra(extra::ANOMALY)
            && !self.is_anomaly(section)
        {
            return Err(Error::Header { field: "anomaly" });
        }
        self.check_signature()
    }

    /// Whether a section can be that of [`extra::ANOMALY`].
    #[cfg(feature = "forecast")]
    const fn is_anomaly(&self, section: &[u8]) -> bool {
        let Some((head, scales)) = section.split_first_chunk::<{ format::anomaly::SCALES }>()
        else {
            return false;
        };
        let [t0, t1, _, _, rate, raise, clear, reserved] = *head;
        let (scales, rest): (&[[u8; 4]], _) = scales.as_chunks();
        let mut index = 0;
        while index < scales.len() {
            let scale = u32::from_le_bytes(scales[index]);
            if scale < 1 << 15 || scale >= 1 << 31 {
                return false;
            }
            index += 1;
        }
        let counts = raise > 0 && clear > 0 && reserved == 0;
        (t0 | t1) > 0
            && rate >= 1
            && rate <= 12
            && counts
            && scales.len() == self.outputs()
            && rest.is_empty()
    }

    /// Units of the last layer.
    const fn outputs(&self) -> usize {
        let last = self.depth().saturating_sub(1);
        self.u16(header::BYTES + last * layer::BYTES + layer::UNITS) as usize
    }

    /// Layers in the table.
    pub(crate) const fn depth(&self) -> usize {
        self.u16(header::LAYERS) as usize
    }

    /// The layer at `index` of the table. Its rows and weights go on to the end of the blob:
    /// `check_layer` made sure that there are enough, and no step needs to know where they end.
    pub(crate) const fn layer(&self, index: usize) -> Option<Layer<'a>> {
        if index >= self.depth() {
            return None;
        }
        let at = header::BYTES + index * layer::BYTES;
        let variant = self.u8(at + layer::VARIANT);
        let kind = kind(self.u8(at + layer::KIND), variant, false);
        let weight_type = weight_type(self.u8(at + layer::WEIGHTS));
        let (Some(kind), Some(weight_type), Some(packing)) = (kind, weight_type, self.packing())
        else {
            return None;
        };
        Some(Layer {
            kind,
            reverse: cfg!(feature = "bidirectional") && variant & variant::REVERSE != 0,
            beside: cfg!(feature = "bidirectional") && variant & variant::BESIDE != 0,
            tiles: Tiles::new(packing, weight_type),
            shift: self.u8(at + layer::SHIFT),
            inputs: self.u16(at + layer::INPUTS) as usize,
            units: self.u16(at + layer::UNITS) as usize,
            scale: self.f32(at + layer::SCALE),
            rows: self.from(at + layer::ROWS).as_chunks().0,
            weights: self.from(at + layer::DATA),
        })
    }

    /// Layout of the weights.
    pub(crate) const fn packing(&self) -> Option<Packing> {
        Some(match self.u8(header::PACKING) {
            0 => Packing::Plain,
            1 => Packing::Dsp,
            2 => Packing::Helium,
            3 => Packing::Columns,
            _ => return None,
        })
    }

    /// True if the model answers once, after the last step.
    pub(crate) const fn answers_last(&self) -> bool {
        self.u8(header::FLAGS) & flags::LAST_STEP != 0
    }

    /// True if that answer is the output at the last step, not that of the final states.
    pub(crate) const fn answers_at_last(&self) -> bool {
        self.u8(header::FLAGS) & flags::AT_LAST_STEP != 0
    }

    /// Most steps of a sequence, if there is a layer that needs all of it; else 0.
    pub(crate) const fn steps(&self) -> usize {
        self.u16(header::STEPS) as usize
    }

    /// Value of one unit of the model's output.
    pub(crate) const fn output_scale(&self) -> f32 {
        self.f32(header::OUTPUT_SCALE)
    }

    /// Mean and step of every input feature, undecoded.
    pub(crate) const fn normalization(&self) -> Option<&'a [[u8; 8]]> {
        let Some(first) = self.layer(0) else { return None };
        let at = self.u32(header::NORMALIZATION) as usize;
        match self.section(at, first.width() * format::NORMALIZATION_BYTES) {
            Some(section) => Some(section.as_chunks().0),
            None => None,
        }
    }

    /// Mean and step of every output, undecoded, if the blob scales them.
    pub(crate) const fn output_scaling(&self) -> Option<&'a [[u8; 8]]> {
        match self.extra(extra::OUTPUTS) {
            Some(section) => Some(section.as_chunks().0),
            None => None,
        }
    }

    /// A text section (`length u32`, then UTF-8), empty where its offset is 0.
    pub(crate) const fn text(&self, offset_field: usize) -> Option<&'a str> {
        let at = self.u32(offset_field) as usize;
        if at == 0 {
            return Some("");
        }
        let Some(text) = self.sized(at) else { return None };
        match core::str::from_utf8(text) {
            Ok(text) => Some(text),
            Err(_) => None,
        }
    }

    /// Entries of the directory of further sections; none where its offset is 0.
    const fn directory(&self) -> Option<&'a [[u8; extra::BYTES]]> {
        let at = self.u32(header::EXTRAS) as usize;
        if at == 0 {
            return Some(&[]);
        }
        let Some(bytes) = (self.u32(at) as usize).checked_mul(extra::BYTES) else { return None };
        let Some(bytes) = bytes.checked_add(4) else { return None };
        let Some(section) = self.section(at, bytes) else { return None };
        let Some((_, entries)) = section.split_at_checked(4) else { return None };
        Some(entries.as_chunks().0)
    }

    /// The further section of a kind (of [`extra::KINDS`]), if the blob has one.
    pub(crate) const fn extra(&self, kind: u32) -> Option<&'a [u8]> {
        match self.extra_at(kind) {
            Some(at) => self.sized(at),
            None => None,
        }
    }

    /// Where that section starts.
    const fn extra_at(&self, kind: u32) -> Option<usize> {
        let Some(directory) = self.directory() else { return None };
        let mut entry = 0;
        while entry < directory.len() {
            let (found, at) = kind_and_offset(&directory[entry]);
            if found == kind {
                return Some(at);
            }
            entry += 1;
        }
        None
    }

    /// Characters and their tokens, if the blob says and the model takes tokens.
    pub(crate) const fn vocabulary(&self) -> Option<Vocabulary<'a>> {
        let Some(section) = self.extra(extra::VOCABULARY) else { return None };
        let (Some(first), Some(last)) = (self.layer(0), self.layer(self.depth() - 1)) else {
            return None;
        };
        if !cfg!(feature = "embedding") || !matches!(first.kind, LayerKind::Embedding) {
            return None;
        }
        Vocabulary::new(section, first.inputs, last.units)
    }

    /// A section of `length u32`, then so many bytes.
    const fn sized(&self, at: usize) -> Option<&'a [u8]> {
        // 4 more than the length could wrap an address space of 32 bits.
        let Some(bytes) = (self.u32(at) as usize).checked_add(4) else { return None };
        let Some(section) = self.section(at, bytes) else { return None };
        match section.split_at_checked(4) {
            Some((_, bytes)) => Some(bytes),
            None => None,
        }
    }

    /// `length` bytes from the aligned offset `at`, clear of the header and the CRC.
    const fn section(&self, at: usize, length: usize) -> Option<&'a [u8]> {
        if !at.is_multiple_of(format::ALIGNMENT) || at < header::BYTES {
            return None;
        }
        let Some((_, rest)) = Self::covered(self.bytes).split_at_checked(at) else { return None };
        match rest.split_at_checked(length) {
            Some((section, _)) => Some(section),
            None => None,
        }
    }

    /// All from the offset on that the field at `at` holds.
    const fn from(&self, at: usize) -> &'a [u8] {
        match self.bytes.split_at_checked(self.u32(at) as usize) {
            Some((_, rest)) => rest,
            None => &[],
        }
    }

    // A field past the end reads as zero; `check_header` made sure that none is.

    const fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let Some((_, rest)) = self.bytes.split_at_checked(at) else { return [0; N] };
        match rest.first_chunk() {
            Some(field) => *field,
            None => [0; N],
        }
    }

    const fn u8(&self, at: usize) -> u8 {
        self.field::<1>(at)[0]
    }

    const fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.field(at))
    }

    const fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.field(at))
    }

    const fn f32(&self, at: usize) -> f32 {
        f32::from_bits(self.u32(at))
    }
}

/// Whether these can scale features or outputs.
const fn are_scalings(records: &[[u8; 8]]) -> bool {
    let mut index = 0;
    while index < records.len() {
        let (mean, step) = mean_and_step(&records[index]);
        if !mean.is_finite() || !is_scale(step) {
            return false;
        }
        index += 1;
    }
    true
}

/// Decodes a record of scaling: `value = mean + integer × step`.
pub(crate) const fn mean_and_step(record: &[u8; 8]) -> (f32, f32) {
    let [m0, m1, m2, m3, s0, s1, s2, s3] = *record;
    (f32::from_le_bytes([m0, m1, m2, m3]), f32::from_le_bytes([s0, s1, s2, s3]))
}

const fn kind_and_offset(entry: &[u8; extra::BYTES]) -> (u32, usize) {
    let [k0, k1, k2, k3, o0, o1, o2, o3] = *entry;
    (u32::from_le_bytes([k0, k1, k2, k3]), u32::from_le_bytes([o0, o1, o2, o3]) as usize)
}

/// Whether this build of the reader knows the kind of a further section.
const fn is_known(kind: u32) -> bool {
    let mut known = 0;
    while known < extra::KINDS.len() {
        if extra::KINDS[known] == kind {
            return true;
        }
        known += 1;
    }
    false
}

const fn is_scale(value: f32) -> bool {
    value.is_normal() && value > 0.0
}

const fn weight_type(code: u8) -> Option<WeightType> {
    Some(match code {
        1 => WeightType::Int8,
        2 => WeightType::Int16,
        3 => WeightType::Int4,
        _ => return None,
    })
}

/// The kind of layer that a record names: any that the format knows, or only what this build has,
/// which spares it the code for what was left out.
#[inline(always)]
const fn kind(kind: u8, variant: u8, any: bool) -> Option<LayerKind> {
    use Activation::*;
    Some(match (kind, variant & !(variant::REVERSE | variant::BESIDE)) {
        (1, 0) => LayerKind::Dense(Linear),
        (1, 1) => LayerKind::Dense(Relu),
        (1, 2) => LayerKind::Dense(Sigmoid),
        (1, 3) => LayerKind::Dense(Tanh),
        (1, 4) => LayerKind::Dense(Softmax),
        (2, 1) if any || cfg!(feature = "rnn") => LayerKind::Rnn(Relu),
        (2, 3) if any || cfg!(feature = "rnn") => LayerKind::Rnn(Tanh),
        (3, 0) if any || cfg!(feature = "lstm") => LayerKind::LSTM,
        (3, 0..=7) if any || cfg!(all(feature = "lstm", feature = "variants")) => LayerKind::Lstm {
            hard_sigmoid: variant & variant::HARD_SIGMOID != 0,
            peepholes: variant & variant::PEEPHOLES != 0,
            projection: variant & variant::PROJECTION != 0,
        },
        (4, reset_after @ 0..=1) if any || cfg!(feature = "gru") => {
            LayerKind::Gru { hard_sigmoid: false, reset_after: reset_after != 0 }
        }
        (4, 4 | 5) if any || cfg!(all(feature = "gru", feature = "variants")) => {
            LayerKind::Gru { hard_sigmoid: true, reset_after: variant & variant::RESET_AFTER != 0 }
        }
        (5, 0) if any || cfg!(feature = "embedding") => LayerKind::Embedding,
        (6, 0) if any || cfg!(feature = "layer-norm") => LayerKind::LayerNorm,
        (7, 0) if any || cfg!(feature = "fast") => LayerKind::FastRnn,
        (8, 0) if any || cfg!(feature = "fast") => LayerKind::FastGrnn,
        _ => return None,
    })
}

const fn flag(bit: u8, is_set: bool) -> u8 {
    if is_set { bit } else { 0 }
}

impl LayerKind {
    /// The `kind` and `variant` bytes of the layer's record, without the bits of
    /// [`format::variant`].
    pub const fn code(self) -> (u8, u8) {
        match self {
            Self::Dense(activation) => (1, activation as u8),
            Self::Rnn(activation) => (2, activation as u8),
            Self::Lstm { hard_sigmoid, peepholes, projection } => {
                let variant = flag(variant::HARD_SIGMOID, hard_sigmoid)
                    | flag(variant::PEEPHOLES, peepholes)
                    | flag(variant::PROJECTION, projection);
                (3, variant)
            }
            Self::Gru { hard_sigmoid, reset_after } => {
                let variant = flag(variant::HARD_SIGMOID, hard_sigmoid)
                    | flag(variant::RESET_AFTER, reset_after);
                (4, variant)
            }
            Self::Embedding => (5, 0),
            Self::LayerNorm => (6, 0),
            Self::FastRnn => (7, 0),
            Self::FastGrnn => (8, 0),
        }
    }
}

/// Whether the parameters of a layer, if its kind has any, are such that it can be stepped.
const fn parameters_are_possible(layer: &Layer<'_>) -> bool {
    let [factors, _] = layer.parameters();
    let both = u64::from_le_bytes(factors);
    let (first, second) = (both as u32, (both >> 32) as u32);
    match layer.kind {
        LayerKind::Lstm { projection: true, .. } => {
            0 < layer.cells() && layer.cells() <= format::MAX_WIDTH as usize
        }
        LayerKind::LayerNorm => {
            0 < both && both <= 1 << 62 && layer.units <= format::MAX_NORMALIZED as usize
        }
        // Factors of at most 1.
        LayerKind::FastRnn => {
            first <= 1 << 29
                && second <= 1 << 31
                && layer.inner_size() <= format::MAX_WIDTH as usize
        }
        LayerKind::FastGrnn => {
            first <= 1 << 29
                && second <= 1 << 29
                && layer.inner_size() <= format::MAX_WIDTH as usize
        }
        _ => true,
    }
}

/// The feature that provides a kind of layer, perhaps in a direction of its own, if it is off.
const fn missing_kind(kind: LayerKind, directed: bool) -> Option<&'static str> {
    match kind {
        _ if directed && !cfg!(feature = "bidirectional") => Some("bidirectional"),
        LayerKind::Rnn(_) if !cfg!(feature = "rnn") => Some("rnn"),
        LayerKind::Lstm { .. } if !cfg!(feature = "lstm") => Some("lstm"),
        LayerKind::Gru { .. } if !cfg!(feature = "gru") => Some("gru"),
        LayerKind::Embedding if !cfg!(feature = "embedding") => Some("embedding"),
        LayerKind::LayerNorm if !cfg!(feature = "layer-norm") => Some("layer-norm"),
        LayerKind::FastRnn | LayerKind::FastGrnn if !cfg!(feature = "fast") => Some("fast"),
        kind if kind.is_variant() && !cfg!(feature = "variants") => Some("variants"),
        _ => None,
    }
}

const fn missing_feature(layer: &Layer<'_>) -> Option<&'static str> {
    match (layer.kind, layer.tiles) {
        (_, Tiles::Int16) if !cfg!(feature = "int16") => Some("int16"),
        (_, Tiles::Int4) if !cfg!(feature = "int4") => Some("int4"),
        // What they have lies the same in every packing.
        (LayerKind::Embedding | LayerKind::LayerNorm, _) => None,
        (_, Tiles::Int8Plain) if !cfg!(packing = "plain") => Some("packings"),
        (_, Tiles::Int8Dsp) if !cfg!(packing = "dsp") => Some("packings"),
        (_, Tiles::Int8Columns) if !cfg!(packing = "columns") => Some("packings"),
        (_, Tiles::Int8Helium) if !cfg!(packing = "helium") => Some("packings"),
        // The DSP kernel's sums hold no more.
        (_, Tiles::Int8Dsp)
            if !cfg!(portable)
                && (layer.inputs > 508 || layer.units > 512 || layer.inner_width() > 508) =>
        {
            Some("packings")
        }
        _ => None,
    }
}
