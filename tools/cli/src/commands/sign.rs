//! `gatelet sign`: a blob that its devices can tell from others.

use std::path::PathBuf;

use anyhow::Result;
use gatelet_cli::host::Blob;
use gatelet_cli::{atomic, sign};

/// Signs a blob
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  gatelet sign digits.gate --key release.key --version 3 -o digits-3.gate
A blob that is signed already is signed anew.")]
pub(crate) struct Args {
    /// The blob to sign
    blob: PathBuf,
    /// The private key, as `gatelet keygen` makes it
    #[arg(long)]
    key: PathBuf,
    /// Counts up from release to release: devices can refuse an older one
    #[arg(long)]
    version: u32,
    /// The blob to write
    #[arg(short, long)]
    output: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let key = sign::private_key(&args.key)?;
    let signed = sign::sign(&Blob::read(&args.blob)?, &key, args.version)?;
    // The engine has the last word before anything is written.
    sign::verify(&Blob::new(&signed), key.verifying_key().as_bytes(), args.version)?;
    atomic::write_bytes(&args.output, &signed)?;
    println!("{}: signed as version {}", args.output.display(), args.version);
    Ok(())
}
