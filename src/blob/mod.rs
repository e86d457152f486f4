//! The `.gate` file: validated once, then borrowed where it lies.
//!
//! [`format`] names every offset; `FORMAT.md` beside this file is the byte-exact specification.

mod code;
pub mod format;
mod self_test;
mod signature;
mod validate;

use crate::error::Error;
use crate::kernels::Tiles;
use crate::layers::{Layer, LayerKind, Packing};
use crate::text::Vocabulary;
use code::{kind, weight_type};
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

impl<'a> Blob<'a> {
    /// Validates everything but the alignment of `bytes` in memory. `crc` computes the CRC-32 of
    /// a slice: at compile time by table, on a device without one.
    pub(crate) const fn new(bytes: &'a [u8], crc: u32) -> Result<Self, Error> {
        let blob = Self { bytes };
        match blob.check(crc) {
            Ok(()) => Ok(blob),
            Err(error) => Err(error),
        }
    }

    /// The bytes that the CRC covers: all but the CRC itself.
    pub(crate) const fn covered(bytes: &[u8]) -> &[u8] {
        bytes.split_at(bytes.len().saturating_sub(format::CRC_BYTES)).0
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

/// Decodes a record of scaling: `value = mean + integer × step`.
pub(crate) const fn mean_and_step(record: &[u8; 8]) -> (f32, f32) {
    let [m0, m1, m2, m3, s0, s1, s2, s3] = *record;
    (f32::from_le_bytes([m0, m1, m2, m3]), f32::from_le_bytes([s0, s1, s2, s3]))
}

const fn kind_and_offset(entry: &[u8; extra::BYTES]) -> (u32, usize) {
    let [k0, k1, k2, k3, o0, o1, o2, o3] = *entry;
    (u32::from_le_bytes([k0, k1, k2, k3]), u32::from_le_bytes([o0, o1, o2, o3]) as usize)
}
