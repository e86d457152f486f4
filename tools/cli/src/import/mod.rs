//! From a framework's file to a [`Graph`].
//!
//! # Keras: `.keras` and whole-model `.h5`, of Keras 2 and 3
//!
//! Sequential models, and functional ones without branches, of SimpleRNN, LSTM, GRU (both forms),
//! with `hard_sigmoid` too, RNN of their cells, Bidirectional (concat, sum and ave) of them, also with
//! `go_backwards`, Embedding, Dense, TimeDistributed(Dense), LayerNormalization, Activation, ReLU,
//! Softmax and nested models. Normalization, BatchNormalization and Rescaling are folded into their
//! neighbours exactly. Dropout and its like do nothing; Masking, an Embedding's too, is dropped, with a
//! note.
//!
//! # ONNX: `.onnx`, of PyTorch, Keras 3, tf2onnx and others
//!
//! Graphs that are a stack of LSTM (peepholes included), GRU (`linear_before_reset` 0 and 1) and RNN
//! nodes of any direction, two of which may stand side by side on one input, gates sigmoid or
//! HardSigmoid; of Gather from a table of constants (an embedding), LayerNormalization, Gemm, MatMul
//! with Add, Relu, Tanh, Sigmoid, Softmax and
//! LogSoftmax (which becomes a softmax, with a note). BatchNormalization and
//! Add, Sub, Mul and Div with constants are folded. Between them may be
//! whatever moves data and keeps batch, time and features apart: Transpose,
//! Reshape, Flatten, Squeeze, Unsqueeze, Slice, Gather, Expand, Concat, Cast,
//! Identity, Dropout; and whatever builds shapes and zero states. Taking the
//! last step, in any way, makes the model answer once, else it answers at
//! every step. The first input is the sequence, the first output the answer;
//! other inputs can only be initial states, which start at zero. Weights may
//! be in a file beside the model, where PyTorch puts them.
//!
//! Keras 3 writes its GRU, its SimpleRNN and cells in `RNN` as Loop nodes: such a loop is recognised by
//! what its body computes, and becomes the layer it was. Masks of the input are dropped, with a note.
//!
//! # PyTorch: state dicts in `.safetensors`
//!
//! A state dict names and shapes its weights but not what surrounds them, so:
//!
//! - `X.weight_ih_l0`, `X.weight_hh_l0` (and `l1`, ...) are an `nn.LSTM`,
//!   `nn.GRU` or `nn.RNN`, told apart by the rows of `weight_hh`: 4, 3 or 1
//!   times its columns. `X.weight_ih` without `_l0` is the cell of that kind.
//!   `X.weight_hr_l0` is an LSTM's projection (`proj_size`).
//! - `X.weight_ih_l0_reverse` and its like make it bidirectional. The file does not say which
//!   outputs count then, so the TOML file must.
//! - `X.bias_update` belongs to a FastRNN or FastGRNN of Microsoft's EdgeML, of
//!   full or low rank, with sigmoid gates and tanh candidates.
//! - `X.weight` with one dimension is an `nn.LayerNorm`; where it stands, only
//!   `layers` of the TOML file can say.
//! - `X.weight` with two dimensions is an `nn.Linear`.
//! - One whose name says `emb` and that has no more is an `nn.Embedding`.
//! - Embeddings come first, then recurrent modules, then linear ones, each in the order of
//!   their names (`fc2` before `fc10`).
//! - An `nn.RNN` uses tanh. The last linear module has no activation: PyTorch
//!   classifiers give logits. The answer is that of the last step.
//!
//! What differs is said in a TOML file beside it, `model.toml` for
//! `model.safetensors`; every key is optional:
//!
//! ```toml
//! layers = ["lstm", "fc1", "fc2"]  # the order
//! output = "every-step"            # or "last" (states, h_n), "last-step" (out[:, -1])
//! embeddings = ["tokens"]          # those whose names do not say so
//! encoder = ["enc_emb", "enc"]     # of an encoder-decoder; the others are the decoder
//!
//! [activation]                     # required for a linear layer inside
//! fc1 = "relu"
//! fc2 = "softmax"
//!
//! [epsilon]                        # of an nn.LayerNorm, if not 1e-5
//! norm = 1e-3
//! ```

mod edgeml;
mod hdf5;
mod keras;
mod onnx;
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
    reader(path)?;
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let bytes = read_capped(file).with_context(|| format!("cannot import {}", path.display()))?;
    from_bytes(path, bytes)
}

/// Reads a model from the bytes of a file, which need not be there: what a format keeps beside it is
/// looked for beside `path`.
///
/// # Errors
/// As [`import()`].
pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Graph> {
    reader(path)?(path, bytes).with_context(|| format!("cannot import {}", path.display()))
}

type Reader = fn(&Path, Vec<u8>) -> Result<Graph>;

/// What reads a file of that name.
fn reader(path: &Path) -> Result<Reader> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    Ok(match extension.to_ascii_lowercase().as_str() {
        "keras" => |_, bytes| keras::from_archive(&bytes),
        "h5" | "hdf5" => |_, bytes| keras::from_h5(bytes),
        "onnx" => onnx::from_bytes,
        "safetensors" => safetensors::from_state_dict,
        _ => bail!(
            "{} is no model gatelet reads; expected .onnx, .keras, .h5 or .safetensors",
            path.display()
        ),
    })
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
