//! From a framework's file to a [`Graph`].

mod hdf5;
mod keras;
mod safetensors;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::graph::{Graph, Matrix};

/// Largest model file read, and largest file inside an archive: 256 MiB.
const MAX_FILE: u64 = 256 << 20;
/// Most parameters a model may have: 16 Mi, far more than any target's flash.
const MAX_PARAMETERS: usize = 16 << 20;

/// Reads the model in `path`; its extension says which framework wrote it.
///
/// # Errors
/// If the file is missing, damaged or too large, or holds something gatelet
/// does not represent exactly; the message names the layer and what would be
/// accepted.
pub fn import(path: &Path) -> Result<Graph> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let read: fn(&Path, Vec<u8>) -> Result<Graph> = match extension.to_ascii_lowercase().as_str() {
        "keras" => |_, bytes| keras::from_archive(&bytes),
        "h5" | "hdf5" => |_, bytes| keras::from_h5(bytes),
        "safetensors" => safetensors::from_state_dict,
        _ => bail!(
            "{} is no model gatelet reads; expected .keras, .h5 or .safetensors",
            path.display()
        ),
    };
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let in_context = || format!("cannot import {}", path.display());
    let bytes = read_capped(file).with_context(in_context)?;
    read(path, bytes).with_context(in_context)
}

/// Reads all of `reader`, or fails once it exceeds [`MAX_FILE`].
fn read_capped(reader: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= MAX_FILE,
        "it is larger than the {} MiB gatelet reads",
        MAX_FILE >> 20
    );
    Ok(bytes)
}

/// A named array of a model file.
#[derive(Debug)]
struct Tensor {
    /// As the file calls it, for messages.
    name: String,
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Tensor {
    /// Refuses any other shape.
    fn expect_shape(&self, expected: &[usize]) -> Result<()> {
        ensure!(
            self.shape == expected,
            "weights `{}` have shape {:?}, expected {expected:?}",
            self.name,
            self.shape
        );
        Ok(())
    }

    /// A vector of `length` numbers.
    fn vector(self, length: usize) -> Result<Vec<f64>> {
        self.expect_shape(&[length])?;
        Ok(self.values)
    }

    /// A matrix stored as this crate stores it, `[rows][cols]`.
    fn matrix(self, rows: usize, cols: usize) -> Result<Matrix> {
        self.expect_shape(&[rows, cols])?;
        Ok(Matrix::new(rows, cols, self.values))
    }

    /// A matrix stored the other way, `[cols][rows]`.
    fn transposed(self, rows: usize, cols: usize) -> Result<Matrix> {
        self.expect_shape(&[cols, rows])?;
        let values = (0..rows).flat_map(|r| self.values.iter().skip(r).step_by(rows));
        Ok(Matrix::new(rows, cols, values.copied().collect()))
    }
}

/// Counts parameters before they are read, so that a small file cannot claim
/// more memory than a model could need.
#[derive(Default)]
struct Budget {
    used: usize,
}

impl Budget {
    /// Elements of an array of this shape, if they fit the budget.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<usize> {
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let used = elements.and_then(|n| self.used.checked_add(n));
        match (elements, used) {
            (Some(elements), Some(used)) if used <= MAX_PARAMETERS => {
                self.used = used;
                Ok(elements)
            }
            _ => bail!(
                "weights `{name}` of shape {shape:?} exceed the {MAX_PARAMETERS} parameters gatelet takes"
            ),
        }
    }
}
