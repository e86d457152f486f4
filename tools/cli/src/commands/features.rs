//! `gatelet features`: recordings to what the chip's front-end makes of them.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use gatelet::audio;
use gatelet_cli::audio::{Recordings, Settings, features};
use gatelet_cli::npz::{self, Array, Values};
use gatelet_cli::{atomic, terminal};

use super::show::thousands;

/// Turns recordings into features, with the very code of the chip
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  gatelet features recordings/ -o train.npz --audio audio.toml --labels words.txt
The file written holds `x` float32 [N, T, I] in log2 of power (3.01 dB), `lengths`, and `y`, if the
recordings lie in folders that are their classes. The settings, from a TOML file or flags of the same
names, belong into the blob as well: `gatelet quantize --audio`.")]
pub(crate) struct Args {
    /// A WAV file, a folder of them, or an .npz file with `pcm`, `offsets` and perhaps `label`
    recordings: PathBuf,
    /// The .npz file to write
    #[arg(short, long)]
    output: PathBuf,
    /// Settings of the front-end, a TOML file
    #[arg(long, value_name = "TOML")]
    audio: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
    /// Write the names of the classes into this file, one a line
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Write the settings into this TOML file
    #[arg(long, value_name = "TOML")]
    settings: Option<PathBuf>,
}

/// Settings on the command line.
#[derive(clap::Args)]
struct Flags {
    /// Samples a second
    #[arg(long)]
    rate: Option<u16>,
    /// Samples that a frame covers
    #[arg(long)]
    window: Option<u16>,
    /// Samples from one frame to the next
    #[arg(long)]
    hop: Option<u16>,
    /// Points of the Fourier transform [the least power of two for the window]
    #[arg(long)]
    fft: Option<u16>,
    /// Bands on the mel scale
    #[arg(long)]
    bands: Option<u16>,
    /// Lower edge of the lowest band, in Hz
    #[arg(long)]
    low: Option<f64>,
    /// Upper edge of the highest band, in Hz [half of the rate]
    #[arg(long)]
    high: Option<f64>,
    /// Power that counts as silence, of samples in ±1
    #[arg(long)]
    floor: Option<f64>,
    /// Factor of the last sample that is taken off each sample
    #[arg(long)]
    pre_emphasis: Option<f64>,
    /// Cepstral coefficients (MFCC) in place of the bands
    #[arg(long)]
    coefficients: Option<u16>,
    /// Take a running mean over 2^N frames off every band
    #[arg(long, value_name = "N")]
    adaptation: Option<u16>,
}

impl Flags {
    fn over(&self, base: Settings) -> Settings {
        Settings {
            rate: self.rate.unwrap_or(base.rate),
            window: self.window.unwrap_or(base.window),
            hop: self.hop.unwrap_or(base.hop),
            fft: self.fft.unwrap_or(base.fft),
            bands: self.bands.unwrap_or(base.bands),
            low: self.low.unwrap_or(base.low),
            high: self.high.unwrap_or(base.high),
            floor: self.floor.unwrap_or(base.floor),
            pre_emphasis: self.pre_emphasis.unwrap_or(base.pre_emphasis),
            coefficients: self.coefficients.unwrap_or(base.coefficients),
            adaptation: self.adaptation.unwrap_or(base.adaptation),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let settings = args.audio.as_deref().map_or(Ok(Settings::default()), Settings::read)?;
    let settings = args.flags.over(settings);
    let section = settings.section()?;
    let front_end = audio::Settings::from_bytes(&section)?;
    let recordings = Recordings::read(&args.recordings, front_end.rate())?;
    ensure!(
        args.labels.is_none() || !recordings.labels.is_empty(),
        "--labels needs a folder whose folders are the classes"
    );

    let progress = terminal::progress("listening", recordings.pcm.len());
    let data = features(front_end, &recordings, &progress)
        .with_context(|| format!("nothing to hear in {}", args.recordings.display()))?;
    progress.finish_and_clear();

    let (n, steps, width) = (data.x.len(), data.x.steps(), data.x.features());
    let mut values = vec![0.0; n * steps * width];
    for (k, values) in values.chunks_exact_mut(steps * width).enumerate() {
        let sample = data.x.sample(k);
        values[..sample.len()].copy_from_slice(sample);
    }
    let x = Array { shape: vec![n, steps, width], values: Values::F32(values) };
    let integers = |values: Vec<i64>| Array { shape: vec![n], values: Values::I64(values) };
    let lengths = integers(data.x.lengths().iter().map(|length| *length as i64).collect());
    let y = recordings.classes.map(integers);
    let mut arrays = vec![("x", &x), ("lengths", &lengths)];
    arrays.extend(y.as_ref().map(|y| ("y", y)));
    npz::write(&args.output, &arrays)?;
    if let Some(path) = &args.labels {
        atomic::write_bytes(path, (recordings.labels.join("\n") + "\n").as_bytes())?;
    }
    if let Some(path) = &args.settings {
        atomic::write_bytes(path, toml::to_string(&settings)?.as_bytes())?;
    }
    println!(
        "{}: {} recordings, {} frames of {width} features, every {} ms",
        args.output.display(),
        thousands(n),
        thousands(data.x.lengths().iter().sum()),
        1000.0 * front_end.hop() as f64 / f64::from(front_end.rate()),
    );
    Ok(())
}
