//! From microphone samples to the features of a network, in integers.
//!
//! | step | in | out |
//! |---|---|---|
//! | window | the latest PCM samples `x`, `i16`; pre-emphasis `x[n] − a x[n−1]` | `i32`, 14 fractional bits |
//! | spectrum | windowed samples, zeros behind them | `X[k] / N`, `i32` |
//! | bands | power `\|X[k]\|²`, triangles on the mel scale | `u64` |
//! | level | `log2((power + floor) / floor)` | 16 fractional bits: 0 is silence |
//! | adaptation, if any | the level's running mean is taken off | |
//! | feature | the level, or its cosine transform (MFCC) | `i16`, see [`Settings::step`] |
//!
//! The window, the triangles and the cosines are tables in the blob, made by the host tool in float64
//! with libm; nothing here computes in float. Whatever runs here runs on the host too: the features
//! that a model is trained on are the ones it will see.
//!
//! Silence, clipped samples and an offset are samples like others: every sum is bounded by what 16
//! bits can bring, so nothing overflows, and an offset lies in bins that no band has.
//!
//! ```
//! # fn demo(model: gatelet::Model<'_>, microphone: &[i16]) -> Result<(), gatelet::Error> {
//! use gatelet::audio::Frontend;
//! let settings = model.audio().expect("a model that hears");
//! let mut memory = [0; 640];
//! let mut frontend = Frontend::new(settings, &mut memory)?;
//! let mut pcm = microphone;                             // chunks of any length
//! while let Some(features) = frontend.next_frame(&mut pcm) {
//!     // one step of the network
//! }
//! # Ok(()) }
//! ```

mod fft;
mod listener;
mod log2;
mod settings;

use crate::error::Error;
use crate::fixed::{round_shift, saturate_i16};
use log2::log2;
use settings::{SLOPE_BITS, value};

pub use listener::{Heard, Listener};
pub use settings::Settings;

/// Turns a stream of samples into frames of features, over a caller's buffer.
#[derive(Debug)]
pub struct Frontend<'a, 'm> {
    settings: Settings<'a>,
    /// The latest samples, oldest first; only `filled` of them are there yet.
    samples: &'m mut [i16],
    filled: usize,
    spectrum: &'m mut [[i32; 2]],
    levels: &'m mut [i32],
    /// Running mean of each level.
    means: &'m mut [i32],
    features: &'m mut [i16],
}

impl<'a, 'm> Frontend<'a, 'm> {
    /// Starts listening.
    ///
    /// # Errors
    /// [`Error::Memory`] if `memory` is shorter than [`Settings::words`].
    pub fn new(settings: Settings<'a>, memory: &'m mut [u32]) -> Result<Self, Error> {
        let (needed, given) = (settings.words(), memory.len());
        let Some((memory, _)) = memory.split_at_mut_checked(needed) else {
            return Err(Error::Memory { needed, given });
        };
        memory.fill(0);
        let mut rest = memory;
        let mut take = |words: usize| {
            let (taken, behind) = core::mem::take(&mut rest).split_at_mut_checked(words)?;
            rest = behind;
            Some(taken)
        };
        let parts = (|| {
            Some((
                take(settings.window() / 2)?,
                take(settings.fft)?,
                take(settings.bands)?,
                take(settings.bands)?,
                take(settings.features().div_ceil(2))?,
            ))
        })();
        let Some((samples, spectrum, levels, means, features)) = parts else {
            return Err(Error::Memory { needed, given });
        };
        let features: &mut [i16] = bytemuck::cast_slice_mut(features);
        Ok(Self {
            settings,
            samples: bytemuck::cast_slice_mut(samples),
            filled: 0,
            spectrum: bytemuck::cast_slice_mut::<_, i32>(spectrum).as_chunks_mut().0,
            levels: bytemuck::cast_slice_mut(levels),
            means: bytemuck::cast_slice_mut(means),
            features: features.get_mut(..settings.features()).unwrap_or_default(),
        })
    }

    /// The settings.
    pub fn settings(&self) -> Settings<'a> {
        self.settings
    }

    /// Takes samples from the front of `pcm`, in chunks of any length, up to the end of the next
    /// frame, and returns that frame's features; `None` when `pcm` is used up.
    pub fn next_frame(&mut self, pcm: &mut &[i16]) -> Option<&[i16]> {
        let room = self.samples.get_mut(self.filled..).unwrap_or_default();
        let taken = room.len().min(pcm.len());
        let (new, rest) = pcm.split_at_checked(taken)?;
        *pcm = rest;
        for (room, sample) in room.iter_mut().zip(new) {
            *room = *sample;
        }
        self.filled += taken;
        if self.filled < self.samples.len() {
            return None;
        }
        self.frame();
        Some(self.features)
    }

    /// The features of the latest frame.
    pub fn features(&self) -> &[i16] {
        self.features
    }

    /// Forgets all that was heard.
    pub fn reset(&mut self) {
        self.filled = 0;
        self.means.fill(0);
        self.features.fill(0);
    }

    #[inline(never)]
    fn frame(&mut self) {
        self.window();
        // The next frame starts a hop later.
        let hop = self.settings.hop.min(self.samples.len());
        self.samples.copy_within(hop.., 0);
        self.filled = self.samples.len() - hop;

        fft::transform(self.spectrum);
        self.bands();
        self.adapt();
        if self.settings.coefficients > 0 {
            self.cosine_transform();
        } else {
            for (feature, level) in self.features.iter_mut().zip(&*self.levels) {
                *feature = saturate_i16(round_shift(*level, 7));
            }
        }
    }

    /// The windowed samples, in pairs, where the transform wants them.
    fn window(&mut self) {
        self.spectrum.fill([0; 2]);
        let length = self.spectrum.len();
        let a = self.settings.pre_emphasis;
        // As in HTK: the sample before the first one is taken to equal it.
        let mut before = self.samples.first().map_or(0, |x| i32::from(*x));
        let mut emphasized = |sample: i16| {
            let x = i32::from(sample);
            let y = x - round_shift(a * before, 15);
            before = x;
            y
        };
        // It rises to its middle and falls like it rose.
        let half = self.settings.window.len().saturating_sub(1);
        let rising = self.settings.window.split_at(half.min(self.settings.window.len())).0;
        let falling = self.settings.window.get(1..).unwrap_or(&[]);
        let rising = rising.as_chunks().0.iter().map(|[v, w]| (v, w));
        let falling = falling.as_chunks().0.iter().rev().map(|[w, v]| (v, w));
        let mut n = 0;
        let mut put = |pair: &[i16; 2], v: &[u8; 2], w: &[u8; 2]| {
            let factor = |table: &[u8; 2]| i32::from(u16::from_le_bytes(*table));
            let windowed = [emphasized(pair[0]) * factor(v), emphasized(pair[1]) * factor(w)];
            if let Some(z) = self.spectrum.get_mut(fft::place(n, length)) {
                *z = windowed;
            }
            n += 1;
        };
        let mut pairs = self.samples.as_chunks().0.iter();
        for (pair, (v, w)) in pairs.by_ref().take(half / 2).zip(rising) {
            put(pair, v, w);
        }
        for (pair, (v, w)) in pairs.zip(falling) {
            put(pair, v, w);
        }
    }

    /// Levels of the bands. A bin in the interval between two edges belongs to the band that rises
    /// there with its slope, and to the one that falls there with the rest.
    fn bands(&mut self) {
        let Settings { edges, slopes, floor, .. } = self.settings;
        let silence = log2(floor);
        let first = usize::from(value(edges, 0));
        let (mut bins, mut slopes) = (self.spectrum.get(first..).unwrap_or(&[]), slopes);
        let mut rising_before = 0;
        let mut levels = self.levels.iter_mut();
        for (k, [from, to]) in edges.array_windows().enumerate() {
            let count = u16::from_le_bytes(*to).saturating_sub(u16::from_le_bytes(*from));
            let (Some(of_bins), Some(of_slopes)) =
                (bins.split_off(..count.into()), slopes.split_off(..count.into()))
            else {
                return;
            };
            let (mut rising, mut all) = (0u64, 0u64);
            for ([re, im], slope) in of_bins.iter().zip(of_slopes) {
                let power = square(*re).wrapping_add(square(*im)) >> SLOPE_BITS;
                all = all.wrapping_add(power);
                rising = rising.wrapping_add(times(power, u16::from_le_bytes(*slope)));
            }
            let falling = (all << SLOPE_BITS).wrapping_sub(rising);
            if k > 0
                && let Some(level) = levels.next()
            {
                let power = rising_before + falling;
                *level = log2(power.wrapping_add(floor)) - silence;
            }
            rising_before = rising;
        }
    }

    /// Takes its running mean off each level.
    fn adapt(&mut self) {
        let shift = self.settings.adaptation;
        if shift == 0 {
            return;
        }
        for (level, mean) in self.levels.iter_mut().zip(&mut *self.means) {
            *level -= *mean;
            *mean += *level >> shift;
        }
    }

    fn cosine_transform(&mut self) {
        let rows = self.settings.cosines.chunks_exact(self.settings.bands.max(1));
        for (feature, row) in self.features.iter_mut().zip(rows) {
            let products = row.iter().zip(&*self.levels).map(|(w, level)| {
                // 9 and 13 fractional bits.
                i32::from(i16::from_le_bytes(*w)).wrapping_mul(round_shift(*level, 7))
            });
            let sum = products.fold(0i32, i32::wrapping_add);
            *feature = saturate_i16(round_shift(sum, 15));
        }
    }
}

/// `x²`
#[inline(always)]
fn square(x: i32) -> u64 {
    let x = u64::from(x.unsigned_abs());
    x * x
}

/// `power · slope`
#[inline(always)]
fn times(power: u64, slope: u16) -> u64 {
    power.wrapping_mul(slope.into())
}
