//! `gatelet keygen`: a pair of keys.

use std::path::PathBuf;

use anyhow::Result;
use gatelet_cli::sign;

/// Makes a pair of keys to sign blobs with
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  gatelet keygen release
Keep release.key to yourself: who has it can sign. release.pub goes into the firmware:
  Model::from_signed_bytes(blob, include_bytes!(\"release.pub\"), LEAST_VERSION)")]
pub(crate) struct Args {
    /// NAME.key and NAME.pub are written; neither may exist
    name: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let with = |extension: &str| {
        let mut name = args.name.clone().into_os_string();
        name.push(extension);
        PathBuf::from(name)
    };
    let (private, public) = (with(".key"), with(".pub"));
    sign::keygen(&private, &public)?;
    println!("{}: private, readable by you alone; {}: public", private.display(), public.display());
    Ok(())
}
