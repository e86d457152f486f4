//! Front-end, network and trigger, one behind the other.

use super::Frontend;
use crate::decode::trigger::{Event, Trigger};
use crate::error::Error;
use crate::model::Model;
use crate::stream::Stream;

/// From microphone samples to events, with all settings from the blob.
///
/// ```
/// # fn demo(model: gatelet::Model<'_>, microphone: &[i16]) -> Result<(), gatelet::Error> {
/// use gatelet::audio::Listener;
/// let mut memory = [0; 1024];                            // at least Listener::words(&model)
/// let mut listener = Listener::<11, 8>::new(model, &mut memory)?;
/// let mut pcm = microphone;                              // chunks of any length
/// while let Some(heard) = listener.next_frame(&mut pcm) {
///     if let Some(event) = heard.event {
///         println!("{:?}", model.labels().nth(event.output));
///     }
/// }
/// # Ok(()) }
/// ```
///
/// `OUTPUTS` and `WINDOW` are at least the model's outputs and the window of its trigger.
#[derive(Debug)]
pub struct Listener<'a, 'm, const OUTPUTS: usize, const WINDOW: usize> {
    frontend: Frontend<'a, 'm>,
    stream: Stream<'a, 'm>,
    trigger: Trigger<'a, OUTPUTS, WINDOW>,
}

/// What a [`Listener`] made of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard<'l> {
    /// Features of the frame.
    pub features: &'l [i16],
    /// Outputs of the network.
    pub outputs: &'l [i16],
    /// A keyword, if one was just heard.
    pub event: Option<Event>,
}

impl<'a, 'm, const OUTPUTS: usize, const WINDOW: usize> Listener<'a, 'm, OUTPUTS, WINDOW> {
    /// Words (`u32`) of memory that a listener to `model` needs.
    pub const fn words(model: &Model<'_>) -> usize {
        match model.audio() {
            Some(settings) => settings.words() + model.memory_words(),
            None => model.memory_words(),
        }
    }

    /// Starts listening.
    ///
    /// # Errors
    /// [`Error::Header`] with the field `audio` or `trigger` if the blob has no such settings;
    /// [`Error::Memory`] if `memory` is shorter than [`words`](Self::words); [`Error::Shape`] if
    /// `OUTPUTS` or `WINDOW` is too small.
    pub fn new(model: Model<'a>, memory: &'m mut [u32]) -> Result<Self, Error> {
        let settings = model.audio().ok_or(Error::Header { field: "audio" })?;
        let trigger = model.trigger().ok_or(Error::Header { field: "trigger" })?;
        let (needed, given) = (Self::words(&model), memory.len());
        let Some((front, back)) = memory.split_at_mut_checked(settings.words()) else {
            return Err(Error::Memory { needed, given });
        };
        let stream = Stream::new(model, back).map_err(|_| Error::Memory { needed, given })?;
        Ok(Self {
            frontend: Frontend::new(settings, front)?,
            stream,
            trigger: Trigger::new(trigger)?,
        })
    }

    /// Takes samples from the front of `pcm`, in chunks of any length, up to the end of the next
    /// frame, and says what was heard in it; `None` when `pcm` is used up.
    pub fn next_frame(&mut self, pcm: &mut &[i16]) -> Option<Heard<'_>> {
        let features = self.frontend.next_frame(pcm)?;
        // The blob's reader made sure that the features are the model's inputs.
        let outputs = self.stream.step(features).unwrap_or(&[]);
        let event = self.trigger.push(outputs);
        Some(Heard { features, outputs, event })
    }

    /// The front-end, for the features of the latest frame.
    pub fn frontend(&self) -> &Frontend<'a, 'm> {
        &self.frontend
    }

    /// The network, for what it remembers.
    pub fn stream(&self) -> &Stream<'a, 'm> {
        &self.stream
    }

    /// Forgets all that was heard.
    pub fn reset(&mut self) {
        self.frontend.reset();
        self.stream.reset();
        self.trigger.reset();
    }
}
