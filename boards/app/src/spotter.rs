//! Hears keywords: sound in, a line on the log and a lit LED out.

use embedded_hal::digital::OutputPin;
use embedded_io::{Error as _, ErrorKind, Read, ReadExactError, Write};
use gatelet::audio::Listener;
use gatelet::{Error, Model};

use crate::light::Light;

/// Samples that are heard at once.
const CHUNK: usize = 80;

/// Frames of the trigger's window of `model`, for the constants of [`Spotter`].
///
/// # Panics
/// At compile time, if the model does not hear.
pub const fn window(model: &Model<'_>) -> usize {
    match (model.audio(), model.trigger()) {
        (Some(_), Some(trigger)) => trigger.window(),
        _ => panic!("a microphone needs a model quantized with --audio and --trigger"),
    }
}

/// Listens to a stream of samples.
#[derive(Debug)]
pub struct Spotter<'m, P, L, const OUTPUTS: usize, const WINDOW: usize> {
    model: Model<'m>,
    listener: Listener<'m, 'm, OUTPUTS, WINDOW>,
    led: Light<P>,
    log: L,
    /// Samples in a second, of a frame, and from a frame to the next.
    rate: u32,
    window: u32,
    hop: u32,
    /// Frames to go until the LED goes out.
    glow: u32,
}

/// What stopped a [`Spotter`]. It may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpotterError {
    /// The sound could not be read.
    Sound(ErrorKind),
    /// The log refused a line.
    Log,
    /// The LED's pin failed.
    Led,
}

impl<'m, P: OutputPin, L: Write, const OUTPUTS: usize, const WINDOW: usize>
    Spotter<'m, P, L, OUTPUTS, WINDOW>
{
    /// A spotter of the keywords of `model`, in `memory` of [`Listener::words`].
    ///
    /// # Errors
    /// As [`Listener::new`].
    pub fn new(
        model: Model<'m>,
        memory: &'m mut [u32],
        led: Light<P>,
        log: L,
    ) -> Result<Self, Error> {
        let settings = model.audio().ok_or(Error::Header { field: "audio" })?;
        let listener = Listener::new(model, memory)?;
        Ok(Self {
            model,
            listener,
            led,
            log,
            rate: settings.rate(),
            window: settings.window() as u32,
            hop: settings.hop() as u32,
            glow: 0,
        })
    }

    /// Hears `sound`, `i16` as they lie in memory, to its end. A keyword is said on the log, and
    /// lights the LED for half a second.
    ///
    /// # Errors
    /// The first of the sound, the log or the LED. If it was the sound's, what was heard is
    /// forgotten, since what follows does not join on: the caller may call again.
    pub fn listen(&mut self, sound: &mut impl Read) -> Result<(), SpotterError> {
        let mut chunk = [0; CHUNK];
        loop {
            match sound.read_exact(bytemuck::cast_slice_mut(&mut chunk)) {
                Ok(()) => self.hear(&chunk)?,
                Err(ReadExactError::UnexpectedEof) => return Ok(()),
                Err(ReadExactError::Other(error)) => {
                    self.listener.reset();
                    return Err(SpotterError::Sound(error.kind()));
                }
            }
        }
    }

    fn hear(&mut self, mut pcm: &[i16]) -> Result<(), SpotterError> {
        while let Some(heard) = self.listener.next_frame(&mut pcm) {
            if let Some(event) = heard.event {
                let end = u64::from(event.frame) * u64::from(self.hop) + u64::from(self.window);
                let milliseconds = end * 1000 / u64::from(self.rate);
                writeln!(
                    self.log,
                    "{}.{:03} s: {} ({} %)",
                    milliseconds / 1000,
                    milliseconds % 1000,
                    self.model.labels().nth(event.output).unwrap_or("?"),
                    (i32::from(event.score) * 100) >> 15,
                )
                .map_err(|_| SpotterError::Log)?;
                self.glow = self.rate / 2 / self.hop;
                self.led.set(true).map_err(|_| SpotterError::Led)?;
            } else if self.glow > 0 {
                self.glow -= 1;
                if self.glow == 0 {
                    self.led.set(false).map_err(|_| SpotterError::Led)?;
                }
            }
        }
        Ok(())
    }
}
