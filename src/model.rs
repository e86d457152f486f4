//! A model (what the blob says), and the step on a [`Stream`]'s memory.
//!
//! Memory of a stream, in words: the padded input, the scratch of the hungriest layer, then each
//! layer's state in order. Input and scratch are rewritten at every step; the rest *is* the state.
//! A model with a layer that runs backwards keeps the steps of a sequence instead of the input of
//! one, see `passes`.

#[cfg(feature = "forecast")]
use crate::blob::format::anomaly;
#[cfg(any(feature = "forecast", feature = "trigger"))]
use crate::blob::format::extra;
use crate::blob::{Blob, format::header, mean_and_step};
use crate::error::Error;
use crate::fixed::{saturate_cell, saturate_i16};
use crate::layers::{Layer, LayerKind, Packing, padded, split, split_state};
use crate::stream::Stream;
use crate::text::Vocabulary;

const CRC: crc::Algorithm<u32> = crc::CRC_32_ISO_HDLC;

/// A validated model. A few words that borrow the blob: copy it freely, run any number of
/// [`Stream`]s on it.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    blob: Blob<'a>,
    // What every step needs to know of all layers, so that it reads each layer's record once.
    inputs: usize,
    outputs: usize,
    /// Layers of the encoder of an encoder-decoder, else 0.
    encoder: usize,
    /// Layers up to the last recurrent one; those behind it are the head.
    pub(crate) body: usize,
    pub(crate) scratch_words: usize,
    /// Words of the rows that passes over a sequence leave to each other.
    region_words: usize,
}

impl<'a> Model<'a> {
    /// Reads a blob that arrived at run time, say over the air.
    ///
    /// Everything is checked here, once; no later call can fail because of the blob.
    ///
    /// # Errors
    /// [`Error`] names the field that is wrong; [`Error::Alignment`] if `bytes` does not start at a
    /// multiple of 16.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, Error> {
        if !bytes.as_ptr().addr().is_multiple_of(crate::blob::format::ALIGNMENT) {
            return Err(Error::Alignment);
        }
        // Without a table: 8 shifts a byte instead of 1 KB of flash, once per boot.
        let crc = crc::Crc::<u32, crc::NoTable>::new(&CRC).checksum(Blob::covered(bytes));
        match Blob::new(bytes, crc) {
            Ok(blob) => Ok(Self::new(blob)),
            Err(error) => Err(error),
        }
    }

    /// Reads an embedded blob at compile time. [`include_model!`](crate::include_model) calls it.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes), without [`Error::Alignment`]: the type guarantees it.
    pub const fn from_aligned<const N: usize>(
        bytes: &'a crate::blob::Aligned<[u8; N]>,
    ) -> Result<Self, Error> {
        let bytes: &[u8] = &bytes.0;
        let crc = crc::Crc::<u32>::new(&CRC).checksum(Blob::covered(bytes));
        match Blob::new(bytes, crc) {
            Ok(blob) => Ok(Self::new(blob)),
            Err(error) => Err(error),
        }
    }

    /// Reads a blob as [`from_bytes`](Self::from_bytes) does, and takes it only if the owner of
    /// `public_key` signed it, as `least_version` or a later version.
    ///
    /// The key is an Ed25519 public key, as `gatelet keygen` writes it: `include_bytes!` makes it part
    /// of the firmware.
    ///
    /// # Errors
    /// Those of [`from_bytes`](Self::from_bytes); [`Error::Unsigned`], [`Error::Signature`],
    /// [`Error::Downgrade`]; [`Error::Key`] if the key is none.
    #[cfg(feature = "sign")]
    pub fn from_signed_bytes(
        bytes: &'a [u8],
        public_key: &[u8; 32],
        least_version: u32,
    ) -> Result<Self, Error> {
        let model = Self::from_bytes(bytes)?;
        let signature = model.blob.signature().ok_or(Error::Unsigned)?;
        signature.verify(public_key, least_version)?;
        Ok(model)
    }

    const fn new(blob: Blob<'a>) -> Self {
        let mut model = Self {
            blob,
            inputs: 0,
            outputs: 0,
            encoder: blob.encoder(),
            body: 0,
            scratch_words: 0,
            region_words: 0,
        };
        let mut index = 0;
        while let Some(layer) = blob.layer(index) {
            index += 1;
            if index == 1 {
                model.inputs = layer.width();
            }
            model.outputs = if layer.beside { model.outputs } else { 0 } + layer.units;
            if layer.is_recurrent() {
                model.body = index;
            }
            if layer.scratch_words() > model.scratch_words {
                model.scratch_words = layer.scratch_words();
            }
        }
        if model.is_bidirectional() {
            model.region_words = model.region_words();
        }
        model
    }

    /// True if a layer runs backwards or beside another, so that passes over a sequence are needed.
    pub(crate) const fn is_bidirectional(&self) -> bool {
        cfg!(feature = "bidirectional") && self.steps() > 0
    }

    /// Features a step; 1, a token's id, if the first layer is an embedding.
    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    /// Elements of the output.
    pub const fn outputs(&self) -> usize {
        self.outputs
    }

    /// Layers of the encoder, from the first on; 0 if the model is no encoder-decoder.
    pub const fn encoder(&self) -> usize {
        self.encoder
    }

    /// Number of layers.
    pub const fn depth(&self) -> usize {
        self.blob.depth()
    }

    /// The layer at `index`, from the input on.
    pub const fn layer(&self, index: usize) -> Option<Layer<'a>> {
        self.blob.layer(index)
    }

    /// How the weights are laid out.
    pub const fn packing(&self) -> Packing {
        match self.blob.packing() {
            Some(packing) => packing,
            None => Packing::Plain,
        }
    }

    /// True if the model answers once, after the last step; false if at every step.
    pub const fn answers_last(&self) -> bool {
        self.blob.answers_last()
    }

    /// Most steps of a sequence, for a model with a layer that runs backwards: it keeps them, and its
    /// answer is about all of them. 0 for any other model, which takes sequences without end.
    pub const fn steps(&self) -> usize {
        self.blob.steps()
    }

    /// True if a model that answers once does so with the output *at* the last step, where a layer
    /// that runs backwards has seen no other step; else with its final state, which has seen all.
    pub const fn answers_at_last(&self) -> bool {
        self.blob.answers_at_last()
    }

    /// Value of one unit of the last layer's output. What the outputs mean says
    /// [`output_scaling`](Self::output_scaling).
    pub const fn output_scale(&self) -> f32 {
        self.blob.output_scale()
    }

    /// Mean and step of the feature at `index`: `x_q = round((x − mean) / step)`.
    pub fn normalization(&self, index: usize) -> Option<(f32, f32)> {
        self.blob.normalization()?.get(index).map(mean_and_step)
    }

    /// Mean and step of the output at `index`: `y = mean + raw × step`. Mean 0 and step
    /// [`output_scale`](Self::output_scale) where the blob does not scale outputs.
    pub fn output_scaling(&self, index: usize) -> Option<(f32, f32)> {
        match self.blob.output_scaling() {
            Some(records) => records.get(index).map(mean_and_step),
            None => (index < self.outputs).then_some((0.0, self.output_scale())),
        }
    }

    /// When to raise the alarm, and the usual residual of every output, if the blob says so: what
    /// [`Detector::with`](crate::decode::Detector::with) takes.
    #[cfg(feature = "forecast")]
    pub fn anomaly(
        &self,
    ) -> Option<(crate::decode::anomaly::Settings, impl ExactSizeIterator<Item = u32>)> {
        let section = self.blob.extra(extra::ANOMALY)?;
        let (head, scales) = section.split_first_chunk::<{ anomaly::SCALES }>()?;
        let [t0, t1, w0, w1, rate, raise, clear, _] = *head;
        let settings = crate::decode::anomaly::Settings {
            threshold: u16::from_le_bytes([t0, t1]),
            warmup: u16::from_le_bytes([w0, w1]),
            rate,
            raise,
            clear,
        };
        Some((settings, scales.as_chunks().0.iter().map(|scale| u32::from_le_bytes(*scale))))
    }

    /// Names of the outputs, in order; none if the blob has no labels.
    pub fn labels(&self) -> impl Iterator<Item = &'a str> {
        self.blob.text(header::LABELS).unwrap_or("").lines()
    }

    /// Tokens that the model knows; 0 if it takes features.
    pub const fn tokens(&self) -> usize {
        match self.blob.layer(0) {
            Some(first) if matches!(first.kind, LayerKind::Embedding) => first.inputs,
            _ => 0,
        }
    }

    /// Which character is which token, if the blob says.
    pub const fn vocabulary(&self) -> Option<Vocabulary<'a>> {
        self.blob.vocabulary()
    }

    /// Provenance as the tool wrote it: lines of `key: value`.
    pub fn metadata(&self) -> &'a str {
        self.blob.text(header::METADATA).unwrap_or("")
    }

    /// The version that the blob was signed as; `None` if it is not signed. Only
    /// `from_signed_bytes` (feature `sign`) verifies it.
    pub const fn version(&self) -> Option<u32> {
        match self.blob.signature() {
            Some(signature) => Some(signature.version),
            None => None,
        }
    }

    /// Settings of the audio front-end, whose features are the model's input as they are; none if
    /// the model does not hear.
    #[cfg(feature = "audio")]
    pub const fn audio(&self) -> Option<crate::audio::Settings<'a>> {
        let Some(section) = self.blob.extra(extra::AUDIO) else { return None };
        match crate::audio::Settings::from_bytes(section) {
            Ok(settings) => Some(settings),
            Err(_) => None,
        }
    }

    /// Settings of the keyword trigger; none if the model spots no keywords.
    #[cfg(feature = "trigger")]
    pub const fn trigger(&self) -> Option<crate::decode::trigger::Settings<'a>> {
        let Some(section) = self.blob.extra(extra::TRIGGER) else { return None };
        match crate::decode::trigger::Settings::from_bytes(section) {
            Ok(settings) => Some(settings),
            Err(_) => None,
        }
    }

    /// Turns measurements into the model's input: `round_ties_even((x − mean) / step)`, saturated
    /// to ±32767. Float, but the same bits everywhere: IEEE single precision.
    pub fn quantize(&self, features: &[f32], input: &mut [i16]) {
        /// 1.5·2^23, at which the last bit of a float is 1: adding it rounds to an integer.
        const ROUND: f32 = 12_582_912.0;
        let records = self.blob.normalization().unwrap_or(&[]);
        for ((q, x), record) in input.iter_mut().zip(features).zip(records) {
            let (mean, step) = mean_and_step(record);
            let scaled = ((*x - mean) / step).clamp(-32767.0, 32767.0);
            // NaN becomes 0, as `as` defines it.
            *q = ((scaled + ROUND) - ROUND) as i16;
        }
    }

    /// Turns outputs into what they mean, `mean + raw × step`: what the network was trained to say,
    /// in the units it was trained on. Float, but the same bits everywhere.
    pub fn dequantize(&self, output: &[i16], values: &mut [f32]) {
        for (index, (value, raw)) in values.iter_mut().zip(output).enumerate() {
            if let Some((mean, step)) = self.output_scaling(index) {
                *value = mean + f32::from(*raw) * step;
            }
        }
    }

    /// Runs the known input that the blob carries, if it does, and compares the output. Whether this
    /// blob, on this core, out of this flash, computes what the tool computed.
    ///
    /// # Errors
    /// [`Error::SelfTest`] if the output differs; [`Error::Memory`] if `memory` is shorter than
    /// [`memory_words`](Self::memory_words).
    pub fn self_test(&self, memory: &mut [u32]) -> Result<(), Error> {
        let Some((x, y)) = self.blob.self_test() else { return Ok(()) };
        let mut stream = Stream::new(*self, memory)?;
        let steps = x.chunks_exact(self.inputs().max(1));
        if self.encoder > 0 {
            for x in steps.clone() {
                self.lay(stream.memory, x.iter().map(|x| i16::from_le_bytes(*x)));
                self.walk(stream.memory, 0, self.encoder);
            }
            stream.hand_over();
        }
        for x in steps {
            self.take(stream.memory, x.iter().map(|x| i16::from_le_bytes(*x)));
        }
        let known = y.iter().map(|y| i16::from_le_bytes(*y));
        if stream.output().iter().copied().eq(known) { Ok(()) } else { Err(Error::SelfTest) }
    }

    /// Words (`u32`) of memory that a [`Stream`] needs.
    pub const fn memory_words(&self) -> usize {
        let mut words = self.layers_at();
        let mut index = 0;
        while let Some(layer) = self.blob.layer(index) {
            words = words.saturating_add(layer.state_words());
            index += 1;
        }
        words
    }

    /// Words at the start of the memory that are rewritten at every step.
    pub(crate) const fn working_words(&self) -> usize {
        self.scratch_words
            + if self.is_bidirectional() { self.region_words } else { padded(self.inputs) / 2 }
    }

    /// Words before those of the first layer's state.
    pub(crate) const fn layers_at(&self) -> usize {
        self.working_words() + if self.is_bidirectional() { self.kept_words() } else { 0 }
    }

    /// The part of a stream's memory that is its state.
    #[doc(hidden)]
    pub fn state_of<'m>(&self, memory: &'m [u32]) -> &'m [u32] {
        memory.get(self.working_words()..).unwrap_or(&[])
    }

    /// See [`Stream::restore`].
    #[doc(hidden)]
    pub fn restore(&self, memory: &mut [u32], state: &[u32]) -> Result<(), Error> {
        let own = memory.get_mut(self.working_words()..).unwrap_or_default();
        expect(own.len(), state.len())?;
        for (own, saved) in own.iter_mut().zip(state) {
            *own = *saved;
        }
        // A state from elsewhere may hold anything; kernels count on what a step leaves.
        let (mut rest, mut index) = (memory.get_mut(self.layers_at()..).unwrap_or_default(), 0);
        while let Some(layer) = self.blob.layer(index) {
            let (state, behind) = split(rest, layer.state_words());
            let (cells, hidden) = split_state(state, layer.units);
            for cell in cells {
                *cell = saturate_cell(*cell);
            }
            for h in hidden {
                *h = saturate_i16(*h as i32);
            }
            rest = behind;
            index += 1;
        }
        Ok(())
    }

    /// A stream that goes on with what `memory` holds.
    #[doc(hidden)]
    pub fn resume<'m>(self, memory: &'m mut [u32]) -> Stream<'a, 'm> {
        Stream { model: self, memory }
    }

    /// Takes `x` and advances the layers of the body by one step, or keeps it for the passes.
    #[doc(hidden)]
    pub fn advance(&self, memory: &mut [u32], x: &[i16]) {
        self.take(memory, x.iter().copied());
    }

    #[inline(always)]
    fn take(&self, memory: &mut [u32], x: impl Iterator<Item = i16>) {
        if self.is_bidirectional() {
            return self.keep(memory, x);
        }
        self.lay(memory, x);
        self.walk(memory, self.encoder, self.body);
    }

    /// Takes `x` and advances the layers of the encoder by one step.
    #[doc(hidden)]
    pub fn encode(&self, memory: &mut [u32], x: &[i16]) {
        self.lay(memory, x.iter().copied());
        self.walk(memory, 0, self.encoder);
    }

    /// Copies the states of the encoder's recurrent layers over those of the decoder's.
    #[doc(hidden)]
    pub fn hand_over(&self, memory: &mut [u32]) {
        let words = |index: usize| -> usize {
            let before = (0..index).filter_map(|index| self.blob.layer(index));
            self.layers_at() + before.map(|layer| layer.state_words()).sum::<usize>()
        };
        let (mut from, mut to) = (0, self.encoder);
        loop {
            (from, to) = (self.blob.next_recurrent(from), self.blob.next_recurrent(to));
            let Some(layer) = self.blob.layer(from) else { break };
            if from >= self.encoder {
                break;
            }
            let (front, back) = split(memory, words(to));
            let states = front.get(words(from)..).unwrap_or(&[]);
            for (own, encoded) in back.iter_mut().zip(states).take(layer.state_words()) {
                *own = *encoded;
            }
            (from, to) = (from + 1, to + 1);
        }
    }

    /// Lays `x` where the first layer reads it.
    #[inline(always)]
    fn lay(&self, memory: &mut [u32], x: impl Iterator<Item = i16>) {
        let halves: &mut [i16] = bytemuck::cast_slice_mut(memory);
        for (input, x) in halves.iter_mut().zip(x.take(self.inputs())) {
            *input = x;
        }
    }

    /// Runs the head on the current state, or all passes, and returns the output.
    #[doc(hidden)]
    pub fn output<'m>(&self, memory: &'m mut [u32]) -> &'m [i16] {
        if self.is_bidirectional() {
            let answers = self.passes(memory, |_, _, _| {});
            return answers.get(answers.len().saturating_sub(self.outputs)..).unwrap_or(&[]);
        }
        self.walk(memory, self.body, self.depth());
        // It ends the last layer's state, which ends the memory.
        let at = memory.len().saturating_sub(padded(self.outputs) / 2);
        let output: &[i16] = bytemuck::cast_slice(memory.split_at(at).1);
        output.get(..self.outputs).unwrap_or(&[])
    }

    /// As [`output`](Self::output), but of every step where there is an answer to each.
    #[doc(hidden)]
    pub fn outputs_of<'m>(&self, memory: &'m mut [u32]) -> &'m [i16] {
        match self.is_bidirectional() {
            true => self.passes(memory, |_, _, _| {}),
            false => self.output(memory),
        }
    }

    /// Computes the layers in `first..end`, each on the output of the one before.
    #[inline(never)]
    fn walk(&self, memory: &mut [u32], first: usize, end: usize) {
        let (x, rest) = split(memory, padded(self.inputs) / 2);
        let (scratch, mut rest) = split(rest, self.scratch_words);
        let x: &[i16] = bytemuck::cast_slice(x);
        let mut input = x;
        let mut index = if first < end { 0 } else { end };
        while index < end
            && let Some(layer) = &self.blob.layer(index)
        {
            let (state, behind) = split(rest, layer.state_words());
            rest = behind;
            if index == self.encoder {
                input = x;
            }
            if index >= first {
                let (scratch, _) = split(scratch, layer.scratch_words());
                layer.step(input, state, scratch);
            }
            input = layer.output(state);
            index += 1;
        }
    }
}

pub(crate) fn expect(expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Shape { expected, found }) }
}
