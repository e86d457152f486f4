//! `gatelet verify`: whether a device would take a signed blob.

use std::path::PathBuf;

use anyhow::{Context, Result};
use gatelet_cli::host::Blob;
use gatelet_cli::sign;

/// Verifies a blob's signature, as a device does
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  gatelet verify digits-3.gate --key release.pub --least-version 2")]
pub(crate) struct Args {
    /// The signed blob
    blob: PathBuf,
    /// The public key, as `gatelet keygen` makes it
    #[arg(long)]
    key: PathBuf,
    /// The oldest version to take
    #[arg(long, default_value_t = 0)]
    least_version: u32,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let key = sign::public_key(&args.key)?;
    let blob = Blob::read(&args.blob)?;
    let model = sign::verify(&blob, &key, args.least_version)
        .with_context(|| format!("{} is refused", args.blob.display()))?;
    let version = model.version().unwrap_or_default();
    println!("{}: version {version}, signed by the owner of the key", args.blob.display());
    Ok(())
}
