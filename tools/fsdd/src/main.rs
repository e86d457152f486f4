//! Writes the spoken digits' features for the command line, and ten digits by a voice that no model
//! heard: `gatelet-fsdd FOLDER`.

use std::path::Path;

use anyhow::{Context, Result};
use gatelet_fsdd::{Digits, recordings, unheard_voice, write_wav};

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).context("usage: gatelet-fsdd FOLDER")?;
    let folder = Path::new(&folder);
    if let Some(pcm) = unheard_voice()? {
        write_wav(&folder.join("unheard.wav"), &pcm)?;
    }
    let recordings = recordings().context("../shared/data/fsdd is not beside the repository")?;
    Digits::read(&recordings)?.write(folder)
}
