//! Recordings to features, by the code of the chip.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use gatelet::audio::{self, Frontend};
use indicatif::ProgressBar;
use rayon::prelude::*;

use super::{read_wav, wav_files};
use crate::data::{Dataset, Sequences, Targets};
use crate::npz::Npz;

/// Recordings and, if they are known, their classes.
#[derive(Clone, Debug, Default)]
pub struct Recordings {
    /// Samples of each recording.
    pub pcm: Vec<Vec<i16>>,
    /// Class of each.
    pub classes: Option<Vec<i64>>,
    /// Names of the classes, where the source says them.
    pub labels: Vec<String>,
}

impl Recordings {
    /// Reads a WAV file, a folder of them, whose folders inside are classes, or an `.npz` file:
    /// `pcm` int16, all recordings end to end; `offsets` int `[N + 1]`, where each begins and the
    /// last ends; `label` int `[N]`, if known.
    ///
    /// # Errors
    /// If there is nothing to read at `rate` samples a second.
    pub fn read(path: &Path, rate: u32) -> Result<Self> {
        if path.extension().is_some_and(|e| e == "npz") {
            return Self::from_npz(path).with_context(|| format!("in {}", path.display()));
        }
        let files = wav_files(path)?;
        let pcm = files.par_iter().map(|file| {
            let in_context = || format!("cannot read {}", file.display());
            let reader = BufReader::new(File::open(file).with_context(in_context)?);
            read_wav(reader, rate).with_context(in_context)
        });
        let pcm = pcm.collect::<Result<_>>()?;
        let folder =
            |file: &Path| Some(file.parent()?.strip_prefix(path).ok()?.to_str()?.to_owned());
        let folders: Vec<String> =
            files.iter().map(|file| folder(file).unwrap_or_default()).collect();
        if folders.iter().any(String::is_empty) {
            return Ok(Self { pcm, classes: None, labels: Vec::new() });
        }
        let mut labels = folders.clone();
        labels.sort();
        labels.dedup();
        let class = |name: &String| labels.binary_search(name).map_or(-1, |k| k as i64);
        Ok(Self { pcm, classes: Some(folders.iter().map(class).collect()), labels })
    }

    fn from_npz(path: &Path) -> Result<Self> {
        let mut npz = Npz::open(path)?;
        let mut integers = |name: &str| -> Result<Option<Vec<i64>>> {
            let Some(array) = npz.array(name)? else { return Ok(None) };
            Ok(Some(array.into_i64().with_context(|| format!("array `{name}` holds no integers"))?))
        };
        let pcm = integers("pcm")?.context("there is no array `pcm`")?;
        let offsets = integers("offsets")?.context("there is no array `offsets`")?;
        let recording = |ends: &[i64]| {
            let range = usize::try_from(ends[0]).ok()?..usize::try_from(ends[1]).ok()?;
            let samples = pcm.get(range)?.iter();
            samples.map(|sample| i16::try_from(*sample).ok()).collect::<Option<Vec<_>>>()
        };
        let recordings: Option<Vec<_>> = offsets.windows(2).map(recording).collect();
        let recordings = recordings.context("`offsets` do not ascend within `pcm` of int16")?;
        let classes = integers("label")?;
        ensure!(
            classes.as_ref().is_none_or(|c| c.len() == recordings.len()),
            "`label` has not one class for each recording"
        );
        Ok(Self { pcm: recordings, classes, labels: Vec::new() })
    }
}

/// Features of every frame of a recording as the chip's integers, `[frames][features]`. A recording
/// shorter than a window is followed by zeros.
pub fn frames(settings: audio::Settings<'_>, pcm: &[i16]) -> Vec<i16> {
    let mut memory = vec![0; settings.words()];
    let mut frontend = Frontend::new(settings, &mut memory).expect("memory as the settings say");
    let padding = vec![0; settings.window().saturating_sub(pcm.len())];
    let mut frames = Vec::new();
    for mut pcm in [pcm, &padding] {
        while let Some(features) = frontend.next_frame(&mut pcm) {
            frames.extend_from_slice(features);
        }
    }
    frames
}

/// Features of all recordings, padded to the longest, and the classes.
///
/// # Errors
/// If there is no recording.
pub fn features(
    settings: audio::Settings<'_>,
    recordings: &Recordings,
    progress: &ProgressBar,
) -> Result<Dataset> {
    let width = settings.features();
    let one = |pcm: &Vec<i16>| {
        progress.inc(1);
        frames(settings, pcm)
    };
    let frames: Vec<Vec<i16>> = recordings.pcm.par_iter().map(one).collect();
    let lengths: Vec<usize> = frames.iter().map(|frames| frames.len() / width).collect();
    let steps = lengths.iter().copied().max().context("there is no recording")?;
    let mut values = vec![0.0; frames.len() * steps * width];
    for (values, frames) in values.chunks_exact_mut(steps * width).zip(&frames) {
        for (value, feature) in values.iter_mut().zip(frames) {
            *value = f32::from(*feature) * settings.step();
        }
    }
    let x = Sequences::new(values, steps, width, lengths)?;
    Ok(Dataset { x, y: recordings.classes.clone().map(Targets::Classes) })
}
