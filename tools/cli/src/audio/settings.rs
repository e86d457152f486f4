//! Settings of the audio front-end, as people write them, and the tables that the chip reads.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use gatelet::audio;
use gatelet::blob::format::audio::{self as field, TABLES};
use serde::{Deserialize, Serialize};

/// Settings of the front-end, as in a TOML file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Samples a second.
    pub rate: u16,
    /// Samples that a frame covers, a multiple of 4.
    pub window: u16,
    /// Samples from one frame to the next.
    pub hop: u16,
    /// Length of the Fourier transform, a power of two up to 1024; the least for the window if 0.
    pub fft: u16,
    /// Bands on the mel scale.
    pub bands: u16,
    /// Lower edge of the lowest band, in Hz.
    pub low: f64,
    /// Upper edge of the highest band, in Hz; half of the rate if 0.
    pub high: f64,
    /// Power added to every band, of samples in ±1: what counts as silence.
    pub floor: f64,
    /// Factor of the last sample that is taken off each sample.
    pub pre_emphasis: f64,
    /// Cepstral coefficients (MFCC) in place of the bands, if not 0.
    pub coefficients: u16,
    /// A running mean over about 2^n frames is taken off every band, if n is not 0.
    pub adaptation: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rate: 8000,
            window: 256,
            hop: 160,
            fft: 0,
            bands: 24,
            low: 100.0,
            high: 0.0,
            floor: 1e-5,
            pre_emphasis: 0.0,
            coefficients: 0,
            adaptation: 0,
        }
    }
}

impl Settings {
    /// Reads a TOML file; what it does not say keeps its default.
    ///
    /// # Errors
    /// If it is missing or says something else than settings.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))
    }

    /// Length of the Fourier transform.
    pub fn fft(&self) -> usize {
        match self.fft {
            0 => usize::from(self.window).next_power_of_two(),
            fft => fft.into(),
        }
    }

    fn high(&self) -> f64 {
        if self.high == 0.0 { f64::from(self.rate) / 2.0 } else { self.high }
    }

    /// The section of a blob, validated by its reader.
    ///
    /// # Errors
    /// If a setting is out of its range, or a band has no bin.
    pub fn section(&self) -> Result<Vec<u8>> {
        let fft = self.fft();
        ensure!(
            (16..=1024).contains(&fft) && fft.is_power_of_two(),
            "an FFT of {fft} points: it must be a power of two from 16 to 1024"
        );
        ensure!(
            self.window > 0 && self.window.is_multiple_of(4) && usize::from(self.window) <= fft,
            "a window of {} samples: it must be a multiple of 4 and at most the FFT's {fft}",
            self.window
        );
        ensure!(
            self.hop >= 1 && self.hop <= self.window,
            "a hop of {} samples: it must be 1 to the window's {}",
            self.hop,
            self.window
        );
        let most = field::MAX_BANDS as u16;
        ensure!(
            (1..=most).contains(&self.bands) && self.coefficients <= self.bands,
            "{} bands and {} coefficients: there can be 1 to {most} bands, and no more coefficients \
             than bands",
            self.bands,
            self.coefficients
        );
        let half = f64::from(self.rate) / 2.0;
        ensure!(
            self.low >= 0.0 && self.low < self.high() && self.high() <= half,
            "bands from {} to {} Hz: at {} samples a second they must lie between 0 and {half}",
            self.low,
            self.high(),
            self.rate
        );
        ensure!(
            (0.0..1.0).contains(&self.pre_emphasis),
            "a pre-emphasis of {}: it must be 0 to below 1",
            self.pre_emphasis
        );
        ensure!(self.adaptation <= 15, "an adaptation of {}: at most 15", self.adaptation);
        // |X|² of samples in ±1, in the front-end's unit: 14 fractional bits more than the PCM's,
        // halved log2 N times, squared.
        let unit = libm::exp2(2.0 * (15.0 + 14.0)) / (fft * fft) as f64;
        let floor = libm::round(self.floor * unit);
        ensure!(
            (1.0..libm::exp2(61.0)).contains(&floor),
            "a floor of {}: it must be a power such as 1e-5",
            self.floor
        );

        let mut section = vec![0; TABLES];
        let mut put =
            |at: usize, value: u16| section[at..at + 2].copy_from_slice(&value.to_le_bytes());
        put(field::RATE, self.rate);
        put(field::WINDOW, self.window);
        put(field::HOP, self.hop);
        put(field::FFT, fft as u16);
        put(field::BANDS, self.bands);
        put(field::COEFFICIENTS, self.coefficients);
        put(field::PRE_EMPHASIS, libm::round(self.pre_emphasis * 32768.0).min(32767.0) as u16);
        put(field::ADAPTATION, self.adaptation);
        section[field::FLOOR..TABLES].copy_from_slice(&(floor as u64).to_le_bytes());
        let (edges, slopes) = self.triangles()?;
        for value in self.hann().into_iter().chain(edges).chain(slopes) {
            section.extend(value.to_le_bytes());
        }
        section.extend(self.cosines().into_iter().flat_map(i16::to_le_bytes));
        audio::Settings::from_bytes(&section).context("the front-end refuses the settings")?;
        Ok(section)
    }

    /// Periodic Hann window from its start to its middle, 14 fractional bits.
    fn hann(&self) -> Vec<u16> {
        let angle = |n: u16| 2.0 * std::f64::consts::PI * f64::from(n) / f64::from(self.window);
        let value = |n| libm::round((0.5 - 0.5 * libm::cos(angle(n))) * 16384.0) as u16;
        (0..=self.window / 2).map(value).collect()
    }

    /// Edges of the bands in Hz, equally spaced on mel(f) = 2595 log10(1 + f / 700) (HTK).
    pub fn edges(&self) -> Vec<f64> {
        let mel = |hz: f64| 2595.0 * libm::log10(1.0 + hz / 700.0);
        let (low, high) = (mel(self.low), mel(self.high()));
        let edge = |k: u16| {
            let mel = low + (high - low) * f64::from(k) / f64::from(self.bands + 1);
            700.0 * (libm::pow(10.0, mel / 2595.0) - 1.0)
        };
        (0..self.bands + 2).map(edge).collect()
    }

    /// First bins of the intervals between edges, and slopes of all their bins, 12 fractional bits.
    fn triangles(&self) -> Result<(Vec<u16>, Vec<u16>)> {
        let (fft, edges) = (self.fft(), self.edges());
        let hz = |bin: usize| bin as f64 * f64::from(self.rate) / fft as f64;
        // The bin at half the rate has no weight, but its frequency may round to below the edge.
        let bins: Vec<usize> = edges
            .iter()
            .map(|edge| (1..fft / 2).find(|bin| hz(*bin) >= *edge).unwrap_or(fft / 2))
            .collect();
        for band in 0..usize::from(self.bands) {
            ensure!(
                bins[band] < bins[band + 2],
                "band {} from {:.0} to {:.0} Hz holds no bin of the FFT: take fewer bands or a longer \
                 FFT",
                band + 1,
                edges[band],
                edges[band + 2]
            );
        }
        let slopes = bins.windows(2).zip(edges.windows(2)).flat_map(|(bins, edges)| {
            let slope = |bin| libm::round((hz(bin) - edges[0]) / (edges[1] - edges[0]) * 4096.0);
            (bins[0]..bins[1]).map(slope).map(|slope| slope as u16).collect::<Vec<_>>()
        });
        Ok((bins.iter().map(|bin| *bin as u16).collect(), slopes.collect()))
    }

    /// Orthonormal DCT-II, `[coefficients][bands]`, 13 fractional bits.
    fn cosines(&self) -> Vec<i16> {
        let bands = f64::from(self.bands);
        let row = |k: u16| {
            let norm = libm::sqrt(if k == 0 { 1.0 } else { 2.0 } / bands);
            let angle = move |band: u16| {
                std::f64::consts::PI * f64::from(k) * (f64::from(band) + 0.5) / bands
            };
            (0..self.bands)
                .map(move |band| libm::round(norm * libm::cos(angle(band)) * 8192.0) as i16)
        };
        (0..self.coefficients).flat_map(row).collect()
    }
}
