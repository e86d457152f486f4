//! `gatelet quantize`: trained weights in, blob out.

use std::path::PathBuf;

use anyhow::{Context, Result};
use gatelet::WeightType;
use gatelet_cli::calibrate::calibrate;
use gatelet_cli::data::Dataset;
use gatelet_cli::host::Blob;
use gatelet_cli::import::import;
use gatelet_cli::pack::{Notes, pack};
use gatelet_cli::provenance::provenance;
use gatelet_cli::quantize::quantize;
use gatelet_cli::sqnr::Recording;
use gatelet_cli::target::{TARGETS, packing};
use gatelet_cli::{atomic, terminal};

use super::show;

/// Sequences of the calibration data that the layers' SQNR is measured on.
const SHOWN: usize = 200;

/// Quantizes a trained model into a blob
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  gatelet quantize lstm.keras --calib calib.npz -o digits.gate --labels digits.txt")]
pub(crate) struct Args {
    /// The trained model: .onnx, .keras, .h5 or .safetensors
    model: PathBuf,
    /// Samples that look like those in the field: an .npz file with `x` float32 [N, T, I]
    #[arg(long)]
    calib: PathBuf,
    /// The blob to write
    #[arg(short, long)]
    output: PathBuf,
    /// Number format of the weights
    #[arg(long, default_value = "int8", value_parser = ["int8", "int16", "int4"])]
    weights: String,
    /// Names of the outputs, one a line
    #[arg(long)]
    labels: Option<PathBuf>,
    /// The core to lay the weights out for; every blob runs on every core, only slower
    #[arg(long, default_value = "cortex-m4", value_parser = TARGETS)]
    target: String,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let graph = import(&args.model)?;
    let calibration = Dataset::read(&args.calib)?;
    calibration
        .x
        .expect_features(graph.inputs())
        .with_context(|| format!("{} does not fit the model", args.calib.display()))?;
    let labels = match &args.labels {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the labels in {}", path.display()))?
            .lines()
            .map(str::to_owned)
            .collect(),
        None => Vec::new(),
    };

    let progress = terminal::progress("calibrating", calibration.x.len());
    let ranges = calibrate(&graph, &calibration.x, &progress);
    progress.finish_and_clear();
    let weights = match args.weights.as_str() {
        "int16" => WeightType::Int16,
        "int4" => WeightType::Int4,
        _ => WeightType::Int8,
    };
    let quantized = quantize(&graph, &ranges, weights)?;
    let packing = packing(&args.target);
    let metadata = provenance(&args.model, &args.calib, &calibration.x)?;
    let blob = Blob::new(&pack(&quantized, packing, &Notes { labels, metadata })?);
    // The engine's own reader has the last word before anything is written.
    let model = blob.model()?;
    let sqnr = Recording::new(&graph, calibration.x.spread(SHOWN)).layers(&model);
    atomic::write_bytes(&args.output, blob.bytes())?;

    for layer in quantized.layers.iter().filter(|layer| layer.weights != weights) {
        println!(
            "note: layer `{}` has {} weights, since {} cannot represent it",
            layer.name,
            format!("{:?}", layer.weights).to_lowercase(),
            args.weights
        );
    }
    graph.notes.iter().for_each(|note| println!("note: {note}"));
    println!("{:24} {:>12} {:>10}", "layer", "shape", "SQNR");
    for (layer, sqnr) in graph.layers.iter().zip(sqnr) {
        let shape = format!("{} -> {}", layer.inputs(), layer.units());
        println!(
            "{:24} {shape:>12} {:7.1} dB",
            format!("{} ({})", layer.name, layer.op.kind()),
            sqnr.db()
        );
    }
    println!(
        "{}: {} parameters in {} bytes, {} bytes of RAM",
        args.output.display(),
        show::thousands(graph.parameters()),
        show::thousands(blob.bytes().len()),
        show::thousands(4 * model.memory_words()),
    );
    Ok(())
}
