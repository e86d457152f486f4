//! One file a layer, each reading like its equations. All share one shape: blocks of four rows,
//! taken in order, each giving four pre-activations.

mod dense;
#[cfg(feature = "embedding")]
mod embedding;
#[cfg(feature = "gru")]
mod gru;
#[cfg(feature = "lstm")]
mod lstm;
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
    /// Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000.
    Lstm,
    /// Cho et al. 2014; `reset_after` is the form of cuDNN, PyTorch and Keras ≥ 2.
    Gru {
        /// The reset gate multiplies the recurrent product (else: the hidden state before it).
        reset_after: bool,
    },
    /// `y = table[token]`: the only layer whose input is an id. First of a model.
    Embedding,
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

    /// Row records: bias and multipliers, as the blob holds them; none of an embedding.
    pub const fn rows(&self) -> &'a [Row] {
        match self.rows.split_at_checked(self.row_count()) {
            Some((rows, _)) => rows,
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
        !matches!(self.kind, LayerKind::Dense(_) | LayerKind::Embedding)
    }

    /// Rows of the layer: `units` rounded up to whole blocks, times its gates.
    pub(crate) const fn row_count(&self) -> usize {
        padded(self.units)
            * match self.kind {
                LayerKind::Embedding => 0,
                LayerKind::Dense(_) | LayerKind::Rnn(_) => 1,
                LayerKind::Gru { reset_after: false } => 3,
                // With `reset_after` the candidate has two rows, one for each product.
                LayerKind::Lstm | LayerKind::Gru { reset_after: true } => 4,
            }
    }

    /// Bytes of the layer's packed weights. `None` if they would not fit 32 bits.
    pub(crate) const fn weight_bytes(&self) -> Option<usize> {
        let units = padded(self.units);
        let (gates, recurrent) = match self.kind {
            LayerKind::Embedding => return self.inputs.checked_mul(self.token_bytes()),
            LayerKind::Dense(_) => (1, 0),
            LayerKind::Rnn(_) => (1, units),
            LayerKind::Gru { .. } => (3, units),
            LayerKind::Lstm => (4, units),
        };
        // Widths are at most 2^15, so only the last product can overflow 32 bits.
        let block = self.tiles.bytes(padded(self.inputs)) + self.tiles.bytes(recurrent);
        (units / BLOCK * gates).checked_mul(block)
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
            LayerKind::Lstm | LayerKind::Gru { .. } => units + units / 2,
        }
    }

    /// Words of memory that the layer uses within a step only.
    pub(crate) const fn scratch_words(&self) -> usize {
        let units = padded(self.units);
        match self.kind {
            LayerKind::Dense(Activation::Softmax) => units,
            LayerKind::Dense(_) | LayerKind::Embedding => 0,
            LayerKind::Gru { reset_after: false } => units,
            _ => units / 2,
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
            LayerKind::Lstm => lstm::step(self, input, state, scratch),
            #[cfg(feature = "gru")]
            LayerKind::Gru { reset_after: true } => gru::step_after(self, input, state, scratch),
            #[cfg(feature = "gru")]
            LayerKind::Gru { reset_after: false } => gru::step_before(self, input, state, scratch),
            #[cfg(feature = "embedding")]
            LayerKind::Embedding => embedding::step(self, input, state),
            // The reader refused layers whose feature is off.
            #[cfg(not(all(
                feature = "rnn",
                feature = "lstm",
                feature = "gru",
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

    fn vectors<'v>(&self, x: &'v [i16], h: &'v [i16]) -> Vectors<'v> {
        Vectors::new(self.tiles, x, h)
    }

    fn blocks(&self) -> Blocks<'a> {
        Blocks::new(self.rows.as_chunks().0, self.weights)
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
