//! Codes of the layer table: which byte is which kind of layer and type of weights.

use super::format::variant;
use crate::layers::{Activation, LayerKind, WeightType};

/// The type of weights that a record names.
pub(super) const fn weight_type(code: u8) -> Option<WeightType> {
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
pub(super) const fn kind(kind: u8, variant: u8, any: bool) -> Option<LayerKind> {
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
    /// [`format::variant`](super::format::variant).
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
