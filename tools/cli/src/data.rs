//! Samples to calibrate, run and evaluate on, from `.npz` files.
//!
//! | array | type | meaning |
//! |---|---|---|
//! | `x` | `float32 [N, T, I]` | N sequences of T steps of I features; other numbers are converted |
//! | | `int [N, T]` | N sequences of T tokens |
//! | `y` | `int [N]` | class labels |
//! | | `int [N, T]` | a class label per step |
//! | | `float [N, ...]` | target values |
//! | `lengths` | `int [N]` | steps of each sequence that count, 1 to T; all T without it |
//! | `encoder` | `int [N]` | for an encoder-decoder: the encoder reads so many of each sequence's first steps, the decoder the others |

use std::io::{Read, Seek};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::npz::{Array, Npz, Values};

/// Padded sequences of feature vectors; every number that counts is finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequences {
    values: Vec<f32>,
    steps: usize,
    features: usize,
    lengths: Vec<usize>,
    /// Steps of each sequence that an encoder reads; none without one.
    encoder: Option<Vec<usize>>,
}

impl Sequences {
    /// Sequences from their values `[N][steps][features]` and lengths `[N]`.
    ///
    /// # Errors
    /// If a size is zero, the values are not as many as the shape says, a
    /// length is not in `1..=steps`, or a number that counts is NaN or
    /// infinite.
    pub fn new(
        values: Vec<f32>,
        steps: usize,
        features: usize,
        lengths: Vec<usize>,
    ) -> Result<Self> {
        ensure!(
            !lengths.is_empty() && steps > 0 && features > 0,
            "x has shape [{}, {steps}, {features}]; it needs at least one sample, step and feature",
            lengths.len()
        );
        ensure!(
            lengths.len().checked_mul(steps).and_then(|n| n.checked_mul(features))
                == Some(values.len()),
            "x holds {} numbers, not [{}, {steps}, {features}]",
            values.len(),
            lengths.len()
        );
        for (sample, &length) in lengths.iter().enumerate() {
            ensure!(
                (1..=steps).contains(&length),
                "lengths[{sample}] is {length}; it must be 1 to {steps}, the steps of x"
            );
        }
        let sequences = Self { values, steps, features, lengths, encoder: None };
        for sample in 0..sequences.len() {
            let values = sequences.sample(sample);
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                bail!(
                    "x[{sample}, {}, {}] is {}: clean the data, or set `lengths` if it is padding",
                    at / features,
                    at % features,
                    values[at]
                );
            }
        }
        Ok(sequences)
    }

    /// The same sequences for an encoder-decoder: of each, the encoder reads so many steps.
    ///
    /// # Errors
    /// If there is not one number for each sequence, or one leaves no step for encoder or decoder.
    pub fn encoded(mut self, encoder: Vec<usize>) -> Result<Self> {
        ensure!(
            encoder.len() == self.len(),
            "encoder has {} numbers for {} samples of x",
            encoder.len(),
            self.len()
        );
        for (sample, (count, length)) in encoder.iter().zip(&self.lengths).enumerate() {
            ensure!(
                (1..*length).contains(count),
                "encoder[{sample}] is {count}; it must be 1 to {}, of {length} steps",
                length - 1
            );
        }
        self.encoder = Some(encoder);
        Ok(self)
    }

    /// Whether an encoder reads the first steps of every sequence.
    pub fn is_encoded(&self) -> bool {
        self.encoder.is_some()
    }

    /// Steps of sequence `n` that an encoder reads; the others are the decoder's, or all there are.
    pub fn encoder_steps(&self, n: usize) -> usize {
        self.encoder.as_ref().map_or(0, |encoder| encoder[n])
    }

    /// Steps of sequence `n` at which a model that answers at every step answers: all but an encoder's.
    pub fn answered(&self, n: usize) -> Range<usize> {
        self.encoder_steps(n)..self.lengths[n]
    }

    /// Number of sequences, N.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Steps of the padded sequences, T.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Features of a step, I.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Steps of each sequence that count.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The steps of sequence `n` that count: `[lengths[n]][features]`.
    pub fn sample(&self, n: usize) -> &[f32] {
        &self.values[n * self.steps * self.features..][..self.lengths[n] * self.features]
    }

    /// `n` sequences from all over the data, or all if there are fewer.
    pub fn spread(&self, n: usize) -> Self {
        let n = n.min(self.len());
        let picked = (0..n).map(|k| k * self.len() / n);
        let size = self.steps * self.features;
        Self {
            values: picked
                .clone()
                .flat_map(|sample| &self.values[sample * size..][..size])
                .copied()
                .collect(),
            lengths: picked.clone().map(|sample| self.lengths[sample]).collect(),
            encoder: self.encoder.as_ref().map(|e| picked.map(|sample| e[sample]).collect()),
            ..*self
        }
    }

    /// Refuses sequences whose features are not what a model takes.
    ///
    /// # Errors
    /// Names both numbers.
    pub fn expect_features(&self, expected: usize) -> Result<()> {
        ensure!(
            self.features == expected,
            "x has {} features a step ([{}, {}, {}]) but the model takes {expected}",
            self.features,
            self.len(),
            self.steps,
            self.features
        );
        Ok(())
    }
}

/// What the model should say.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// A class per sequence, `[N]`.
    Classes(Vec<i64>),
    /// A class per step, `[N][T]`; those past a sequence's length mean nothing.
    StepClasses(Vec<i64>),
    /// Numbers per sequence.
    Values {
        /// `[N, ...]`.
        shape: Vec<usize>,
        /// In C order.
        values: Vec<f32>,
    },
}

/// A data file.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// What goes in.
    pub x: Sequences,
    /// What should come out, if the file says.
    pub y: Option<Targets>,
}

impl Dataset {
    /// Reads `path`.
    ///
    /// # Errors
    /// If the file is missing or damaged, or an array is not as the table in
    /// this module says; the message names the array, what was expected and
    /// what was found.
    pub fn read(path: &Path) -> Result<Self> {
        Self::from_npz(&mut Npz::open(path)?)
    }

    /// Reads an open archive, as [`read`](Self::read) does.
    ///
    /// # Errors
    /// As there.
    pub fn from_npz<R: Read + Seek>(npz: &mut Npz<R>) -> Result<Self> {
        let Some(x) = npz.array("x")? else {
            bail!(
                "{} has no array `x` (it has: {}); save it with numpy.savez(file, x=...)",
                npz.path().display(),
                npz.names().join(", ")
            );
        };
        let y = npz.array("y")?;
        let lengths = npz.array("lengths")?;
        let encoder = npz.array("encoder")?;
        let in_context = || format!("cannot use {}", npz.path().display());
        let mut x = sequences(x, lengths).with_context(in_context)?;
        if let Some(encoder) = encoder {
            let counts = encoder.into_i64().map(|counts| {
                // A negative number becomes 0, which is refused as such.
                counts.into_iter().map(|n| usize::try_from(n).unwrap_or(0)).collect()
            });
            let counts = counts.context("encoder holds floats; expected integers");
            x = counts.and_then(|counts| x.encoded(counts)).with_context(in_context)?;
        }
        let y = y.map(|y| targets(y, &x)).transpose().with_context(in_context)?;
        Ok(Self { x, y })
    }
}

fn sequences(x: Array, lengths: Option<Array>) -> Result<Sequences> {
    let floats = matches!(x.values, Values::F32(_) | Values::F64(_));
    let (samples, steps, features) = match x.shape[..] {
        [samples, steps, features] => (samples, steps, features),
        [samples, steps] if !floats => (samples, steps, 1),
        _ => bail!(
            "x has shape {:?}; expected [samples, steps, features], or [samples, steps] of integer \
             tokens",
            x.shape
        ),
    };
    let lengths = match lengths {
        None => vec![steps; samples],
        Some(array) => {
            ensure!(
                array.shape == [samples],
                "lengths has shape {:?}; expected [{samples}], one for each sample of x",
                array.shape
            );
            let Some(lengths) = array.into_i64() else {
                bail!("lengths holds floats; expected integers, as from .astype(\"int64\")");
            };
            // A negative length becomes 0, which is refused as such below.
            lengths.into_iter().map(|n| usize::try_from(n).unwrap_or(0)).collect()
        }
    };
    Sequences::new(x.into_f32(), steps, features, lengths)
}

fn targets(y: Array, x: &Sequences) -> Result<Targets> {
    let shape = y.shape.clone();
    let (samples, steps) = (x.len(), x.steps());
    ensure!(
        shape.first() == Some(&samples),
        "y has shape {shape:?} but x has {samples} samples; y needs one entry for each"
    );
    if let Values::F32(_) | Values::F64(_) = y.values {
        let values = y.into_f32();
        let width = values.len() / samples;
        for (sample, values) in values.chunks_exact(width.max(1)).enumerate() {
            // Steps past the end of a sequence are padding here as in x.
            let counts = match shape.get(1) {
                Some(&n) if n == steps => width / steps * x.lengths()[sample],
                _ => width,
            };
            if let Some(v) = values[..counts].iter().find(|v| !v.is_finite()) {
                bail!("y[{sample}] contains {v}; clean the data");
            }
        }
        return Ok(Targets::Values { shape, values });
    }
    match y.into_i64() {
        Some(labels) if shape.len() == 1 => Ok(Targets::Classes(labels)),
        Some(labels) if shape == [samples, steps] => Ok(Targets::StepClasses(labels)),
        _ => bail!(
            "y holds integers of shape {shape:?}; expected class labels [{samples}] or \
             [{samples}, {steps}] (take the argmax of one-hot labels; save other targets as float32)"
        ),
    }
}
