//! Writes the spoken digits' features for the command line: `gatelet-fsdd FOLDER`.

use std::path::Path;

use anyhow::{Context, Result};
use gatelet_fsdd::{Digits, recordings};

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).context("usage: gatelet-fsdd FOLDER")?;
    let recordings = recordings().context("../shared/data/fsdd is not beside the repository")?;
    Digits::read(&recordings)?.write(Path::new(&folder))
}
