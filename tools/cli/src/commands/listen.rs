//! `gatelet listen`: a recording, or a microphone, to events.

use std::fs::File;
use std::io::{BufReader, Read, stdin};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gatelet_cli::atomic;
use gatelet_cli::audio::{listen, plot, wav_chunks};
use gatelet_cli::host::Blob;
use serde_json::json;

/// Listens to a recording for keywords, with the very integers of the chip
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  gatelet listen digits.gate speech.wav --plot heard.svg
  arecord -q -f S16_LE -r 8000 | gatelet listen digits.gate -
The model was quantized with --audio, --trigger and --labels.")]
pub(crate) struct Args {
    /// The blob to run
    blob: PathBuf,
    /// A WAV file, or - for one on standard input as it comes
    recording: PathBuf,
    /// Print one JSON value: `seconds`, `frames`, `events` with `seconds`, `label`, `output`, `score`
    #[arg(long)]
    json: bool,
    /// Draw features, probabilities and events
    #[arg(long, value_name = "SVG")]
    plot: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let blob = Blob::read(&args.blob)?;
    let model = blob.model()?;
    let settings = model.audio().context(
        "the model has no audio settings: quantize it with --audio SETTINGS.toml to listen",
    )?;
    let reader: Box<dyn Read> = if args.recording == Path::new("-") {
        Box::new(stdin().lock())
    } else {
        let file = File::open(&args.recording);
        Box::new(BufReader::new(
            file.with_context(|| format!("cannot open {}", args.recording.display()))?,
        ))
    };
    let in_context = || format!("cannot listen to {}", args.recording.display());
    // A frame at a time, so that an event is said when it happens.
    let chunks = wav_chunks(reader, settings.rate(), settings.hop()).with_context(in_context)?;
    let heard = listen(model, chunks, |event| {
        if !args.json {
            println!("{:10.2} s  {:12} {:.2}", event.seconds, event.label, event.score);
        }
    })
    .with_context(in_context)?;
    if let Some(path) = &args.plot {
        atomic::write_bytes(path, plot(&model, &heard).as_bytes())?;
    }
    let seconds = heard.samples as f64 / f64::from(settings.rate());
    if args.json {
        let value = json!({ "seconds": seconds, "frames": heard.frames, "events": heard.events });
        println!("{value}");
    } else {
        println!("{} events in {seconds:.1} s", heard.events.len());
    }
    Ok(())
}
