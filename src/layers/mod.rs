//! One file a layer, each reading like its equations. All share one shape: blocks of four rows,
//! taken in order, each giving four pre-activations.

mod dense;
#[cfg(feature = "embedding")]
mod embedding;
#[cfg(feature = "fast")]
mod fast;
#[cfg(feature = "gru")]
mod gru;
#[cfg(feature = "layer-norm")]
mod layer_norm;
#[cfg(feature = "lstm")]
mod lstm;
#[cfg(all(feature = "lstm", feature = "variants"))]
mod lstm_variants;
#[cfg(feature = "rnn")]
mod rnn;

use crate::activation::sigmoid;
use crate::blob::format::BLOCK;
use crate::fixed::{positive, round_shift, saturate_i16};
use crate::kernels::{self, Blocks, Row, Tiles, Vectors};

/// How 8-bit weights are laid out inside a block. Any packing gives the same result on every target;
/// each is fastest on the cores it is named for.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Packing {
    /// Tiles of 4 rows × 4 columns, row after row: RISC-V, the host.
    Plain = 0,
    /// Tiles of 4 × 4 in which a halfword holds two rows: cores with the Armv7E-M DSP extension.
    Dsp = 1,
    /// Tiles of 4 rows × 8 columns: Armv8.1-M with Helium.
    Helium = 2,
    /// Tiles of 4 × 4, column after column: Armv6-M, and Armv7-M without the extension.
    Columns = 3,
}

/// Number format of the weights.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum WeightType {
    /// 8 bits, one scale per row and matrix.
    Int8 = 1,
    /// 16 bits, one scale per row and matrix.
    Int16 = 2,
    /// 4 bits, one scale per row, matrix and group of 32 columns.
    Int4 = 3,
}

impl Tiles {
    pub(crate) const fn new(packing: Packing, weight_type: WeightType) -> Self {
        match (weight_type, packing) {
            (WeightType::Int8, Packing::Plain) => Self::Int8Plain,
            (WeightType::Int8, Packing::Dsp) => Self::Int8Dsp,
            (WeightType::Int8, Packing::Columns) => Self::Int8Columns,
            (WeightType::Int8, Packing::Helium) => Self::Int8Helium,
            (WeightType::Int16, _) => Self::Int16,
            (WeightType::Int4, _) => Self::Int4,
        }
    }
}

/// What a layer does after its matrix products.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Activation {
    /// `y = z`
    Linear,
    /// `y = max(0, z)`
    Relu,
    /// `y = 1/(1 + e^−z)`
    Sigmoid,
    /// `y = tanh(z)`
    Tanh,
    /// `y_i = e^z_i / Σ e^z_j`
    Softmax,
}

/// What a layer computes.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum LayerKind {
    /// `y = activation(W x + b)`
    Dense(Activation),
    /// Elman: `h' = activation(U x + W h + b)`, [`Activation::Tanh`] or [`Activation::Relu`].
    Rnn(Activation),
    /// Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000;
    /// [`LayerKind::LSTM`] is the plain one.
    Lstm {
        /// Gates are `clamp(z + 1/2, 0, 1)`, not sigmoids.
        hard_sigmoid: bool,
        /// The gates see the cell state (Gers & Schmidhuber 2000).
        peepholes: bool,
        /// What comes out, and back in, is a linear map of the hidden state (Sak et al. 2014;
        /// `proj_size` in PyTorch).
        projection: bool,
    },
    /// Cho et al. 2014; `reset_after` is the form of cuDNN, PyTorch and Keras ≥ 2.
    Gru {
        /// Gates are `clamp(z + 1/2, 0, 1)`, not sigmoids.
        hard_sigmoid: bool,
        /// The reset gate multiplies the recurrent product (else: the hidden state before it).
        reset_after: bool,
    },
    /// `y = table[token]`: the only layer whose input is an id. First of a model.
    Embedding,
    /// `y = γ·(x − mean)/√(variance + ε) + β` over the features of a step (Ba et al. 2016).
    LayerNorm,
    /// `h' = β·h + α·tanh(W x + U h + b)`, `U` of full or low rank (Kusupati et al. 2018).
    FastRnn,
    /// `h' = z·h + (ζ·(1 − z) + ν)·n`, one gate that shares `W x + U h` with the candidate
    /// (Kusupati et al. 2018).
    FastGrnn,
}

impl LayerKind {
    /// The LSTM as every framework has it by default.
    pub const LSTM: Self = Self::Lstm { hard_sigmoid: false, peepholes: false, projection: false };

    /// True for an LSTM or GRU that is not the plain one.
    pub const fn is_variant(self) -> bool {
        match self {
            Self::Lstm { hard_sigmoid, peepholes, projection } => {
                hard_sigmoid || peepholes || projection
            }
            Self::Gru { hard_sigmoid, .. } => hard_sigmoid,
            _ => false,
        }
    }

    /// Records at the start of the layer's `rows` that hold its parameters.
    const fn parameters(self) -> usize {
        match self {
            Self::Lstm { projection: true, .. }
            | Self::LayerNorm
            | Self::FastRnn
            | Self::FastGrnn => 2,
            _ => 0,
        }
    }
}

/// One layer of a model: its shape and its tensors, borrowed from the blob.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    pub(crate) kind: LayerKind,
    pub(crate) reverse: bool,
    pub(crate) beside: bool,
    pub(crate) tiles: Tiles,
    pub(crate) shift: u8,
    pub(crate) inputs: usize,
    pub(crate) units: usize,
    pub(crate) scale: f32,
    pub(crate) rows: &'a [Row],
    pub(crate) weights: &'a [u8],
}

/// Records that hold the peepholes of four cells.
const PEEPHOLE_RECORDS: usize = 3;

/// Elements rounded up to whole blocks.
pub(crate) const fn padded(n: usize) -> usize {
    n.div_ceil(BLOCK) * BLOCK
}

impl<'a> Layer<'a> {
    /// What the layer computes.
    pub const fn kind(&self) -> LayerKind {
        self.kind
    }

    /// True if the layer runs from the sequence's last step to its first.
    pub const fn is_reverse(&self) -> bool {
        self.reverse
    }

    /// True if the layer takes the same input as the one before it, and its output follows that
    /// one's: the two directions of a bidirectional layer.
    pub const fn is_beside(&self) -> bool {
        self.beside
    }

    /// Number format of the weights.
    pub const fn weight_type(&self) -> WeightType {
        match self.tiles {
            Tiles::Int16 => WeightType::Int16,
            Tiles::Int4 => WeightType::Int4,
            _ => WeightType::Int8,
        }
    }

    /// Elements of the layer's input; of an embedding, the tokens it knows.
    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    /// Units: elements of the output, and of the hidden state if there is one.
    pub const fn units(&self) -> usize {
        self.units
    }

    /// Value of one unit of the `i16` output.
    pub const fn scale(&self) -> f32 {
        self.scale
    }

    /// Elements of the layer's input at a step: [`inputs`](Self::inputs), but one token's id for an
    /// embedding.
    pub const fn width(&self) -> usize {
        if matches!(self.kind, LayerKind::Embedding) { 1 } else { self.inputs }
    }

    /// Elements of the memory from step to step: the units, but for an LSTM with a projection.
    pub const fn cells(&self) -> usize {
        match self.kind {
            LayerKind::Lstm { projection: true, .. } if cfg!(feature = "variants") => {
                self.inner_size()
            }
            _ => self.units,
        }
    }

    /// Rank of the recurrent matrix of a FastRNN or FastGRNN; 0 if it is full, and for other kinds.
    pub const fn rank(&self) -> usize {
        match self.kind {
            LayerKind::FastRnn | LayerKind::FastGrnn if cfg!(feature = "fast") => self.inner_size(),
            _ => 0,
        }
    }

    /// Row records: bias and multipliers, as the blob holds them; none of an embedding.
    pub const fn rows(&self) -> &'a [Row] {
        let rows = self.records_from(self.kind.parameters());
        match rows.split_at_checked(self.row_count()) {
            Some((rows, _)) => rows,
            None => rows,
        }
    }

    /// All records of the blob's `rows` section: parameters, rows, what the kind has behind them.
    pub const fn records(&self) -> &'a [Row] {
        match self.rows.split_at_checked(self.record_count()) {
            Some((records, _)) => records,
            None => self.rows,
        }
    }

    /// Packed weights.
    pub const fn weights(&self) -> &'a [u8] {
        match self.weight_bytes() {
            Some(bytes) if bytes <= self.weights.len() => self.weights.split_at(bytes).0,
            _ => self.weights,
        }
    }

    /// True if the layer carries a state from step to step.
    pub const fn is_recurrent(&self) -> bool {
        !matches!(self.kind, LayerKind::Dense(_) | LayerKind::Embedding | LayerKind::LayerNorm)
    }

    /// The layer's parameters: 16 bytes that only some kinds have.
    pub(crate) const fn parameters(&self) -> [Row; 2] {
        match self.rows.first_chunk() {
            Some(parameters) => *parameters,
            None => [[0; 8]; 2],
        }
    }

    /// The records of the `rows` section from one on.
    const fn records_from(&self, record: usize) -> &'a [Row] {
        match self.rows.split_at_checked(record) {
            Some((_, rows)) => rows,
            None => &[],
        }
    }

    /// The parameter that is a size: cells of an LSTM with a projection, rank of the recurrent matrix
    /// of a FastRNN or FastGRNN (0: full).
    pub(crate) const fn inner_size(&self) -> usize {
        let [_, [low, high, ..]] = self.parameters();
        u16::from_le_bytes([low, high]) as usize
    }

    /// Elements of the vector that the layer's inner product takes, if it has one: hidden states that a
    /// projection or a recurrent factor is multiplied with.
    pub(crate) const fn inner_width(&self) -> usize {
        match self.kind {
            LayerKind::Lstm { projection: true, .. } => self.cells(),
            _ if self.rank() > 0 => self.units,
            _ => 0,
        }
    }

    /// Records of the `rows` section: parameters, rows, and what the kind has behind them.
    pub(crate) const fn record_count(&self) -> usize {
        let behind = match self.kind {
            LayerKind::Lstm { peepholes: true, .. } => {
                padded(self.cells()) / BLOCK * PEEPHOLE_RECORDS
            }
            // An i32 a unit.
            LayerKind::FastGrnn => padded(self.units) / 2,
            _ => 0,
        };
        self.kind.parameters() + self.row_count() + behind
    }

    /// Rows of the layer: its cells rounded up to whole blocks, times its gates, and the rows of a
    /// projection or a recurrent factor.
    pub(crate) const fn row_count(&self) -> usize {
        let cells = padded(self.cells());
        match self.kind {
            LayerKind::Embedding => 0,
            LayerKind::Dense(_) | LayerKind::Rnn(_) | LayerKind::LayerNorm => cells,
            LayerKind::FastRnn | LayerKind::FastGrnn => cells + padded(self.rank()),
            LayerKind::Gru { reset_after: false, .. } => 3 * cells,
            LayerKind::Lstm { projection: true, .. } => 4 * cells + padded(self.units),
            // With `reset_after` the candidate has two rows, one for each product.
            LayerKind::Lstm { .. } | LayerKind::Gru { .. } => 4 * cells,
        }
    }

    /// Bytes of the layer's packed weights. `None` if they would not fit 32 bits.
    pub(crate) const fn weight_bytes(&self) -> Option<usize> {
        let (units, cells) = (padded(self.units), padded(self.cells()));
        let (gates, recurrent) = match self.kind {
            LayerKind::Embedding => return self.inputs.checked_mul(self.token_bytes()),
            LayerKind::Dense(_) => (1, 0),
            LayerKind::LayerNorm => return Some(0),
            LayerKind::Rnn(_) => (1, units),
            LayerKind::FastRnn | LayerKind::FastGrnn => match self.rank() {
                0 => (1, units),
                rank => (1, padded(rank)),
            },
            LayerKind::Gru { .. } => (3, units),
            LayerKind::Lstm { .. } => (4, units),
        };
        // Widths are at most 2^15, so only the last product and sum can overflow 32 bits.
        let block = self.tiles.bytes(padded(self.inputs)) + self.tiles.bytes(recurrent);
        let bytes = (cells / BLOCK * gates).checked_mul(block);
        match (self.kind, bytes) {
            (LayerKind::Lstm { projection: true, .. }, Some(bytes)) => {
                bytes.checked_add(units / BLOCK * self.tiles.bytes(cells))
            }
            (LayerKind::FastRnn | LayerKind::FastGrnn, Some(bytes)) => {
                bytes.checked_add(padded(self.rank()) / BLOCK * self.tiles.bytes(units))
            }
            (_, bytes) => bytes,
        }
    }

    /// Bytes of a token's record in an embedding's table: multiplier `i16`, then the weights.
    pub(crate) const fn token_bytes(&self) -> usize {
        2 + match self.weight_type() {
            WeightType::Int8 => self.units,
            WeightType::Int16 => 2 * self.units,
            WeightType::Int4 => self.units.div_ceil(2),
        }
    }

    /// Words of memory that hold the layer's output and what it remembers.
    pub(crate) const fn state_words(&self) -> usize {
        let units = padded(self.units);
        match self.kind {
            LayerKind::Dense(_) | LayerKind::Rnn(_) | LayerKind::Embedding => units / 2,
            LayerKind::LayerNorm => units / 2,
            LayerKind::Lstm { .. }
            | LayerKind::Gru { .. }
            | LayerKind::FastRnn
            | LayerKind::FastGrnn => padded(self.cells()) + units / 2,
        }
    }

    /// Words of memory that the layer uses within a step only.
    pub(crate) const fn scratch_words(&self) -> usize {
        let units = padded(self.units);
        match self.kind {
            LayerKind::Dense(Activation::Softmax) => units,
            LayerKind::Dense(_) | LayerKind::Embedding | LayerKind::LayerNorm => 0,
            LayerKind::FastRnn | LayerKind::FastGrnn => padded(self.rank()) / 2,
            LayerKind::Gru { reset_after: false, .. } => units,
            LayerKind::Lstm { .. } => padded(self.cells()) / 2,
            LayerKind::Rnn(_) | LayerKind::Gru { .. } => units / 2,
        }
    }

    /// Advances by one step. `input` is padded to whole blocks; `state` and `scratch` have the
    /// sizes above. The output lies in `state`.
    pub(crate) fn step(&self, input: &[i16], state: &mut [u32], scratch: &mut [u32]) {
        match self.kind {
            LayerKind::Dense(activation) => dense::step(self, activation, input, state, scratch),
            #[cfg(feature = "rnn")]
            LayerKind::Rnn(activation) => rnn::step(self, activation, input, state, scratch),
            #[cfg(feature = "lstm")]
            LayerKind::LSTM => lstm::step(self, input, state, scratch),
            #[cfg(all(feature = "lstm", feature = "variants"))]
            LayerKind::Lstm { hard_sigmoid, .. } => {
                lstm_variants::step(self, hard_sigmoid, input, state, scratch);
            }
            #[cfg(feature = "gru")]
            LayerKind::Gru { hard_sigmoid: false, reset_after } => {
                gru::step::<false>(self, reset_after, input, state, scratch);
            }
            #[cfg(all(feature = "gru", feature = "variants"))]
            LayerKind::Gru { hard_sigmoid: true, reset_after } => {
                gru::step::<true>(self, reset_after, input, state, scratch);
            }
            #[cfg(feature = "layer-norm")]
            LayerKind::LayerNorm => layer_norm::step(self, input, state),
            #[cfg(feature = "fast")]
            LayerKind::FastRnn => fast::step_rnn(self, input, state, scratch),
            #[cfg(feature = "fast")]
            LayerKind::FastGrnn => fast::step_grnn(self, input, state, scratch),
            #[cfg(feature = "embedding")]
            LayerKind::Embedding => embedding::step(self, input, state),
            // The reader refused layers whose feature is off.
            #[cfg(not(all(
                feature = "rnn",
                feature = "lstm",
                feature = "gru",
                feature = "variants",
                feature = "layer-norm",
                feature = "fast",
                feature = "embedding"
            )))]
            _ => {}
        }
    }

    /// The output of the latest step, padded to whole blocks.
    pub(crate) fn output<'m>(&self, state: &'m [u32]) -> &'m [i16] {
        let halves = padded(self.units) / 2;
        let (_, output) = state.split_at(state.len().saturating_sub(halves));
        bytemuck::cast_slice(output)
    }

    /// Out of line: code that all layers share.
    #[inline(never)]
    fn vectors<'v>(&self, x: &'v [i16], h: &'v [i16]) -> Vectors<'v> {
        Vectors::new(self.tiles, x, h)
    }

    fn blocks(&self) -> Blocks<'a> {
        Blocks::new(self.rows.as_chunks().0, self.weights)
    }

    /// The blocks of a kind that may have parameters before them.
    #[cfg(any(all(feature = "lstm", feature = "variants"), feature = "fast"))]
    fn blocks_behind_parameters(&self) -> Blocks<'a> {
        let rows = self.records_from(self.kind.parameters());
        Blocks::new(rows.as_chunks().0, self.weights)
    }

    /// The two factors of a FastRNN or FastGRNN.
    #[cfg(feature = "fast")]
    fn factors(&self) -> (i32, u32) {
        let [[a, b, c, d, e, f, g, h], _] = self.parameters();
        (i32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
    }

    /// The records behind the rows.
    #[cfg(any(all(feature = "lstm", feature = "variants"), feature = "fast"))]
    fn behind_rows(&self) -> &'a [Row] {
        self.records_from(self.kind.parameters() + self.row_count())
    }
}

impl Blocks<'_> {
    /// All of the layer's pre-activations, in order.
    fn logits(&mut self, v: &Vectors<'_>, z: &mut [[i32; BLOCK]]) {
        z.chunks_mut(4).for_each(|z| self.next(v, z));
    }

    /// Outputs of a layer that has nothing but an activation behind its products.
    #[inline(never)]
    fn outputs(
        &mut self,
        layer: &Layer<'_>,
        activation: Activation,
        v: &Vectors<'_>,
        y: &mut [[i16; BLOCK]],
    ) {
        let mut z: [[i32; BLOCK]; 4] = bytemuck::Zeroable::zeroed();
        for y in y.chunks_mut(z.len()) {
            let z = &mut z[..y.len()];
            self.next(v, z);
            match activation {
                Activation::Sigmoid => map(z, y, |z| round_shift(sigmoid(z), 1)),
                Activation::Tanh => kernels::tanh(z, y),
                Activation::Relu => map(z, y, |z| round_shift(positive(z), layer.shift as u32)),
                Activation::Linear | Activation::Softmax => {
                    map(z, y, |z| round_shift(z, layer.shift as u32));
                }
            }
        }
    }
}

fn map(z: &[[i32; BLOCK]], y: &mut [[i16; BLOCK]], f: impl Fn(i32) -> i32) {
    for (y, z) in y.as_flattened_mut().iter_mut().zip(z.as_flattened()) {
        *y = saturate_i16(f(*z));
    }
}

/// `split_at_mut` that cannot panic: a short slice leaves the second part empty.
pub(crate) fn split(words: &mut [u32], at: usize) -> (&mut [u32], &mut [u32]) {
    words.split_at_mut(at.min(words.len()))
}

/// Splits a layer's state into 32-bit memory and the `i16` output.
pub(crate) fn split_state(state: &mut [u32], units: usize) -> (&mut [i32], &mut [i16]) {
    let (memory, output) = state.split_at_mut(state.len().saturating_sub(padded(units) / 2));
    (bytemuck::cast_slice_mut(memory), bytemuck::cast_slice_mut(output))
}

/// Copies the new hidden state over the old one once no row needs the old one any more.
fn commit(h: &mut [i16], h_new: &[i16]) {
    for (h, new) in h.iter_mut().zip(h_new) {
        *h = *new;
    }
}
