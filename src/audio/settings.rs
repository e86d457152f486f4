//! What the blob says about the front-end.

use super::fft;
use crate::blob::format::audio as field;
use crate::error::Error;

/// Settings of a [`Frontend`](super::Frontend), read in place: a few words that borrow the blob.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    pub(super) rate: u32,
    pub(super) hop: usize,
    pub(super) fft: usize,
    pub(super) bands: usize,
    pub(super) coefficients: usize,
    pub(super) pre_emphasis: i32,
    pub(super) adaptation: u32,
    pub(super) floor: u64,
    /// Half of the window and its middle, `u16` with 14 fractional bits.
    pub(super) window: &'a [[u8; 2]],
    /// First bins of the `bands + 1` intervals between the bands' edges, and the end of the last.
    pub(super) edges: &'a [[u8; 2]],
    /// How far up its interval a bin lies, for each bin of an interval, `u16`.
    pub(super) slopes: &'a [[u8; 2]],
    /// `[coefficients][bands]`, `i16` with 13 fractional bits.
    pub(super) cosines: &'a [[u8; 2]],
}

/// Fractional bits of a slope: 4096 is the peak of a band.
pub(super) const SLOPE_BITS: u32 = 12;
/// Largest value of the window: 1.0 with 14 fractional bits.
const WINDOW_ONE: u16 = 1 << 14;

impl<'a> Settings<'a> {
    /// Reads and validates the section of a blob.
    ///
    /// # Errors
    /// [`Error::Header`] with the field `audio`.
    pub const fn from_bytes(section: &'a [u8]) -> Result<Self, Error> {
        const INVALID: Error = Error::Header { field: "audio" };
        let Some((fixed, tables)) = section.split_first_chunk::<{ field::TABLES }>() else {
            return Err(INVALID);
        };
        const fn half(fixed: &[u8; field::TABLES], at: usize) -> usize {
            u16::from_le_bytes([fixed[at], fixed[at + 1]]) as usize
        }
        let [.., f0, f1, f2, f3, f4, f5, f6, f7] = *fixed;
        let (window, fft) = (half(fixed, field::WINDOW), half(fixed, field::FFT));
        let (bands, coefficients) = (half(fixed, field::BANDS), half(fixed, field::COEFFICIENTS));
        let mut settings = Self {
            rate: half(fixed, field::RATE) as u32,
            hop: half(fixed, field::HOP),
            fft,
            bands,
            coefficients,
            pre_emphasis: half(fixed, field::PRE_EMPHASIS) as i32,
            adaptation: half(fixed, field::ADAPTATION) as u32,
            floor: u64::from_le_bytes([f0, f1, f2, f3, f4, f5, f6, f7]),
            window: &[],
            edges: &[],
            slopes: &[],
            cosines: &[],
        };
        if settings.rate == 0
            || !fft.is_power_of_two()
            || fft < 16
            || fft > fft::LONGEST
            || window > fft
            || window == 0
            || !window.is_multiple_of(4)
            || settings.hop == 0
            || settings.hop > window
            || bands == 0
            || bands > field::MAX_BANDS
            || coefficients > bands
            || settings.pre_emphasis > i16::MAX as i32
            || settings.adaptation > 15
            || settings.floor == 0
            || settings.floor >> 61 != 0
        {
            return Err(INVALID);
        }
        let (tables, rest) = tables.as_chunks::<2>();
        let Some((table, tables)) = tables.split_at_checked(window / 2 + 1) else {
            return Err(INVALID);
        };
        settings.window = table;
        let Some((table, tables)) = tables.split_at_checked(bands + 2) else {
            return Err(INVALID);
        };
        settings.edges = table;
        let (mut k, mut last) = (0, value(table, 0));
        while k < table.len() {
            // The bin at 0 Hz is none that the transform gives.
            if value(table, k) < last || value(table, k) == 0 || value(table, k) as usize > fft / 2
            {
                return Err(INVALID);
            }
            last = value(table, k);
            k += 1;
        }
        let bins = last as usize - value(table, 0) as usize;
        let Some((table, tables)) = tables.split_at_checked(bins) else {
            return Err(INVALID);
        };
        settings.slopes = table;
        if !within(settings.window, WINDOW_ONE)
            || !within(settings.slopes, 1 << SLOPE_BITS)
            || tables.len() != coefficients * bands
            || !rest.is_empty()
        {
            return Err(INVALID);
        }
        settings.cosines = tables;
        Ok(settings)
    }

    /// Samples a second.
    pub const fn rate(&self) -> u32 {
        self.rate
    }

    /// Samples that a frame covers.
    pub const fn window(&self) -> usize {
        2 * self.window.len().saturating_sub(1)
    }

    /// Samples from one frame to the next.
    pub const fn hop(&self) -> usize {
        self.hop
    }

    /// Mel bands.
    pub const fn bands(&self) -> usize {
        self.bands
    }

    /// Features of a frame: the cepstral coefficients if there are any, else the bands.
    pub const fn features(&self) -> usize {
        if self.coefficients > 0 { self.coefficients } else { self.bands }
    }

    /// Value of one unit of a feature, in log2 of power (3.01 dB): 2^-9, or 2^-7 for cepstral
    /// coefficients, which go further.
    pub const fn step(&self) -> f32 {
        if self.coefficients > 0 { 1.0 / 128.0 } else { 1.0 / 512.0 }
    }

    /// Words (`u32`) of memory that a [`Frontend`](super::Frontend) needs.
    pub const fn words(&self) -> usize {
        self.window() / 2 + self.fft + 2 * self.bands + self.features().div_ceil(2)
    }
}

/// The number at `index` of a table; past its end, zero.
#[inline(always)]
pub(super) const fn value(table: &[[u8; 2]], index: usize) -> u16 {
    if index < table.len() { u16::from_le_bytes(table[index]) } else { 0 }
}

const fn within(table: &[[u8; 2]], most: u16) -> bool {
    let mut k = 0;
    while k < table.len() {
        if value(table, k) > most {
            return false;
        }
        k += 1;
    }
    true
}
