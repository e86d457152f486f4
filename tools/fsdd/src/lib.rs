//! Free Spoken Digit Dataset: 3,000 recordings that lie beside the repository, in
//! `../shared/data/fsdd`, and are never committed, nor are features made from them.
//!
//! The features are those that the committed digit models were trained on, `tools/train/features.py`,
//! computed by the engine's own front-end: what the chip would hear.

use std::f64::consts::LN_2;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gatelet::audio;
use gatelet_cli::audio::{Settings, frames, read_wav};
use gatelet_cli::data::{Dataset, Sequences, Targets};
use gatelet_cli::npz::{self, Array, Npz, Values};

const FRAMES: usize = 64;
/// Recordings of each digit and speaker that belong to the official test set.
const TEST_INDEX: i64 = 5;
/// Training recordings taken for calibration: every thirteenth, 208 in all.
const CALIBRATION_STRIDE: usize = 13;

/// Where the recordings are, if they are.
pub fn recordings() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/fsdd/fsdd.npz");
    path.is_file().then_some(path)
}

/// The digits from 0 to 9 by a voice that no model heard, each between silences of half a second, at
/// 8,000 samples a second; none without Debian's `asterisk-core-sounds-en-wav`.
///
/// # Errors
/// If the package's files are not as expected.
pub fn unheard_voice() -> Result<Option<Vec<i16>>> {
    const FOLDER: &str = "/usr/share/asterisk/sounds/en/digits";
    if !Path::new(FOLDER).is_dir() {
        return Ok(None);
    }
    let silence = vec![0; 4000];
    let mut pcm = silence.clone();
    for digit in 0..10 {
        let path = format!("{FOLDER}/{digit}.wav");
        let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        pcm.extend(read_wav(file, 8000).with_context(|| format!("cannot read {path}"))?);
        pcm.extend(&silence);
    }
    Ok(Some(pcm))
}

/// Writes samples as a WAV file of 8,000 a second, in a folder that is made if it does not exist.
///
/// # Errors
/// Those of the file system.
pub fn write_wav(path: &Path, pcm: &[i16]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let in_context = || format!("cannot write {}", path.display());
    let mut wav = hound::WavWriter::create(path, spec).with_context(in_context)?;
    for sample in pcm {
        wav.write_sample(*sample).with_context(in_context)?;
    }
    wav.finalize().with_context(in_context)
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
        let settings = settings();
        let section = settings.section()?;
        let front_end = audio::Settings::from_bytes(&section)?;
        // Natural logarithms of the power itself.
        let floor = settings.floor.ln();
        let features = |k: usize| {
            let mut pcm: Vec<i16> = pcm[offsets[k] as usize..offsets[k + 1] as usize]
                .iter()
                .map(|v| *v as i16)
                .collect();
            pcm.resize(front_end.window() + front_end.hop() * (FRAMES - 1), 0);
            let step = f64::from(front_end.step()) * LN_2;
            frames(front_end, &pcm).into_iter().map(move |v| (f64::from(v) * step + floor) as f32)
        };
        let dataset = |chosen: Vec<usize>| -> Result<Dataset> {
            let values = chosen.iter().flat_map(|&k| features(k)).collect();
            let lengths = vec![FRAMES; chosen.len()];
            let x = Sequences::new(values, FRAMES, front_end.features(), lengths)?;
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
            let x = Array {
                shape: vec![data.x.len(), FRAMES, data.x.features()],
                values: Values::F32(x),
            };
            let Some(Targets::Classes(labels)) = &data.y else { continue };
            let y = Array { shape: vec![labels.len()], values: Values::I64(labels.clone()) };
            npz::write(&folder.join(name), &[("x", &x), ("y", &y)])?;
        }
        Ok(())
    }
}

/// 25 ms of sound every 10 ms, 20 bands.
fn settings() -> Settings {
    Settings { window: 200, hop: 80, bands: 20, ..Settings::default() }
}
