//! `gatelet eval`: what the blob is worth on data with answers.

use std::path::PathBuf;

use anyhow::{Context, Result};
use gatelet_cli::data::Dataset;
use gatelet_cli::evaluate::evaluate;
use gatelet_cli::host::Blob;
use gatelet_cli::scaler::import_scaled;
use gatelet_cli::terminal;

use super::show;

/// Evaluates a blob on data with answers, beside the float model it was made from
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  gatelet eval digits.gate --data test.npz --float lstm.keras")]
pub(crate) struct Args {
    /// The blob to evaluate
    blob: PathBuf,
    /// The data: an .npz file with `x` and `y`
    #[arg(long)]
    data: PathBuf,
    /// The trained model, to compare with
    #[arg(long)]
    float: Option<PathBuf>,
    /// The scaler that the blob was made with, for the trained model
    #[arg(long, value_name = "FILE", requires = "float")]
    scaler: Option<PathBuf>,
    /// Print one JSON value
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let blob = Blob::read(&args.blob)?;
    let data = Dataset::read(&args.data)?;
    let import = |path| import_scaled(path, args.scaler.as_deref());
    let float = args.float.as_deref().map(import).transpose()?;
    let progress = terminal::progress("evaluating", data.x.len());
    let result = evaluate(&blob, &data, float.as_ref(), &progress)
        .with_context(|| format!("cannot evaluate on {}", args.data.display()))?;
    progress.finish_and_clear();
    if args.json {
        println!("{}", serde_json::to_string(&result)?);
        return Ok(());
    }
    let line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            println!("{name:20} {value}");
        }
    };
    let percent = |share: Option<f64>| share.map(|share| format!("{:.2} %", 100.0 * share));
    let number = |value: Option<f64>| value.map(|value| format!("{value:.6}"));
    line("samples", Some(show::thousands(result.samples)));
    line("accuracy", percent(result.accuracy));
    line("float accuracy", percent(result.float_accuracy));
    line("MAE", number(result.mae));
    line("float MAE", number(result.float_mae));
    line("RMSE", number(result.rmse));
    line("float RMSE", number(result.float_rmse));
    let bits = |value: Option<f64>| value.map(|value| format!("{value:.4}"));
    line("bits a symbol", bits(result.bits_per_symbol));
    line("float bits a symbol", bits(result.float_bits_per_symbol));
    line("exact", percent(result.exact));
    line("float exact", percent(result.float_exact));
    line("error rate", percent(result.error_rate));
    line("float error rate", percent(result.float_error_rate));
    line("agreement", percent(result.agreement));
    line("largest error", number(result.max_abs_error));
    line("SQNR", result.sqnr_db.map(|db| format!("{db:.1} dB")));
    line("blob", Some(format!("{} bytes", show::thousands(result.blob_bytes))));
    Ok(())
}
