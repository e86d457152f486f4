//! Where each field of a `.gate` blob lies: the one definition that the reader and the writer share.
//! The prose specification is `src/blob/FORMAT.md`.

/// First bytes of every blob.
pub const MAGIC: [u8; 4] = *b"GATE";
/// Major version: readers refuse any other.
pub const MAJOR: u16 = 1;
/// Minor version: readers ignore it.
pub const MINOR: u16 = 1;
/// Tensors and sections start at multiples of this, and so must the blob itself.
pub const ALIGNMENT: usize = 16;
/// Rows in a block, and the unit that rows and columns are padded to.
pub const BLOCK: usize = 4;
/// Columns that share a scale among 4-bit weights.
pub const GROUP: usize = 32;
/// Bytes of a row record: bias `i32`, input multiplier `i16`, recurrent multiplier `i16`.
pub const ROW_BYTES: usize = 8;
/// Bytes of the parameters that some kinds of layer have before their rows.
pub const PARAMETER_BYTES: usize = 2 * ROW_BYTES;
/// Bytes of the scaling of a feature or an output: mean `f32`, step `f32`.
pub const NORMALIZATION_BYTES: usize = 8;
/// Bytes of the CRC-32 (ISO-HDLC) that ends the blob.
pub const CRC_BYTES: usize = 4;
/// Most inputs, units or outputs that a layer can have.
pub const MAX_WIDTH: u32 = 1 << 15;

/// Most features that a layer normalization can have: their sums fit 32 and 64 bits.
pub const MAX_NORMALIZED: u32 = 1 << 14;

/// Offsets in the header.
pub mod header {
    #![allow(missing_docs)]
    pub const MAGIC: usize = 0;
    pub const MAJOR: usize = 4;
    pub const MINOR: usize = 6;
    pub const LENGTH: usize = 8;
    pub const LAYERS: usize = 12;
    pub const PACKING: usize = 14;
    pub const FLAGS: usize = 15;
    pub const OUTPUT_SCALE: usize = 16;
    pub const NORMALIZATION: usize = 20;
    pub const LABELS: usize = 24;
    pub const METADATA: usize = 28;
    /// The directory of further sections, or 0.
    pub const EXTRAS: usize = 32;
    /// Most steps of one sequence where a layer runs backwards, else 0.
    pub const STEPS: usize = 36;
    /// Layers of the encoder of an encoder-decoder, else 0.
    pub const ENCODER: usize = 38;
    /// Zeros, for what later minor versions point to.
    pub const RESERVED: usize = 40;
    /// Bytes of the header; the layer table follows it.
    pub const BYTES: usize = 48;
}

/// Bits of the header's flags.
pub mod flags {
    /// The model answers once, after the last step (else at every step).
    pub const LAST_STEP: u8 = 1;
    /// That answer takes the output *at* the last step, where a layer that runs backwards has seen
    /// no other (else its final state, when it has seen all).
    pub const AT_LAST_STEP: u8 = 2;
}

/// Bits of a layer's variant that say how it lies in the stack, whatever its kind.
pub mod variant {
    /// The layer runs from the sequence's last step to its first.
    pub const REVERSE: u8 = 0x80;
    /// The layer takes the same input as the one before it, and its output follows that one's.
    pub const BESIDE: u8 = 0x40;
    /// LSTM: the gates see the cell state.
    pub const PEEPHOLES: u8 = 1;
    /// LSTM: the output is a linear map of the hidden state.
    pub const PROJECTION: u8 = 2;
    /// LSTM and GRU: gates are hard sigmoids.
    pub const HARD_SIGMOID: u8 = 4;
    /// GRU: the reset gate multiplies the recurrent product.
    pub const RESET_AFTER: u8 = 1;
}

/// Kinds of sections that the directory at [`header::EXTRAS`] lists. A reader refuses others: a blob
/// that carries one means it to be used.
pub mod extra {
    /// Bytes of an entry of the directory: kind `u32`, offset `u32`. A count `u32` precedes them.
    pub const BYTES: usize = 8;
    /// Characters and their tokens.
    pub const VOCABULARY: u32 = 1;
    /// Settings of the audio front-end, see [`audio`](super::audio).
    pub const AUDIO: u32 = 2;
    /// Settings of the keyword trigger, see [`trigger`](super::trigger).
    pub const TRIGGER: u32 = 3;
    /// What the outputs mean: mean `f32` and step `f32` of each.
    pub const OUTPUTS: u32 = 4;
    /// Self-test: steps `u16`, then `i16`: the input `[steps][inputs]`, and the output after the last.
    pub const SELF_TEST: u32 = 5;
    /// When an anomaly detector raises the alarm, see [`anomaly`](super::anomaly).
    pub const ANOMALY: u32 = 6;
    /// Signature: version `u32`, then Ed25519 (RFC 8032) over all bytes of the blob before it. The
    /// last section.
    pub const SIGNATURE: u32 = 7;
    /// Bytes of a signature section behind its length.
    pub const SIGNATURE_BYTES: usize = 68;
    /// All of them.
    pub const KINDS: [u32; 7] =
        [VOCABULARY, AUDIO, TRIGGER, OUTPUTS, SELF_TEST, ANOMALY, SIGNATURE];
}

/// Offsets in the section [`extra::TRIGGER`], all fields `u16`.
pub mod trigger {
    #![allow(missing_docs)]
    pub const WINDOW: usize = 0;
    pub const REFRACTORY: usize = 2;
    pub const HYSTERESIS: usize = 4;
    /// One for each output.
    pub const THRESHOLDS: usize = 6;
    /// Longest window.
    pub const MAX_WINDOW: usize = 128;
}

/// Offsets in the section [`extra::AUDIO`], all fields `u16` but the last.
pub mod audio {
    #![allow(missing_docs)]
    pub const RATE: usize = 0;
    pub const WINDOW: usize = 2;
    pub const HOP: usize = 4;
    pub const FFT: usize = 6;
    pub const BANDS: usize = 8;
    pub const COEFFICIENTS: usize = 10;
    pub const PRE_EMPHASIS: usize = 12;
    pub const ADAPTATION: usize = 14;
    /// `u64`.
    pub const FLOOR: usize = 16;
    /// Window, edges, slopes, cosines.
    pub const TABLES: usize = 24;
    /// Most bands.
    pub const MAX_BANDS: usize = 128;
}

/// Offsets in the section of kind [`extra::VOCABULARY`]: tokens that stand for no character.
pub mod vocabulary {
    #![allow(missing_docs)]
    pub const UNKNOWN: usize = 0;
    pub const START: usize = 2;
    pub const END: usize = 4;
    pub const OUTPUT_START: usize = 6;
    pub const OUTPUT_END: usize = 8;
    /// Zeros.
    pub const RESERVED: usize = 10;
    /// Bytes of all that; the table of characters follows.
    pub const BYTES: usize = 12;
}

/// Offsets in the parameters of a layer.
pub mod parameter {
    /// Two `u32`: `α` with 29 and `β` with 31 fractional bits; `ζ` and `ν` with 29. One `u64`: `ε`.
    pub const FACTORS: usize = 0;
    /// `u16`: cells of an LSTM with a projection, rank of a FastRNN or FastGRNN.
    pub const SIZE: usize = 8;
}

/// Offsets in the section of [`extra::ANOMALY`], behind its length.
pub mod anomaly {
    #![allow(missing_docs)]
    pub const THRESHOLD: usize = 0;
    pub const WARMUP: usize = 2;
    pub const RATE: usize = 4;
    pub const RAISE: usize = 5;
    pub const CLEAR: usize = 6;
    /// Zero.
    pub const RESERVED: usize = 7;
    /// A `u32` for every output.
    pub const SCALES: usize = 8;
}

/// Offsets in a record of the layer table.
pub mod layer {
    #![allow(missing_docs)]
    pub const KIND: usize = 0;
    pub const VARIANT: usize = 1;
    pub const WEIGHTS: usize = 2;
    pub const SHIFT: usize = 3;
    pub const INPUTS: usize = 4;
    pub const UNITS: usize = 6;
    pub const ROWS: usize = 8;
    pub const DATA: usize = 12;
    pub const SCALE: usize = 16;
    /// Bytes of a record.
    pub const BYTES: usize = 20;
}
