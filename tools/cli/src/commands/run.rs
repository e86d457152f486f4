//! `gatelet run`: a blob over a data file, on the host.

use std::path::PathBuf;

use anyhow::Result;
use gatelet_cli::data::Dataset;
use gatelet_cli::host::{self, Blob};
use gatelet_cli::npz::{self, Array, Values};
use gatelet_cli::terminal;

/// Runs a blob on the host, with the very integers of the chip
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  gatelet run digits.gate --input test.npz -o answers.npz
The file written holds `y` float32, in the units of training, and `raw` int16, [N, outputs], or [N, T, outputs] with zeros past
the end of a sequence if the model answers at every step.")]
pub(crate) struct Args {
    /// The blob to run
    blob: PathBuf,
    /// The samples: an .npz file with `x` float32 [N, T, I]
    #[arg(long)]
    input: PathBuf,
    /// The .npz file to write
    #[arg(short, long)]
    output: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let blob = Blob::read(&args.blob)?;
    let model = blob.model()?;
    let x = Dataset::read(&args.input)?.x;
    host::expect_fit(&model, &x)?;
    let progress = terminal::progress("running", x.len());
    let answers = host::run(&model, &x, &progress);
    progress.finish_and_clear();

    let mut shape = vec![x.len(), x.steps(), model.outputs()];
    if model.answers_last() {
        shape.remove(1);
    }
    let width: usize = shape[1..].iter().product();
    let mut raw = Vec::with_capacity(x.len() * width);
    for answer in answers {
        let end = raw.len() + width;
        raw.extend(answer);
        raw.resize(end, 0);
    }
    let mut y = vec![0.0; raw.len()];
    let outputs = model.outputs();
    for (y, raw) in y.chunks_exact_mut(outputs).zip(raw.chunks_exact(outputs)) {
        model.dequantize(raw, y);
    }
    let y = Array { shape: shape.clone(), values: Values::F32(y) };
    let raw = Array { shape, values: Values::I16(raw) };
    npz::write(&args.output, &[("y", &y), ("raw", &raw)])
}
