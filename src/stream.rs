//! A stream: one sequence being processed, and what it remembers.

use crate::error::Error;
use crate::fixed::{MEMORY_BITS, saturate_cell, saturate_i16};
use crate::layers::{Layer, LayerKind, split, split_state};
use crate::model::{Model, expect};

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
    pub(crate) model: Model<'a>,
    pub(crate) memory: &'m mut [u32],
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

    /// Advances over a text of UTF-8, as [`Vocabulary::tokens`](crate::Vocabulary::tokens) takes it,
    /// and returns the output after the last token.
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
        match self.model.layer(index) {
            Some(layer) => layer.output(self.layer_state(index)).get(..layer.units).unwrap_or(&[]),
            None => &[],
        }
    }

    /// The words of the layer at `index`: what it remembers, its output last.
    #[doc(hidden)]
    pub fn layer_state(&self, index: usize) -> &[u32] {
        let mut rest = self.memory.get(self.model.layers_at()..).unwrap_or(&[]);
        let mut at = 0;
        while let Some(layer) = self.model.layer(at) {
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
        while let Some(layer) = self.model.layer(at) {
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
