//! `gatelet classify`: text in, a label out.

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use gatelet_cli::host::Blob;
use gatelet_cli::text;

/// Longest text read from standard input, in bytes.
const MOST: u64 = 1 << 20;

/// Classifies a text, with the very integers of the chip
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  gatelet classify sentiment.gate \"质量还不错\"
  gatelet classify sentiment.gate - --json < review.txt")]
pub(crate) struct Args {
    /// The blob, made with --vocabulary
    blob: PathBuf,
    /// The text; - reads standard input
    text: String,
    /// Print one JSON value
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let blob = Blob::read(&args.blob)?;
    let text = if args.text == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().take(MOST + 1).read_to_end(&mut bytes).context("cannot read the text")?;
        ensure!(bytes.len() as u64 <= MOST, "the text is longer than {MOST} bytes");
        bytes.trim_ascii_end().to_vec()
    } else {
        args.text.clone().into_bytes()
    };
    let answer = text::classify(&blob.model()?, &text)?;
    if args.json {
        println!("{}", serde_json::to_string(&answer)?);
    } else {
        println!("{} {:.1} %", answer.label, 100.0 * answer.probability);
        if answer.unknown > 0 {
            println!("{} of {} characters unknown", answer.unknown, answer.characters);
        }
    }
    Ok(())
}
