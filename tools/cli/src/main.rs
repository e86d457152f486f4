//! The `gatelet` command.

use std::process::ExitCode;

use clap::Parser;

mod commands;

/// Trained recurrent networks in, firmware out
#[derive(Parser)]
#[command(
    name = "gatelet",
    version,
    after_help = "\
Example:
  gatelet quantize lstm.keras --calib calib.npz -o digits.gate
  gatelet eval digits.gate --data test.npz --float lstm.keras
  gatelet device digits.gate --board cortex-m4 --input test.npz"
)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
