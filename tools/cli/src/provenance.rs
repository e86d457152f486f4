//! Where a blob came from: what its metadata says.

use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::data::Sequences;

/// Tool version, source file and its hash, calibration data and its hash.
///
/// # Errors
/// If a file cannot be read.
pub fn provenance(model: &Path, calib: &Path, x: &Sequences) -> Result<Vec<(String, String)>> {
    let calibration = format!("{} sequences, {}", x.len(), identity(calib)?);
    Ok(vec![
        ("tool".to_owned(), concat!("gatelet ", env!("CARGO_PKG_VERSION")).to_owned()),
        ("source".to_owned(), identity(model)?),
        ("calibration".to_owned(), calibration),
    ])
}

/// Name of a file and the start of its SHA-256: 64 bits tell two training runs apart.
fn identity(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let hash: String = Sha256::digest(&bytes)[..8].iter().map(|b| format!("{b:02x}")).collect();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!("{name} sha256:{hash}"))
}
