//! Why a blob, a buffer or an input was refused.

use core::fmt;

/// Every way the engine can say no. Flat, so that a caller can match on the one it can mend.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Error {
    /// The first four bytes are not `GATE`.
    Magic,
    /// The blob was written for another major version of the format.
    Version {
        /// Major version the blob declares.
        major: u16,
    },
    /// The blob is not as long as its header says (or is shorter than a header).
    Length {
        /// Bytes the header declares, or the least a blob can have.
        expected: u32,
        /// Bytes given.
        found: u32,
    },
    /// The CRC-32 at the end does not match the bytes before it.
    Checksum {
        /// CRC stored in the blob.
        stored: u32,
        /// CRC of the bytes.
        computed: u32,
    },
    /// The blob does not start at an address that is a multiple of 16.
    Alignment,
    /// A header field holds a value this version does not know or that contradicts another.
    Header {
        /// The field, named as in the format's specification.
        field: &'static str,
    },
    /// A field of a layer holds a value this version does not know or that contradicts another.
    Layer {
        /// Position of the layer in the table.
        layer: u8,
        /// The field, named as in the format's specification.
        field: &'static str,
    },
    /// The layer's kind is known, but its Cargo feature is not enabled in this build.
    Feature {
        /// Position of the layer in the table.
        layer: u8,
        /// The feature that would provide it.
        feature: &'static str,
    },
    /// The blob carries no signature where one is asked for.
    Unsigned,
    /// The signature is not of these bytes by this key: the wrong key, or an altered blob.
    Signature,
    /// The public key is no point of the curve.
    Key,
    /// The blob is signed, but of an older version than is taken.
    Downgrade {
        /// The oldest version that is taken.
        least: u32,
        /// The blob's version.
        found: u32,
    },
    /// The model does not answer its self-test as it should.
    SelfTest,
    /// The caller's buffer is too small.
    Memory {
        /// Words (`u32`) the model needs.
        needed: usize,
        /// Words given.
        given: usize,
    },
    /// An input, or a saved state, has another length than the model's.
    Shape {
        /// Elements the model takes.
        expected: usize,
        /// Elements given.
        found: usize,
    },
    /// The sequence is longer than a model takes that has a layer running backwards.
    Steps {
        /// Most steps of a sequence, see [`Model::steps`](crate::Model::steps).
        most: usize,
    },
    /// The model is no encoder-decoder.
    Encoder,
    /// The model has no vocabulary: it takes features, or its tokens are no text.
    Vocabulary,
    /// The layer has no state that can be set: it is not recurrent, does not exist, or starts from
    /// zero in every pass over a whole sequence.
    State {
        /// Position of the layer in the table.
        layer: usize,
    },
}

impl Error {
    /// The reason as a constant string, for a build that must fail at compile time.
    #[doc(hidden)]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Magic => "not a gatelet blob: it does not start with `GATE`",
            Self::Version { .. } => "unsupported major version of the blob format",
            Self::Length { .. } => "the blob is truncated or padded",
            Self::Checksum { .. } => "the blob is corrupt: its CRC-32 does not match",
            Self::Alignment => "the blob is not aligned to 16 bytes",
            Self::Header { field } | Self::Layer { field, .. } => field,
            Self::Feature { feature, .. } => feature,
            Self::Unsigned => "the blob is not signed",
            Self::Signature => "the signature is not of this blob by this key",
            Self::Key => "not a public key",
            Self::Downgrade { .. } => "an older version than is taken",
            Self::SelfTest => "the self-test fails",
            Self::Memory { .. } | Self::Shape { .. } => "wrong size",
            Self::Steps { .. } => "the sequence is too long",
            Self::Encoder => "no encoder",
            Self::Vocabulary => "no vocabulary",
            Self::State { .. } => "not a recurrent layer",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Magic => f.write_str("not a gatelet blob: it does not start with `GATE`"),
            Self::Version { major } => write!(
                f,
                "blob format {major}.x is not supported; this engine reads 1.x"
            ),
            Self::Length { expected, found } => {
                write!(f, "blob of {found} bytes where {expected} are expected: truncated or padded")
            }
            Self::Checksum { stored, computed } => write!(
                f,
                "blob is corrupt: CRC-32 {computed:08x}, but {stored:08x} is stored"
            ),
            Self::Alignment => f.write_str(
                "blob is not aligned to 16 bytes: embed it with `include_model!` or align its buffer",
            ),
            Self::Header { field } => write!(f, "header field `{field}` is invalid"),
            Self::Layer { layer, field } => write!(f, "layer {layer}: field `{field}` is invalid"),
            Self::Feature { layer, feature } => write!(
                f,
                "layer {layer} needs the Cargo feature `{feature}` of gatelet"
            ),
            Self::Unsigned => f.write_str("blob is not signed: sign it with `gatelet sign`"),
            Self::Signature => f.write_str(
                "signature is not of this blob by this key: the key is another, or the blob was altered",
            ),
            Self::Key => f.write_str("public key is not one of Ed25519"),
            Self::Downgrade { least, found } => {
                write!(f, "blob is of version {found}, older than {least}: a downgrade")
            }
            Self::SelfTest => {
                f.write_str("model fails its self-test: flash or core do not do what they should")
            }
            Self::Memory { needed, given } => {
                write!(f, "the model needs a buffer of {needed} words, {given} were given")
            }
            Self::Steps { most } => write!(
                f,
                "the model takes sequences of {most} steps at most: reset the stream before the next"
            ),
            Self::State { layer } => write!(f, "layer {layer} has no state that can be set"),
            Self::Encoder => f.write_str("the model is no encoder-decoder"),
            Self::Vocabulary => f.write_str(
                "the model has no vocabulary: make its blob with `gatelet quantize --vocabulary`",
            ),
            Self::Shape { expected, found } => {
                write!(f, "{expected} values expected, {found} given")
            }
        }
    }
}

impl core::error::Error for Error {}
