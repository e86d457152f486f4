//! From posteriors to events: when was a keyword said?
//!
//! At every frame, of the latest `window` outputs:
//!
//! 1. **Smoothing.** The score of an output is its mean over the window; before the first output all
//!    were zero. (Chen, Parada and Heigold 2014.)
//! 2. **Rejection.** The highest score must be a keyword's: an output without a threshold stands for
//!    "none of these", and while it is ahead, nothing happens.
//! 3. **Threshold.** The score must reach the keyword's threshold.
//! 4. **Hysteresis.** The keyword of the last event does not fire again before its score has fallen
//!    below its threshold by `hysteresis`.
//! 5. **Refractory time.** For `refractory` frames after an event there is no other.

use heapless::Deque;

use crate::blob::format::trigger as field;
use crate::error::Error;

/// Settings of a [`Trigger`], read in place. Scores and thresholds are probabilities in Q0.15, as a
/// softmax or sigmoid gives them.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    window: usize,
    refractory: u32,
    hysteresis: i32,
    /// Of each output, `u16`; 0 stands for none of the keywords.
    thresholds: &'a [[u8; 2]],
}

impl<'a> Settings<'a> {
    /// Reads and validates the section of a blob.
    ///
    /// # Errors
    /// [`Error::Header`] with the field `trigger`.
    pub const fn from_bytes(section: &'a [u8]) -> Result<Self, Error> {
        const INVALID: Error = Error::Header { field: "trigger" };
        let Some((fixed, thresholds)) = section.split_first_chunk::<{ field::THRESHOLDS }>() else {
            return Err(INVALID);
        };
        let [w0, w1, r0, r1, h0, h1] = *fixed;
        let (thresholds, rest) = thresholds.as_chunks::<2>();
        let window = u16::from_le_bytes([w0, w1]) as usize;
        let hysteresis = u16::from_le_bytes([h0, h1]) as i32;
        if window == 0 || window > field::MAX_WINDOW || hysteresis > 1 << 15 || !rest.is_empty() {
            return Err(INVALID);
        }
        let mut output = 0;
        while output < thresholds.len() {
            if u16::from_le_bytes(thresholds[output]) > 1 << 15 {
                return Err(INVALID);
            }
            output += 1;
        }
        let refractory = u16::from_le_bytes([r0, r1]) as u32;
        Ok(Self { window, refractory, hysteresis, thresholds })
    }

    /// Outputs that a score is the mean of.
    pub const fn window(&self) -> usize {
        self.window
    }

    /// Number of outputs.
    pub const fn outputs(&self) -> usize {
        self.thresholds.len()
    }

    /// Threshold of an output in Q0.15; `None` if it is no keyword.
    pub fn threshold(&self, output: usize) -> Option<i32> {
        let threshold = i32::from(u16::from_le_bytes(*self.thresholds.get(output)?));
        (threshold > 0).then_some(threshold)
    }
}

/// A keyword was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Event {
    /// The output that fired.
    pub output: usize,
    /// Number of the frame, from 0.
    pub frame: u32,
    /// Its score in Q0.15.
    pub score: i16,
}

/// Decides frame by frame. `OUTPUTS` and `WINDOW` are at least what the settings say.
#[derive(Clone, Debug)]
pub struct Trigger<'a, const OUTPUTS: usize, const WINDOW: usize> {
    settings: Settings<'a>,
    latest: Deque<[i16; OUTPUTS], WINDOW>,
    /// Sum of the latest outputs.
    sums: [i32; OUTPUTS],
    /// Frames so far.
    frames: u32,
    /// Frames to go until there can be an event.
    resting: u32,
    /// Output of the last event, until its score falls.
    held: Option<usize>,
}

impl<'a, const OUTPUTS: usize, const WINDOW: usize> Trigger<'a, OUTPUTS, WINDOW> {
    /// Starts with nothing heard.
    ///
    /// # Errors
    /// [`Error::Shape`] if the settings are for more outputs or a longer window.
    pub fn new(settings: Settings<'a>) -> Result<Self, Error> {
        for (found, most) in [(settings.outputs(), OUTPUTS), (settings.window(), WINDOW)] {
            if found > most {
                return Err(Error::Shape { expected: most, found });
            }
        }
        Ok(Self {
            settings,
            latest: Deque::new(),
            sums: [0; OUTPUTS],
            frames: 0,
            resting: 0,
            held: None,
        })
    }

    /// The settings.
    pub fn settings(&self) -> Settings<'a> {
        self.settings
    }

    /// Takes the outputs of a frame; says if a keyword was just heard. Outputs that are missing count
    /// as zeros.
    pub fn push(&mut self, outputs: &[i16]) -> Option<Event> {
        let frame = self.frames;
        self.frames = frame.wrapping_add(1);
        self.slide(outputs);

        let window = self.settings.window as i32;
        if let Some(held) = self.held
            && let (Some(threshold), Some(sum)) =
                (self.settings.threshold(held), self.sums.get(held))
            && *sum < (threshold - self.settings.hysteresis) * window
        {
            self.held = None;
        }
        if self.resting > 0 {
            self.resting -= 1;
            return None;
        }
        let mut highest = (0, i32::MIN);
        for (output, sum) in self.sums.iter().enumerate().take(self.settings.outputs()) {
            if *sum > highest.1 {
                highest = (output, *sum);
            }
        }
        let (output, sum) = highest;
        let threshold = self.settings.threshold(output)?;
        if sum < threshold * window || self.held == Some(output) {
            return None;
        }
        self.held = Some(output);
        self.resting = self.settings.refractory;
        Some(Event { output, frame, score: (sum / window.max(1)) as i16 })
    }

    /// Forgets all that was heard.
    pub fn reset(&mut self) {
        self.latest.clear();
        self.sums = [0; OUTPUTS];
        (self.frames, self.resting, self.held) = (0, 0, None);
    }

    /// Puts the outputs of a frame in the place of the oldest.
    fn slide(&mut self, outputs: &[i16]) {
        let mut latest = [0; OUTPUTS];
        for (latest, output) in latest.iter_mut().zip(outputs) {
            *latest = *output;
        }
        if self.latest.len() >= self.settings.window
            && let Some(oldest) = self.latest.pop_front()
        {
            for (sum, output) in self.sums.iter_mut().zip(oldest) {
                *sum -= i32::from(output);
            }
        }
        for (sum, output) in self.sums.iter_mut().zip(latest) {
            *sum += i32::from(output);
        }
        // There is room: the window is no longer than `WINDOW`.
        let _ = self.latest.push_back(latest);
    }
}
