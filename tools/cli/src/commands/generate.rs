//! `gatelet generate`: a prompt in, what a language model or an encoder-decoder makes of it out.

use std::path::PathBuf;

use anyhow::Result;
use gatelet_cli::host::Blob;
use gatelet_cli::text::{Generation, generate};
use serde_json::json;

/// Continues a text, or says what an encoder-decoder makes of it, with the very integers of the chip
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  gatelet generate shakespeare.gate --prompt \"To be, or not\" --length 300 --seed 7
  gatelet generate g2p.gate --prompt recurrent")]
pub(crate) struct Args {
    /// The blob, made with --vocabulary
    blob: PathBuf,
    /// The text to continue
    #[arg(long, default_value = "")]
    prompt: String,
    /// Most characters to add
    #[arg(long, default_value_t = 200)]
    length: usize,
    /// 1 for the model's own probabilities, less for likelier text [default: 0.7; the likeliest of an
    /// encoder-decoder]
    #[arg(long, value_parser = temperature)]
    temperature: Option<f32>,
    /// The same seed gives the same text, here and on every board
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON value
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let blob = Blob::read(&args.blob)?;
    let Args { length, temperature, seed, .. } = *args;
    let how = Generation { length, temperature, seed };
    let model = blob.model()?;
    let text = generate(&model, args.prompt.as_bytes(), how)?;
    if args.json {
        println!("{}", json!({ "prompt": args.prompt, "text": text }));
    } else if model.encoder() > 0 {
        println!("{text}");
    } else {
        println!("{}{text}", args.prompt);
    }
    Ok(())
}

fn temperature(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("it must be a number from 0 on".to_owned()),
    }
}
