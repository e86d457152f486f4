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
  gatelet inspect digits.gate --clock 80 --rate 100")]
pub(crate) struct Args {
    /// The blob to look into
    blob: PathBuf,
    /// Clock of the core in MHz, for estimated milliseconds
    #[arg(long, default_value_t = 64.0, value_name = "MHZ", value_parser = positive)]
    clock: f64,
    /// Steps a second, for the estimated share of the time that the core is busy
    #[arg(long, value_name = "HZ", value_parser = positive)]
    rate: Option<f64>,
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
    if let Some(steps) = summary.steps {
        println!("sequences    {steps} steps at most, read as a whole");
    }
    for (output, (mean, step)) in summary.output_scaling.iter().enumerate() {
        // Most outputs are alike, and one line says it.
        if output == 0 || summary.output_scaling[0] != (*mean, *step) {
            println!("output {output:<5} {mean} + {step:e} a unit");
        }
    }
    println!("packing      {}", summary.packing);
    println!("flash        {} bytes", show::thousands(summary.blob_bytes));
    println!("RAM          {} bytes", show::thousands(summary.ram_bytes));
    println!("MACs a step  {}", show::thousands(summary.macs_per_step));
    println!("\nestimated, from the blob laid out for the core, without wait states:");
    println!("{:12} {:>14} {:>10} {:>9} MHz", "core", "instructions", "cycles", args.clock);
    for core in &summary.estimates {
        let milliseconds = core.milliseconds(args.clock);
        print!(
            "{:12} {:>14} {:>10} {milliseconds:>10.3} ms",
            core.core,
            show::thousands(core.instructions_per_step as usize),
            show::thousands(core.cycles_per_step as usize),
        );
        match args.rate {
            Some(rate) => println!(" {:>7.2} % busy", milliseconds / 10.0 * rate),
            None => println!(),
        }
    }
    println!();
    if let Some(characters) = summary.characters {
        println!("vocabulary   {} characters", show::thousands(characters));
    }
    if !summary.labels.is_empty() {
        println!("labels       {}", summary.labels.join(", "));
    }
    for (key, value) in &summary.metadata {
        println!("{key:12} {value}");
    }
    Ok(())
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("it must be a number above 0".to_owned()),
    }
}
