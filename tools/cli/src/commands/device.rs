//! `gatelet device`: a blob on a board, compared with the host.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use gatelet::Model;
use gatelet_cli::audio::read_wav;
use gatelet_cli::data::Dataset;
use gatelet_cli::device::{self, BOARDS, Board, Sample};
use gatelet_cli::host::{self, Blob};

use super::show::thousands;

/// Builds a board's firmware, runs it in QEMU and compares every bit with the host
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  gatelet device digits.gate --board cortex-m4 --input test.npz
  gatelet device spot.gate --board cortex-m4 --listen speech.wav")]
pub(crate) struct Args {
    /// The blob to run
    blob: PathBuf,
    /// The board to run it on
    #[arg(long, value_parser = BOARDS)]
    board: String,
    /// Samples to run: an .npz file with `x`, and `encoder` for an encoder-decoder [without it, 20
    /// random sequences of up to 20 steps]
    #[arg(long)]
    input: Option<PathBuf>,
    /// A WAV file to hear, through front-end, network and trigger
    #[arg(long, value_name = "WAV", conflicts_with = "input")]
    listen: Option<PathBuf>,
    /// Print one JSON value
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let blob = Blob::read(&args.blob)?;
    let model = blob.model()?;
    if let Some(path) = &args.listen {
        return listen(args, model, path);
    }
    let samples = match &args.input {
        Some(path) => {
            let x = Dataset::read(path)?.x;
            host::expect_fit(&model, &x)
                .with_context(|| format!("cannot run on {}", path.display()))?;
            Sample::all(&model, &x)
        }
        None => Sample::random(&model, 20),
    };
    let report = device::run(&Board::named(&args.board)?, &args.blob, model, &samples)?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("board                  {}", report.board);
        println!("samples                {}", report.samples);
        println!("same bits as the host  {}", if report.bit_exact { "yes" } else { "NO" });
        let (least, most) = (report.least_instructions, report.instructions_per_step);
        let whose = if model.encoder() > 0 { " of the decoder" } else { "" };
        match most - least {
            0 => println!("instructions a step    {most}{whose}, for every input"),
            _ => println!("instructions a step    {least} to {most}{whose}, as the input is"),
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

fn listen(args: &Args, model: Model<'_>, recording: &Path) -> Result<()> {
    let settings = model.audio().context(
        "the model has no audio settings: quantize it with --audio SETTINGS.toml to listen",
    )?;
    let in_context = || format!("cannot read {}", recording.display());
    let file = File::open(recording).with_context(in_context)?;
    let pcm = read_wav(BufReader::new(file), settings.rate()).with_context(in_context)?;
    let heard = device::listen(&Board::named(&args.board)?, &args.blob, model, &pcm)?;
    if args.json {
        println!("{}", serde_json::to_string(&heard)?);
    } else {
        println!("board                  {}", heard.board);
        println!("frames                 {}", heard.frames);
        println!("same bits as the host  {}", if heard.bit_exact { "yes" } else { "NO" });
        println!("instructions a frame   {} at most", heard.instructions_per_frame);
        println!("instructions a second  {}", thousands(heard.instructions_per_second as usize));
        println!("firmware in flash      {} bytes", heard.flash_bytes);
        println!("firmware in RAM        {} bytes", heard.ram_bytes);
        for event in &heard.events {
            println!("{:10.2} s  {:12} {:.2}", event.seconds, event.label, event.score);
        }
    }
    if let Some(frame) = heard.first_difference {
        bail!("{} differs from the host, first in frame {frame}", heard.board);
    }
    Ok(())
}
