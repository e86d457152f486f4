//! What makes a blob one that can be stepped without fault, checked once.

use super::{Blob, code, format, kind_and_offset, mean_and_step};
use crate::error::Error;
use crate::kernels::Tiles;
use crate::layers::{Layer, LayerKind};
use format::{extra, flags, header, layer, variant};

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
    /// Whether everything fits together; `crc` is what the CRC should be.
    pub(super) const fn check(&self, crc: u32) -> Result<(), Error> {
        tri!(self.check_header());
        let stored = self.u32(self.bytes.len() - format::CRC_BYTES);
        if stored != crc {
            return Err(Error::Checksum { stored, computed: crc });
        }
        tri!(self.check_layers());
        self.check_sections()
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

    const fn check_layer(&self, index: usize) -> Result<Layer<'a>, Error> {
        macro_rules! refuse {
            ($field:expr) => {
                return Err(Error::Layer { layer: index as u8, field: $field })
            };
        }
        let at = header::BYTES + index * layer::BYTES;
        let variant = self.u8(at + layer::VARIANT);
        let Some(kind) = code::kind(self.u8(at + layer::KIND), variant, true) else {
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
