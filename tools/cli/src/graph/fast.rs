//! EdgeML's cells.

use anyhow::{Result, ensure};

use super::Matrix;

/// FastRNN and FastGRNN (Kusupati et al. 2018), `p = W x + U h`:
/// `h' = beta*h + alpha*tanh(p + b)`, or
/// `z = sigmoid(p + b)`, `h' = z*h + (zeta*(1-z) + nu)*tanh(p + candidate_bias)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fast {
    /// `W`: `[units][inputs]`.
    pub input: Matrix,
    /// `U`: `[units][units]`; of low rank, its left factor: `[units][rank]`.
    pub recurrent: Matrix,
    /// The right factor of a `U` of low rank: `[rank][units]`.
    pub factor: Option<Matrix>,
    /// `[units]`.
    pub bias: Vec<f64>,
    /// How `h` changes.
    pub update: Update,
}

/// How `h` changes in a [`Fast`] cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// FastRNN; both factors are from 0 to 1.
    Residual {
        /// Of the candidate.
        alpha: f64,
        /// Of the old `h`.
        beta: f64,
    },
    /// FastGRNN; both factors are from 0 to 1.
    Gated {
        /// `[units]`.
        candidate_bias: Vec<f64>,
        /// How much of `1 - z` the candidate gets.
        zeta: f64,
        /// What the candidate gets in any case.
        nu: f64,
    },
}

impl Fast {
    /// Refuses shapes that do not fit and factors out of range; `name` is the layer's.
    pub(super) fn validate(&self, name: &str) -> Result<()> {
        let units = self.input.rows();
        if let Some(factor) = &self.factor {
            ensure!(
                (factor.rows(), factor.cols()) == (self.recurrent.cols(), units),
                "layer `{name}`: the factors of its recurrent matrix are [{units}, {}] and [{}, {}], which do not fit",
                self.recurrent.cols(),
                factor.rows(),
                factor.cols(),
            );
        }
        let factors = match &self.update {
            Update::Residual { alpha, beta } => [alpha, beta],
            Update::Gated { candidate_bias, zeta, nu } => {
                ensure!(
                    candidate_bias.len() == units,
                    "layer `{name}`: {} biases of the candidate, expected {units}",
                    candidate_bias.len()
                );
                [zeta, nu]
            }
        };
        ensure!(
            factors.iter().all(|f| (0.0..=1.0).contains(*f)),
            "layer `{name}`: its factors are {} and {}; gatelet takes factors from 0 to 1",
            factors[0],
            factors[1]
        );
        Ok(())
    }

    /// Weights and biases that no other cell has.
    pub(super) fn own_tensors(&self) -> [&[f64]; 2] {
        let candidate_bias = match &self.update {
            Update::Residual { .. } => &[][..],
            Update::Gated { candidate_bias, .. } => candidate_bias,
        };
        [self.factor.as_ref().map_or(&[][..], Matrix::values), candidate_bias]
    }
}
