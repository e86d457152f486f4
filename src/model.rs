//! A model (what the blob says), a stream (what one sequence remembers), and the step.
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
use crate::fixed::{MEMORY_BITS, saturate_cell, saturate_i16};
use crate::layers::{Layer, LayerKind, Packing, padded, split, split_state};
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
        for x in x.chunks_exact(self.inputs().max(1)) {
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
    const fn layers_at(&self) -> usize {
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

/// One sequence being processed: a model and a caller's buffer.
///
/// ```
/// # fn demo(blob: &[u8]) -> Result<(), gatelet::Error> {
/// use gatelet::{Model, Stream};
/// let model = Model::from_bytes(blob)?;
/// let mut memory = [0; 256];
/// let mut stream = Stream::new(model, &mut memory)?;
/// let y = stream.step(&[0; 20])?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Stream<'a, 'm> {
    model: Model<'a>,
    memory: &'m mut [u32],
}

impl<'a, 'm> Stream<'a, 'm> {
    /// Starts a sequence with a zero state.
    ///
    /// # Errors
    /// [`Error::Memory`] if `memory` is shorter than [`Model::memory_words`].
    pub fn new(model: Model<'a>, memory: &'m mut [u32]) -> Result<Self, Error> {
        let needed = model.memory_words();
        let given = memory.len();
        let Some((memory, _)) = memory.split_at_mut_checked(needed) else {
            return Err(Error::Memory { needed, given });
        };
        memory.fill(0);
        Ok(Self { model, memory })
    }

    /// The model.
    pub fn model(&self) -> Model<'a> {
        self.model
    }

    /// One step: takes `inputs` features, returns `outputs` elements.
    ///
    /// A model with a layer that runs backwards starts over with every answer: it is cheaper to
    /// [`advance`](Self::advance) and ask for the [`output`](Self::output) once.
    ///
    /// # Errors
    /// [`Error::Shape`] if `x` has another length than [`Model::inputs`]; [`Error::Steps`] if it is
    /// one step more than [`Model::steps`].
    pub fn step(&mut self, x: &[i16]) -> Result<&[i16], Error> {
        self.advance(x)?;
        Ok(self.output())
    }

    /// One step of the recurrent layers alone; [`output`](Self::output) runs the rest when wanted.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn advance(&mut self, x: &[i16]) -> Result<(), Error> {
        expect(self.model.inputs(), x.len())?;
        self.expect_room(1)?;
        self.model.advance(self.memory, x);
        Ok(())
    }

    /// One step of the encoder of an encoder-decoder; [`hand_over`](Self::hand_over) ends them. What
    /// [`step`](Self::step) advances is the decoder.
    ///
    /// # Errors
    /// [`Error::Shape`] if `x` has another length than [`Model::inputs`]; [`Error::Encoder`] if the
    /// model has no encoder.
    pub fn encode(&mut self, x: &[i16]) -> Result<(), Error> {
        if self.model.encoder() == 0 {
            return Err(Error::Encoder);
        }
        expect(self.model.inputs(), x.len())?;
        self.model.encode(self.memory, x);
        Ok(())
    }

    /// Starts the decoder from the states in which the encoder is: of its recurrent layers, the first
    /// takes over from the encoder's first, the second from the second.
    pub fn hand_over(&mut self) {
        self.model.hand_over(self.memory);
    }

    /// The output at the current state.
    pub fn output(&mut self) -> &[i16] {
        self.model.output(self.memory)
    }

    /// The outputs of all steps so far, `[steps][outputs]`, of a model with a layer that runs
    /// backwards and answers at every step. Of any other model, [`output`](Self::output).
    pub fn outputs(&mut self) -> &[i16] {
        self.model.outputs_of(self.memory)
    }

    /// As [`outputs`](Self::outputs); `watch` sees every layer's number, the step, and its words.
    #[doc(hidden)]
    pub fn watch(&mut self, watch: impl FnMut(usize, usize, &[u32])) {
        self.model.passes(self.memory, watch);
    }

    /// Advances over a whole sequence, `[steps][inputs]`, and returns the output after the last.
    /// Going on from there gives the same bits as one longer sequence.
    ///
    /// # Errors
    /// [`Error::Shape`] if the length is not a multiple of [`Model::inputs`]; [`Error::Steps`] if
    /// the sequence becomes longer than [`Model::steps`]. Nothing was taken then.
    pub fn run(&mut self, sequence: &[i16]) -> Result<&[i16], Error> {
        let inputs = self.model.inputs().max(1);
        let steps = sequence.chunks_exact(inputs);
        expect(inputs, inputs + steps.remainder().len())?;
        self.expect_room(steps.len())?;
        for x in steps {
            self.model.advance(self.memory, x);
        }
        Ok(self.output())
    }

    /// Refuses more steps than there is room for.
    fn expect_room(&self, steps: usize) -> Result<(), Error> {
        let most = self.model.steps();
        if self.model.is_bidirectional() && steps > most - self.model.kept(self.memory) {
            return Err(Error::Steps { most });
        }
        Ok(())
    }

    /// Advances over a text of UTF-8, as [`Vocabulary::tokens`] takes it, and returns the output
    /// after the last token.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] if the model has none; [`Error::Steps`] if the text is longer than
    /// [`Model::steps`].
    pub fn read(&mut self, text: &[u8]) -> Result<&[i16], Error> {
        let vocabulary = self.model.vocabulary().ok_or(Error::Vocabulary)?;
        for token in vocabulary.tokens(text) {
            self.advance(&[token])?;
        }
        Ok(self.output())
    }

    /// Advances over what output is generated from: a text of UTF-8, without the token behind it. An
    /// encoder-decoder encodes it, with the tokens before and behind it, and starts the decoder.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn prompt(&mut self, text: &[u8]) -> Result<(), Error> {
        let vocabulary = self.model.vocabulary().ok_or(Error::Vocabulary)?;
        if self.model.encoder() > 0 {
            for token in vocabulary.tokens(text) {
                self.encode(&[token])?;
            }
            self.hand_over();
            return vocabulary.output_start().map_or(Ok(()), |start| self.advance(&[start]));
        }
        for token in vocabulary.start().into_iter().chain(vocabulary.encode(text)) {
            self.advance(&[token])?;
        }
        Ok(())
    }

    /// Generates a token: lets `pick` choose one by the current output and advances over it. `None`
    /// at the token that ends the output.
    ///
    /// ```
    /// # fn demo(stream: &mut gatelet::Stream<'_, '_>) -> Result<(), gatelet::Error> {
    /// use gatelet::decode::Sampler;
    /// let mut sampler = Sampler::new(stream.model().output_scale(), 0.7, 1);
    /// stream.prompt(b"To be, or not")?;
    /// while let Some(token) = stream.generate(|logits| sampler.pick(logits)) {
    ///     // Show the token; stop when there is enough.
    /// #   break;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn generate(&mut self, pick: impl FnOnce(&[i16]) -> i16) -> Option<i16> {
        let token = pick(self.output());
        if self.model.vocabulary().and_then(|vocabulary| vocabulary.output_end()) == Some(token) {
            return None;
        }
        self.model.advance(self.memory, &[token]);
        Some(token)
    }

    /// Back to the zero state.
    pub fn reset(&mut self) {
        self.memory.fill(0);
    }

    /// What the stream remembers. Save it, and [`restore`](Self::restore) goes on from here.
    pub fn state(&self) -> &[u32] {
        self.model.state_of(self.memory)
    }

    /// Puts a saved state back.
    ///
    /// # Errors
    /// [`Error::Shape`] if `state` is not as long as [`state`](Self::state).
    pub fn restore(&mut self, state: &[u32]) -> Result<(), Error> {
        self.model.restore(self.memory, state)
    }

    /// The latest output of the layer at `index`, in units of [`Layer::scale`]: the hidden state of
    /// a recurrent layer. Empty if there is no such layer.
    pub fn layer_output(&self, index: usize) -> &[i16] {
        match self.model.blob.layer(index) {
            Some(layer) => layer.output(self.layer_state(index)).get(..layer.units).unwrap_or(&[]),
            None => &[],
        }
    }

    /// The words of the layer at `index`: what it remembers, its output last.
    #[doc(hidden)]
    pub fn layer_state(&self, index: usize) -> &[u32] {
        let mut rest = self.memory.get(self.model.layers_at()..).unwrap_or(&[]);
        let mut at = 0;
        while let Some(layer) = self.model.blob.layer(at) {
            let (state, behind) = rest.split_at(layer.state_words().min(rest.len()));
            if at == index {
                return state;
            }
            rest = behind;
            at += 1;
        }
        &[]
    }

    /// Sets the state of the recurrent layer at `index`: `h` in Q0.15 (in units of
    /// [`Layer::scale`] for a ReLU layer), and for an LSTM `c` with 20 fractional bits.
    ///
    /// # Errors
    /// [`Error::Shape`] if `h` (or, for an LSTM, `c`) does not have the layer's units;
    /// [`Error::State`] if there is no such recurrent layer, or the model's layers start from zero
    /// in every pass over a whole sequence ([`Model::steps`] is not 0).
    pub fn set_state(&mut self, index: usize, h: &[i16], c: &[i32]) -> Result<(), Error> {
        if self.model.is_bidirectional() {
            return Err(Error::State { layer: index });
        }
        let mut rest = self.memory.get_mut(self.model.working_words()..).unwrap_or_default();
        let mut at = 0;
        while let Some(layer) = self.model.blob.layer(at) {
            let (state, behind) = split(rest, layer.state_words());
            if at == index && layer.is_recurrent() {
                expect(layer.units, h.len())?;
                if let LayerKind::Lstm { .. } = layer.kind {
                    expect(layer.cells(), c.len())?;
                }
                layer.set_state(state, h, c);
                return Ok(());
            }
            rest = behind;
            at += 1;
        }
        Err(Error::State { layer: index })
    }
}

impl Layer<'_> {
    fn set_state(&self, state: &mut [u32], h: &[i16], c: &[i32]) {
        let (memory, hidden) = split_state(state, self.units);
        for (own, h) in hidden.iter_mut().zip(h) {
            *own = saturate_i16(*h as i32);
        }
        match self.kind {
            LayerKind::Lstm { .. } => {
                for (own, c) in memory.iter_mut().zip(c) {
                    *own = saturate_cell(*c);
                }
            }
            _ => {
                for (own, h) in memory.iter_mut().zip(h) {
                    *own = (*h as i32) << (MEMORY_BITS - 15);
                }
            }
        }
    }
}

fn expect(expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Shape { expected, found }) }
}
