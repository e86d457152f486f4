//! What the blob asks of layers beside each other: whole blocks, so that their outputs join without
//! gaps. Units of zeros fill them up; their outputs are zero, and so is what is made of them.

use gatelet::blob::format::BLOCK;

use super::{Fast, Graph, Gru, Layer, Lstm, Matrix, Op, Output, Reset, Rnn, RnnActivation, Update};

impl Graph {
    /// Fills up layers beside each other with units of zeros.
    pub(super) fn align(&mut self) {
        let stages = self.stages();
        for (stage, next) in stages.iter().zip(&stages[1..]).filter(|(stage, _)| stage.len() > 1) {
            let widths: Vec<usize> = self.layers[stage.clone()].iter().map(|l| l.units()).collect();
            if !self.layers[stage.clone()].iter().any(Layer::is_padded) {
                continue;
            }
            for layer in self.layers[stage.clone()].iter_mut().filter(|layer| layer.is_padded()) {
                self.notes.push(format!(
                    "layer `{}` has {} units; units of zeros make it {}, as layers beside each other need",
                    layer.name,
                    layer.units(),
                    layer.units().next_multiple_of(BLOCK)
                ));
                layer.op.pad_units(layer.units().next_multiple_of(BLOCK));
            }
            for layer in &mut self.layers[next.clone()] {
                if let Some(weights) = layer.op.input_mut() {
                    *weights = weights.pad_columns(&widths);
                }
            }
        }
    }

    /// One name for what is the same: where the last recurrent layers run forward, the output at
    /// the last step is that after it.
    pub(super) fn settle_output(&mut self) {
        let last = self.stages().into_iter().rfind(|s| self.layers[s.start].is_recurrent());
        let is_reverse = last.is_some_and(|s| self.layers[s].iter().any(|l| l.is_reverse()));
        if self.output == Output::AtLast && !is_reverse {
            self.output = Output::Last;
        }
    }
}

impl Layer {
    /// Whether the engine pads its output to whole blocks.
    pub(super) fn is_padded(&self) -> bool {
        !self.units().is_multiple_of(BLOCK)
    }

    /// Whether its output is not in units of 2^-15.
    pub(super) fn has_own_scale(&self) -> bool {
        matches!(
            self.op,
            Op::Rnn(Rnn { activation: RnnActivation::Relu, .. })
                | Op::Lstm(Lstm { projection: Some(_), .. })
                | Op::Fast(_)
        )
    }
}

impl Op {
    /// Adds units of zeros until there are `units`.
    fn pad_units(&mut self, units: usize) {
        let gates = self.gates();
        let pad_gates = |values: &[f64], gates: usize, width: usize| -> Vec<f64> {
            let gates = values.chunks_exact((values.len() / gates).max(1));
            gates.flat_map(|gate| padded(gate, units * width)).collect()
        };
        let pad = |values: &[f64], width: usize| pad_gates(values, gates, width);
        let rows = |m: &Matrix| Matrix::new(gates * units, m.cols(), pad(m.values(), m.cols()));
        let square = |m: &Matrix| rows(&m.pad_columns(&[m.cols()]));
        match self {
            Self::Dense(_) | Self::Embedding(_) | Self::LayerNorm(_) => {}
            Self::Fast(Fast { input, recurrent, factor, bias, update }) => {
                (*input, *bias) = (rows(input), pad(bias, 1));
                match factor {
                    Some(factor) => {
                        *recurrent = rows(recurrent);
                        *factor = factor.pad_columns(&[factor.cols()]);
                    }
                    None => *recurrent = square(recurrent),
                }
                if let Update::Gated { candidate_bias, .. } = update {
                    *candidate_bias = pad(candidate_bias, 1);
                }
            }
            Self::Lstm(Lstm { recurrent, projection: Some(projection), .. }) => {
                *recurrent = recurrent.pad_columns(&[recurrent.cols()]);
                let values = padded(projection.values(), units * projection.cols());
                *projection = Matrix::new(units, projection.cols(), values);
            }
            Self::Rnn(Rnn { input, recurrent, bias, .. })
            | Self::Lstm(Lstm { input, recurrent, bias, .. }) => {
                (*input, *recurrent, *bias) = (rows(input), square(recurrent), pad(bias, 1));
                if let Self::Lstm(Lstm { peepholes: Some(peepholes), .. }) = self {
                    *peepholes = pad_gates(peepholes, 3, 1);
                }
            }
            Self::Gru(Gru { input, recurrent, bias, reset, .. }) => {
                (*input, *recurrent, *bias) = (rows(input), square(recurrent), pad(bias, 1));
                if let Reset::After { recurrent_bias } = reset {
                    *recurrent_bias = padded(recurrent_bias, units);
                }
            }
        }
    }
}

impl Matrix {
    /// Columns in runs of these widths, zeros behind each that is no whole number of blocks.
    fn pad_columns(&self, widths: &[usize]) -> Self {
        let cols = widths.iter().map(|width| width.next_multiple_of(BLOCK)).sum();
        let mut values = Vec::with_capacity(self.rows() * cols);
        for r in 0..self.rows() {
            let mut row = self.row(r);
            for &width in widths {
                let (run, rest) = row.split_at(width);
                values.extend(padded(run, width.next_multiple_of(BLOCK)));
                row = rest;
            }
        }
        Self::new(self.rows(), cols, values)
    }
}

fn padded(values: &[f64], len: usize) -> Vec<f64> {
    let mut values = values.to_vec();
    values.resize(len, 0.0);
    values
}
