//! Free Spoken Digit Dataset: 3,000 recordings that lie beside the repository, in
//! `../shared/data/fsdd`, and are never committed, nor are features made from them.
//!
//! The features are those of `tools/train/features.py`, where every constant is explained, so that
//! the committed digit models can be tested without Python.

use std::f64::consts::PI;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gatelet_cli::data::{Dataset, Sequences, Targets};
use gatelet_cli::npz::{self, Array, Npz, Values};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

const RATE: f64 = 8000.0;
const WINDOW: usize = 200;
const HOP: usize = 80;
const FFT: usize = 256;
const FRAMES: usize = 64;
const BANDS: usize = 20;
const LOW_HZ: f64 = 100.0;
const HIGH_HZ: f64 = 4000.0;
const FLOOR: f64 = 1e-5;
/// Recordings of each digit and speaker that belong to the official test set.
const TEST_INDEX: i64 = 5;
/// Training recordings taken for calibration: every thirteenth, 208 in all.
const CALIBRATION_STRIDE: usize = 13;

/// Where the recordings are, if they are.
pub fn recordings() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/fsdd/fsdd.npz");
    path.is_file().then_some(path)
}

/// The official test set, 300 recordings, and a calibration set out of the training recordings.
pub struct Digits {
    /// Calibration samples.
    pub calibration: Dataset,
    /// Test samples.
    pub test: Dataset,
}

impl Digits {
    /// Reads the recordings and computes their features.
    ///
    /// # Errors
    /// If `path` is not the dataset described in its README.
    pub fn read(path: &Path) -> Result<Self> {
        let mut npz = Npz::open(path)?;
        let mut integers = |name: &str| -> Result<Vec<i64>> {
            let array = npz.array(name)?.with_context(|| format!("no array `{name}`"))?;
            array.into_i64().with_context(|| format!("array `{name}` holds no integers"))
        };
        let (pcm, offsets) = (integers("pcm")?, integers("offsets")?);
        let (labels, index) = (integers("label")?, integers("index")?);
        let front_end = FrontEnd::new();
        let dataset = |chosen: Vec<usize>| -> Result<Dataset> {
            let features = chosen.iter().flat_map(|&k| {
                front_end.log_mel(&pcm[offsets[k] as usize..offsets[k + 1] as usize])
            });
            let lengths = vec![FRAMES; chosen.len()];
            let x = Sequences::new(features.collect(), FRAMES, BANDS, lengths)?;
            let y = chosen.iter().map(|&k| labels[k]).collect();
            Ok(Dataset { x, y: Some(Targets::Classes(y)) })
        };
        let (test, train): (Vec<usize>, Vec<usize>) =
            (0..labels.len()).partition(|&k| index[k] < TEST_INDEX);
        let calibration = train.into_iter().step_by(CALIBRATION_STRIDE).collect();
        Ok(Self { calibration: dataset(calibration)?, test: dataset(test)? })
    }

    /// Writes `calib.npz` and `test.npz` into `folder`, for the command line.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        for (name, data) in [("calib.npz", &self.calibration), ("test.npz", &self.test)] {
            let x: Vec<f32> = (0..data.x.len()).flat_map(|k| data.x.sample(k).to_vec()).collect();
            let x = Array { shape: vec![data.x.len(), FRAMES, BANDS], values: Values::F32(x) };
            let Some(Targets::Classes(labels)) = &data.y else { continue };
            let y = Array { shape: vec![labels.len()], values: Values::I64(labels.clone()) };
            npz::write(&folder.join(name), &[("x", &x), ("y", &y)])?;
        }
        Ok(())
    }
}

struct FrontEnd {
    fft: std::sync::Arc<dyn rustfft::Fft<f64>>,
    window: Vec<f64>,
    /// Weights of each band's bins, `[BANDS][FFT / 2 + 1]`.
    mel: Vec<Vec<f64>>,
}

impl FrontEnd {
    fn new() -> Self {
        let mel = |hz: f64| 2595.0 * (1.0 + hz / 700.0).log10();
        let (low, high) = (mel(LOW_HZ), mel(HIGH_HZ));
        let edge = |k: usize| {
            let mel = low + (high - low) * k as f64 / (BANDS + 1) as f64;
            700.0 * (10f64.powf(mel / 2595.0) - 1.0)
        };
        let triangle = |band: usize| {
            let (left, peak, right) = (edge(band), edge(band + 1), edge(band + 2));
            let weight = |bin: usize| {
                let hz = bin as f64 * RATE / FFT as f64;
                ((hz - left) / (peak - left)).min((right - hz) / (right - peak)).max(0.0)
            };
            (0..=FFT / 2).map(weight).collect()
        };
        let hann = |n: usize| 0.5 - 0.5 * (2.0 * PI * n as f64 / WINDOW as f64).cos();
        Self {
            fft: FftPlanner::new().plan_fft_forward(FFT),
            window: (0..WINDOW).map(hann).collect(),
            mel: (0..BANDS).map(triangle).collect(),
        }
    }

    /// `[FRAMES][BANDS]` of a recording, cut or padded with zeros to that many frames.
    fn log_mel(&self, pcm: &[i64]) -> Vec<f32> {
        let sample = |n: usize| pcm.get(n).map_or(0.0, |v| *v as f64 / 32768.0);
        let mut features = Vec::with_capacity(FRAMES * BANDS);
        for frame in 0..FRAMES {
            let mut spectrum = vec![Complex::default(); FFT];
            for (n, w) in self.window.iter().enumerate() {
                spectrum[n].re = w * sample(frame * HOP + n);
            }
            self.fft.process(&mut spectrum);
            features.extend(self.mel.iter().map(|band| {
                let power: f64 = band.iter().zip(&spectrum).map(|(w, x)| w * x.norm_sqr()).sum();
                (power + FLOOR).ln() as f32
            }));
        }
        features
    }
}
