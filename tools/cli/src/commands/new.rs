//! `gatelet new`: a firmware project around a blob.

use std::path::PathBuf;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use gatelet_cli::device::{BOARDS, Board, REAL_BOARDS, repository};
use gatelet_cli::host::Blob;
use gatelet_cli::project;

/// Writes a firmware project that builds and runs as it stands
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  gatelet new hello --board cortex-m4 --model digits.gate
  cd hello
  cargo run --release < samples.bin > answers.bin")]
pub(crate) struct Args {
    /// The project's folder: new, or empty
    folder: PathBuf,
    /// The board to run on
    #[arg(long, value_parser = PossibleValuesParser::new(BOARDS.into_iter().chain(REAL_BOARDS)))]
    board: String,
    /// The blob to run
    #[arg(long)]
    model: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let blob = Blob::read(&args.model)?;
    let board = Board::named(&args.board)?;
    project::create(&args.folder, &board, &blob)?;
    println!("{} runs {} on {}:", args.folder.display(), args.model.display(), board.name);
    let streams = if board.is_emulated() { " < samples.bin > answers.bin" } else { "" };
    println!("  cd {}\n  cargo run --release{streams}", args.folder.display());
    println!("It depends by path on the engine in {}.", repository().display());
    Ok(())
}
