//! `gatelet bench`: what a step costs, on every board.

use std::path::PathBuf;

use anyhow::Result;
use gatelet::WeightType;
use gatelet_cli::bench::{self, Measurement, WEIGHTS};
use gatelet_cli::device::BOARDS;
use gatelet_cli::{atomic, terminal};

use super::show::thousands;

/// Counts the instructions of a step: every cell and shape, in QEMU
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  gatelet bench --board cortex-m4
The counts are exact, the same in every run and for every input; a count that depends on the input is
an error.")]
pub(crate) struct Args {
    /// The board to measure
    #[arg(long, default_value = "all", value_parser = board_or_all())]
    board: String,
    /// Number format of the weights
    #[arg(long, default_value = "int8", value_parser = ["int8", "int16", "int4", "all"])]
    weights: String,
    /// Write a plot beside the peers' figures
    #[arg(long, value_name = "SVG")]
    plot: Option<PathBuf>,
    /// Print one JSON value
    #[arg(long)]
    json: bool,
}

fn board_or_all() -> clap::builder::PossibleValuesParser {
    BOARDS.iter().copied().chain(["all"]).collect::<Vec<_>>().into()
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let boards = bench::boards(&args.board)?;
    let weights: Vec<WeightType> = WEIGHTS
        .into_iter()
        .filter(|w| args.weights == "all" || args.weights == format!("{w:?}").to_lowercase())
        .collect();
    let progress = terminal::progress("measuring", boards.len() * bench::measurements(&weights));
    let all = bench::bench(&boards, &weights, &progress)?;
    progress.finish_and_clear();
    if let Some(path) = &args.plot {
        atomic::write_bytes(path, bench::plot(&all)?.as_bytes())?;
    }
    if args.json {
        println!("{}", serde_json::to_string(&all)?);
        return Ok(());
    }
    println!(
        "| board | cell | weights | input x hidden | MACs | gatelet | a MAC | CMSIS-NN s8 | s16 | float C |"
    );
    println!("|---|---|---|---|---:|---:|---:|---:|---:|---:|");
    all.iter().for_each(line);
    Ok(())
}

fn line(m: &Measurement) {
    let peer = m.peer();
    let figure = |n: Option<u32>| n.map_or(String::new(), |n| thousands(n as usize));
    println!(
        "| {} | {} | {} | {} x {} | {} | {} | {:.2} | {} | {} | {} |",
        m.board,
        m.cell,
        m.weights,
        m.input,
        m.hidden,
        thousands(m.macs_per_step),
        thousands(m.instructions_per_step as usize),
        f64::from(m.instructions_per_step) / m.macs_per_step as f64,
        figure(peer.map(|p| p.s8)),
        figure(peer.map(|p| p.s16)),
        figure(peer.and_then(|p| p.float)),
    );
}
