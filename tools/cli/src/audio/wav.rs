//! Recordings from WAV files.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use hound::{SampleFormat, WavReader};

/// Samples of a WAV file at `rate` samples a second, its channels averaged, in chunks of at most
/// `length`, as they come. Samples of other widths than 16 bits are brought to it.
///
/// # Errors
/// If it is no WAV file, damaged, or has another rate.
pub fn wav_chunks<R: Read>(
    reader: R,
    rate: u32,
    length: usize,
) -> Result<impl Iterator<Item = Result<Vec<i16>>>> {
    let mut reader =
        WavReader::new(reader).context("it is not a WAV file that gatelet reads: PCM or float")?;
    let spec = reader.spec();
    ensure!(
        spec.sample_rate == rate,
        "it has {} samples a second where {rate} are needed: convert it, as with \
         `sox IN.wav -r {rate} OUT.wav`",
        spec.sample_rate
    );
    let channels = usize::from(spec.channels);
    ensure!(channels > 0, "it has no channel");
    let unit = match spec.sample_format {
        SampleFormat::Int => libm::exp2(16.0 - f64::from(spec.bits_per_sample)),
        SampleFormat::Float => 32768.0,
    };
    let mut sample = move || -> Option<hound::Result<f64>> {
        match spec.sample_format {
            SampleFormat::Int => Some(reader.samples::<i32>().next()?.map(f64::from)),
            SampleFormat::Float => Some(reader.samples::<f32>().next()?.map(f64::from)),
        }
    };
    let mut frame = move || -> Option<hound::Result<i16>> {
        let mut sum = 0.0;
        for _ in 0..channels {
            match sample()? {
                Ok(sample) => sum += sample * unit,
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(libm::rint(sum / channels as f64) as i16))
    };
    Ok(std::iter::from_fn(move || {
        let chunk: hound::Result<Vec<i16>> = std::iter::from_fn(&mut frame).take(length).collect();
        match chunk {
            Ok(chunk) if chunk.is_empty() => None,
            chunk => Some(chunk.context("it is cut short")),
        }
    }))
}

/// All samples of a WAV file, as [`wav_chunks`] gives them.
///
/// # Errors
/// As [`wav_chunks`].
pub fn read_wav(reader: impl Read, rate: u32) -> Result<Vec<i16>> {
    Ok(wav_chunks(reader, rate, 1 << 16)?.collect::<Result<Vec<_>>>()?.concat())
}

/// The WAV files of a folder and of the folders in it, sorted; a file alone stands for itself.
///
/// # Errors
/// If there is none.
pub fn wav_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let in_context = || format!("cannot read {}", folder.display());
        for entry in std::fs::read_dir(&folder).with_context(in_context)? {
            let path = entry.with_context(in_context)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("wav")) {
                files.push(path);
            }
        }
    }
    if files.is_empty() {
        bail!("there is no .wav file in {}", path.display());
    }
    files.sort();
    Ok(files)
}
