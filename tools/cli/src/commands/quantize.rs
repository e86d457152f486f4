//! `gatelet quantize`: trained weights in, blob out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use gatelet::WeightType;
use gatelet::blob::format::extra;
use gatelet_cli::audio;
use gatelet_cli::budget::{Found, search};
use gatelet_cli::calibrate::{Statistics, calibrate};
use gatelet_cli::data::{Dataset, Targets};
use gatelet_cli::forecast::anomaly;
use gatelet_cli::graph::{Graph, Op};
use gatelet_cli::host::Blob;
use gatelet_cli::pack::{Notes, pack};
use gatelet_cli::provenance::provenance;
use gatelet_cli::quantize::quantize;
use gatelet_cli::report::{Report, Source};
use gatelet_cli::scaler::import_scaled;
use gatelet_cli::sqnr::{self, Noise, Recording};
use gatelet_cli::target::{TARGETS, packing};
use gatelet_cli::vocabulary::Vocabulary;
use gatelet_cli::{atomic, self_test, terminal};

use super::show;

/// Sequences of the calibration data that the layers' SQNR is measured on.
const SHOWN: usize = 200;

/// Quantizes a trained model into a blob
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  gatelet quantize lstm.keras --calib calib.npz -o digits.gate --labels digits.txt
  gatelet quantize lstm.keras --calib calib.npz -o digits.gate --data test.npz --report report
  gatelet quantize lstm.keras --calib calib.npz -o digits.gate --data test.npz --budget 0.1")]
pub(crate) struct Args {
    /// The trained model: .onnx, .keras, .h5 or .safetensors
    model: PathBuf,
    /// Samples that look like those in the field: an .npz file with `x` float32 [N, T, I], or int
    /// [N, T] of tokens
    #[arg(long)]
    calib: PathBuf,
    /// The blob to write
    #[arg(short, long)]
    output: PathBuf,
    /// Number format of the weights
    #[arg(long, default_value = "int8", value_parser = ["int8", "int16", "int4"])]
    weights: String,
    /// Instead of one format for all layers, the smallest blob that loses at most so many points of
    /// accuracy (percent of RMSE, if the targets are numbers) on --data
    #[arg(long, value_name = "POINTS", conflicts_with = "weights")]
    budget: Option<f64>,
    /// Data with answers, for --budget and --report: an .npz file with `x` and `y`. A report without
    /// it is about the calibration data
    #[arg(long)]
    data: Option<PathBuf>,
    /// Write what quantization cost into this folder: index.html and report.json
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// The scaling that the network was trained behind, so that the blob takes and gives raw units:
    /// an .npz, .json or .toml file with scikit-learn's `mean_` and `scale_` (or `min_` and `scale_`),
    /// each with `input_` or `output_` before it where they differ. Calibration data and --data are
    /// then in raw units
    #[arg(long, value_name = "FILE")]
    scaler: Option<PathBuf>,
    /// Most steps of a sequence, for a model with layers that run backwards: it keeps all of them in
    /// RAM [without it, the steps of the longest calibration sequence]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Of a forecaster: store when its residual is an anomaly, and how large calibration finds it
    /// usually. Settings are any of threshold (usual residuals; 8), raise and clear (anomalies and
    /// other samples in a row until the alarm goes on and off; 1 and 3), rate (the usual residual
    /// follows over 2^rate samples; 6) and warmup (samples until the first score; 24)
    #[arg(long, value_name = "NAME=NUMBER,...", num_args = 0..=1, default_missing_value = "")]
    anomaly: Option<String>,
    /// Names of the outputs, one a line
    #[arg(long)]
    labels: Option<PathBuf>,
    /// Settings of the audio front-end that made the features, a TOML file: the blob then hears
    #[arg(long, value_name = "TOML")]
    audio: Option<PathBuf>,
    /// Settings of the keyword trigger, a TOML file
    #[arg(long, value_name = "TOML", requires = "labels")]
    trigger: Option<PathBuf>,
    /// Which token is which character, for a model that reads text: a token a line, or .json
    #[arg(long)]
    vocabulary: Option<PathBuf>,
    /// The core to lay the weights out for; every blob runs on every core, only slower
    #[arg(long, default_value = "cortex-m4", value_parser = TARGETS)]
    target: String,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(
        args.budget.is_none() || args.data.is_some(),
        "--budget needs data with the right answers: add --data TEST.npz"
    );
    ensure!(
        args.budget.is_none_or(|budget| budget.is_finite() && budget >= 0.0),
        "--budget takes the points that may be lost: a number from 0 on"
    );
    ensure!(
        args.data.is_none() || args.budget.is_some() || args.report.is_some(),
        "--data is for --budget and --report: add one of them, or use `gatelet eval` afterwards"
    );
    let graph = import_scaled(&args.model, args.scaler.as_deref())?;
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

    let extras = sections(args, &graph, &labels)?;
    let data = args.data.as_ref().map(|path| read_data(path, &graph)).transpose()?;

    let progress = terminal::progress("calibrating", calibration.x.len());
    let mut seen = calibrate(&graph, &calibration.x, &progress);
    progress.finish_and_clear();
    if let Some(section) = extras.get(&extra::AUDIO) {
        seen.input_step = Some(gatelet::audio::Settings::from_bytes(section)?.step());
    }
    if let Some(steps) = args.steps {
        seen.steps = bound(&graph, &seen, steps)?;
    }
    let packing = packing(&args.target);
    let weights = match args.weights.as_str() {
        "int16" => WeightType::Int16,
        "int4" => WeightType::Int4,
        _ => WeightType::Int8,
    };
    let found = match (args.budget, &data) {
        (Some(budget), Some(data)) => {
            let progress = terminal::spinner("searching");
            let found = search(&graph, &seen, data, budget, packing, &progress)?;
            progress.finish_and_clear();
            Some((budget, found))
        }
        _ => None,
    };
    let quantized = match &found {
        Some((_, found)) => found.model.clone(),
        None => quantize(&graph, &seen, weights)?,
    };
    let metadata = provenance(&args.model, &args.calib, &calibration.x)?;
    let mut notes = Notes { labels, metadata, extras };
    let blob = Blob::new(&pack(&quantized, packing, &notes)?);
    let self_test = self_test::section(&blob.model()?, &calibration.x);
    notes.extras.insert(extra::SELF_TEST, self_test);
    if let Some(settings) = &args.anomaly {
        let settings = anomaly::parse(settings).context("--anomaly cannot be used")?;
        let section = anomaly::section(blob.model()?, &calibration.x, settings)?;
        notes.extras.insert(extra::ANOMALY, section);
    }
    let blob = Blob::new(&pack(&quantized, packing, &notes)?);
    // The engine's own reader has the last word before anything is written.
    let model = blob.model()?;
    let sqnr = Recording::new(&graph, calibration.x.spread(SHOWN)).layers(&model);
    if let Some(folder) = &args.report {
        let compared = data.as_ref().unwrap_or(&calibration);
        let file_name =
            |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let progress = terminal::progress("measuring", compared.x.len());
        let source = Source {
            name: file_name(&args.model),
            data_name: file_name(args.data.as_ref().unwrap_or(&args.calib)),
            graph: &graph,
            seen: &seen,
            quantized: &quantized,
            blob: &blob,
            data: compared,
        };
        let report = Report::new(source, &progress)?;
        progress.finish_and_clear();
        report.write(folder)?;
    }
    atomic::write_bytes(&args.output, blob.bytes())?;

    if let Some((budget, found)) = &found {
        show_search(&graph, *budget, found, data.as_ref());
    } else {
        for layer in quantized.layers.iter().filter(|layer| layer.weights != weights) {
            println!(
                "note: layer `{}` has {} weights, since {} does not represent it well enough",
                layer.name,
                show::weights(layer.weights),
                args.weights
            );
        }
    }
    let saturating = quantized.saturating(&seen);
    if !saturating.is_empty() {
        println!(
            "note: the rare wild values of features {saturating:?} saturate, so that the others keep \
             their precision"
        );
    }
    graph.notes.iter().for_each(|note| println!("note: {note}"));
    if model.steps() > 0 {
        println!(
            "note: it reads whole sequences, of {} steps at most{}",
            model.steps(),
            if args.steps.is_some() {
                ""
            } else {
                ", as long as the longest of the calibration (--steps)"
            }
        );
    }
    println!("{:24} {:>12} {:>10}", "layer", "shape", "SQNR");
    for (layer, sqnr) in graph.layers.iter().zip(&sqnr) {
        let shape = format!("{} -> {}", layer.inputs(), layer.units());
        println!(
            "{:24} {shape:>12} {:7.1} dB",
            format!("{} ({})", layer.name, layer.op.kind()),
            sqnr.db()
        );
    }
    if found.is_none()
        && let Some(advice) = sqnr::advice(&quantized, sqnr.iter().map(Noise::db))
    {
        println!("advice: {advice}");
    }
    println!(
        "{}: {} parameters in {} bytes, {} bytes of RAM",
        args.output.display(),
        show::thousands(graph.parameters()),
        show::thousands(blob.bytes().len()),
        show::thousands(4 * model.memory_words()),
    );
    if let Some(folder) = &args.report {
        println!("report: {}", folder.join("index.html").display());
    }
    Ok(())
}

/// Further sections of the blob: vocabulary, settings of front-end and trigger.
fn sections(args: &Args, graph: &Graph, labels: &[String]) -> Result<BTreeMap<u32, Vec<u8>>> {
    let mut sections = BTreeMap::new();
    if let Some(path) = &args.audio {
        let in_context = || format!("in {}", path.display());
        let section = audio::Settings::read(path)?.section().with_context(in_context)?;
        let features = gatelet::audio::Settings::from_bytes(&section)?.features();
        ensure!(
            features == graph.inputs(),
            "the front-end of {} gives {features} features, but the model takes {}",
            path.display(),
            graph.inputs()
        );
        sections.insert(extra::AUDIO, section);
    }
    if let Some(path) = &args.trigger {
        let in_context = || format!("in {}", path.display());
        let section = audio::Trigger::read(path)?.section(labels).with_context(in_context)?;
        sections.insert(extra::TRIGGER, section);
    }
    if let Some(path) = &args.vocabulary {
        let vocabulary = Vocabulary::read(path)?;
        let section = vocabulary.section(tokens(graph), graph.outputs(), labels)?;
        sections.insert(extra::VOCABULARY, section);
    }
    Ok(sections)
}

/// The bound `steps`, if the network needs one that long.
fn bound(graph: &Graph, seen: &Statistics, steps: usize) -> Result<usize> {
    ensure!(
        graph.is_bidirectional(),
        "--steps is for models with layers that run backwards; this one takes sequences without end: \
         leave it out"
    );
    ensure!(
        steps >= seen.steps,
        "--steps {steps} is less than the {} of the longest calibration sequence",
        seen.steps
    );
    Ok(steps)
}

/// Tokens that the model knows; 0 if it takes features.
fn tokens(graph: &Graph) -> usize {
    match &graph.layers[0].op {
        Op::Embedding(embedding) => embedding.table.rows(),
        _ => 0,
    }
}

fn read_data(path: &Path, graph: &Graph) -> Result<Dataset> {
    let data = Dataset::read(path)?;
    let fits = data.x.expect_features(graph.inputs());
    fits.with_context(|| format!("{} does not fit the model", path.display()))?;
    Ok(data)
}

/// What the search for the smallest blob tried, and why it took what it took.
fn show_search(graph: &Graph, budget: f64, found: &Found, data: Option<&Dataset>) {
    let numbers = matches!(data.and_then(|d| d.y.as_ref()), Some(Targets::Values { .. }));
    let unit = if numbers { "% of RMSE" } else { "points" };
    println!("{:>10} {:>10}  weights of {}", "bytes", unit, {
        let names: Vec<_> = graph.layers.iter().map(|layer| layer.name.as_str()).collect();
        names.join(", ")
    });
    for trial in &found.trials {
        let weights: Vec<_> = trial.weights.iter().map(|w| show::weights(*w)).collect();
        println!(
            "{:>10} {:>10.3}  {}{}",
            show::thousands(trial.bytes),
            trial.cost,
            weights.join(", "),
            if trial.cost <= budget { "  <- within the budget" } else { "" }
        );
    }
    println!(
        "the smallest of {} combinations that costs at most {budget} {unit}; {} tried",
        found.combinations,
        found.trials.len()
    );
}
