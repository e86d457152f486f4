//! `gatelet inspect`: what is in a blob.

use std::path::PathBuf;

use anyhow::Result;
use gatelet_cli::host::Blob;
use gatelet_cli::inspect::inspect;

use super::show;

/// Shows what is in a blob: layers, sizes, scales, RAM, flash
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  gatelet inspect digits.gate --json")]
pub(crate) struct Args {
    /// The blob to look into
    blob: PathBuf,
    /// Print one JSON value
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let blob = Blob::read(&args.blob)?;
    let summary = inspect(&blob)?;
    if args.json {
        println!("{}", serde_json::to_string(&summary)?);
        return Ok(());
    }
    println!("{:28} {:>12} {:>8} {:>10} {:>10}", "layer", "shape", "weights", "flash", "MACs");
    for layer in &summary.layers {
        println!(
            "{:28} {:>12} {:>8} {:>10} {:>10}",
            layer.kind,
            format!("{} -> {}", layer.inputs, layer.units),
            layer.weights,
            show::thousands(layer.flash_bytes),
            show::thousands(layer.macs_per_step),
        );
    }
    println!(
        "output       {}",
        if summary.answers_last { "after the last step" } else { "every step" }
    );
    println!("output scale {:e}", summary.output_scale);
    println!("packing      {}", summary.packing);
    println!("flash        {} bytes", show::thousands(summary.blob_bytes));
    println!("RAM          {} bytes", show::thousands(summary.ram_bytes));
    println!("MACs a step  {}", show::thousands(summary.macs_per_step));
    if !summary.labels.is_empty() {
        println!("labels       {}", summary.labels.join(", "));
    }
    for (key, value) in &summary.metadata {
        println!("{key:12} {value}");
    }
    Ok(())
}
