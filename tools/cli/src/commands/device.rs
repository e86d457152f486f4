//! `gatelet device`: a blob on a board, compared with the host.

use std::path::PathBuf;

use anyhow::{Result, bail};
use gatelet_cli::data::Dataset;
use gatelet_cli::device::{self, BOARDS, Board};
use gatelet_cli::host::{self, Blob};

/// Builds a board's firmware, runs it in QEMU and compares every bit with the host
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  gatelet device digits.gate --board cortex-m4 --input test.npz")]
pub(crate) struct Args {
    /// The blob to run
    blob: PathBuf,
    /// The board to run it on
    #[arg(long, value_parser = BOARDS)]
    board: String,
    /// Samples to run: an .npz file with `x` [without it, 20 random sequences of up to 20 steps]
    #[arg(long)]
    input: Option<PathBuf>,
    /// Print one JSON value
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let blob = Blob::read(&args.blob)?;
    let model = blob.model()?;
    let samples: Vec<_> = match &args.input {
        Some(path) => {
            let x = Dataset::read(path)?.x;
            host::expect_fit(&model, &x)?;
            (0..x.len()).map(|sample| host::quantize(&model, x.sample(sample))).collect()
        }
        None => {
            let steps = if model.steps() > 0 { model.steps().min(20) } else { 20 };
            device::random(20, steps * model.inputs())
        }
    };
    let report = device::run(&Board::named(&args.board)?, &args.blob, model, &samples)?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("board                  {}", report.board);
        println!("samples                {}", report.samples);
        println!("same bits as the host  {}", if report.bit_exact { "yes" } else { "NO" });
        let (least, most) = (report.least_instructions, report.instructions_per_step);
        match most - least {
            0 => println!("instructions a step    {most}, for every input"),
            _ => println!("instructions a step    {least} to {most}, as the input is"),
        }
        println!("engine in flash        {} bytes", report.engine_text_bytes);
        println!("engine in RAM          {} bytes", report.ram_bytes);
        println!("stack                  {} bytes", report.stack_bytes);
    }
    if let Some((sample, step)) = report.first_difference {
        bail!("{} differs from the host, first in sample {sample}, step {step}", report.board);
    }
    Ok(())
}
