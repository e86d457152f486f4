//! Recognises the cell whose equations the body of a loop computes.

use anyhow::{Context, Result};

use super::array::Array;
use super::formula::{Factor, Formula, Function, Term};
use crate::graph::{Gru, Lstm, Matrix, Op, Rnn, RnnActivation};

/// A cell: the positions of its output and its cell state among what the loop carries.
pub(super) struct Cell {
    pub(super) op: Op,
    pub(super) output: usize,
    pub(super) memory: Option<usize>,
}

/// The cells that update the states so, the first of which takes the sequence and every other the output
/// of the one before it. Each update has its position among what the loop carries.
pub(super) fn recognise(mut updates: Vec<(usize, Formula)>, features: usize) -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    let mut input: Option<Formula> = None;
    while !updates.is_empty() {
        let inputs = input.as_ref().map_or(features, Formula::width);
        let next = |(h, output): &(usize, Formula)| {
            let step = Step { input: &input, inputs, state: *h, units: output.width() };
            if let Some(op) = step.rnn(output).or_else(|| step.gru(output)) {
                return Some((Cell { op, output: *h, memory: None }, output.clone()));
            }
            updates.iter().filter(|(c, _)| c != h).find_map(|(c, memory)| {
                let op = step.lstm(output, *c, memory)?;
                Some((Cell { op, output: *h, memory: Some(*c) }, output.clone()))
            })
        };
        let (cell, output) = updates.iter().find_map(next).context(
            "its body is none of the cells gatelet knows, nor a stack of them: simple RNN (tanh or ReLU), GRU \
             (both forms), LSTM, with sigmoid or hard sigmoid gates",
        )?;
        updates.retain(|(k, _)| *k != cell.output && Some(*k) != cell.memory);
        input = Some(output);
        cells.push(cell);
    }
    Ok(cells)
}

/// Rows of `W x + U h + b`.
#[derive(Clone, Debug)]
struct Rows {
    input: Vec<f64>,
    recurrent: Vec<f64>,
    bias: Vec<f64>,
}

/// What weights meet.
enum Operand {
    Input,
    State,
}

/// A gate: what it is applied to, and the slope of a hard sigmoid.
struct Gate {
    rows: Rows,
    slope: Option<f64>,
}

struct Step<'a> {
    /// What the cell takes: the sequence, or another cell's output.
    input: &'a Option<Formula>,
    inputs: usize,
    /// The position of the cell's output.
    state: usize,
    units: usize,
}

impl Step<'_> {
    /// `h' = f(W x + U h + b)`.
    fn rnn(&self, update: &Formula) -> Option<Op> {
        let (function, of) = function(update)?;
        let activation = match function {
            Function::Tanh => RnnActivation::Tanh,
            Function::Relu => RnnActivation::Relu,
            _ => return None,
        };
        let (input, recurrent, bias) = self.stacked([self.rows(of)?]);
        Some(Op::Rnn(Rnn { input, recurrent, bias, activation }))
    }

    /// `h' = z*h + (1-z)*n`.
    fn gru(&self, update: &Formula) -> Option<Op> {
        two_terms(update)?.into_iter().find_map(|(kept, new)| {
            let z = factors(kept)?.into_iter().find_map(|(z, h)| self.is_state(h).then_some(z))?;
            let (_, n) = factors(new)?.into_iter().find(|(rest, _)| is_rest(rest, z))?;
            let (Function::Tanh, n) = function(n)? else { return None };
            self.gru_of(&self.gate(z)?, n)
        })
    }

    /// The GRU whose candidate is the tanh of `n`.
    fn gru_of(&self, z: &Gate, n: &Formula) -> Option<Op> {
        let (others, sums): (Vec<&Term>, Vec<&Term>) =
            n.terms().iter().partition(|term| self.operand(term).is_none());
        let [other] = others[..] else { return None };
        let mut rows = self.rows_of(&sums, n.constant()).filter(|rows| is_zero(&rows.recurrent))?;
        let gate = |r: &Formula| self.gate(r).filter(|r| r.slope == z.slope);
        let (r, recurrent_bias) = match &other.factor {
            // U (r*h)
            Factor::Formula(product) => {
                let (r, _) =
                    factors(product.only()?)?.into_iter().find(|(_, h)| self.is_state(h))?;
                add(&mut rows.recurrent, self.units, other.scale, other.matrix.as_ref())?;
                (gate(r)?, None)
            }
            // r*(U h + b)
            _ => factors(other)?.into_iter().find_map(|(r, of)| {
                let (r, of) = (gate(r)?, self.rows(of).filter(|of| is_zero(&of.input))?);
                rows.recurrent = of.recurrent;
                Some((r, Some(of.bias)))
            })?,
        };
        let (input, recurrent, bias) = self.stacked([z.rows.clone(), r.rows, rows]);
        let mut op = Op::Gru(match recurrent_bias {
            None => Gru::reset_before(input, recurrent, bias),
            Some(candidate) => {
                let mut recurrent_bias = vec![0.0; 3 * self.units];
                recurrent_bias[2 * self.units..].copy_from_slice(&candidate);
                Gru::reset_after(input, recurrent, bias, recurrent_bias)
            }
        });
        harden(&mut op, z.slope);
        Some(op)
    }

    /// `c' = f*c + i*tanh(g)`, `h' = o*tanh(c')`.
    fn lstm(&self, output: &Formula, c: usize, memory: &Formula) -> Option<Op> {
        let output = output.only().filter(|term| term.matrix.is_none())?;
        let (o, _) = factors(output)?
            .into_iter()
            .find(|(_, t)| matches!(function(t), Some((Function::Tanh, of)) if of.is(memory)))?;
        let (i, f, g) = two_terms(memory)?.into_iter().find_map(|(kept, new)| {
            let (f, _) = factors(kept)?.into_iter().find(|(_, of)| is_plain(of, c))?;
            let (i, g) = factors(new)?.into_iter().find_map(|(i, g)| match function(g)? {
                (Function::Tanh, g) => Some((self.gate(i)?, g)),
                _ => None,
            })?;
            Some((i, self.gate(f)?, self.rows(g)?))
        })?;
        let o = self.gate(o)?;
        let slope = i.slope;
        if f.slope != slope || o.slope != slope {
            return None;
        }
        let (input, recurrent, bias) = self.stacked([i.rows, f.rows, g, o.rows]);
        let mut op = Op::Lstm(Lstm::new(input, recurrent, bias));
        harden(&mut op, slope);
        Some(op)
    }

    /// What a product with weights is a product of.
    fn operand(&self, term: &Term) -> Option<Operand> {
        match (&term.factor, self.input) {
            (Factor::State(state), _) if *state == self.state => Some(Operand::State),
            (Factor::Input, None) => Some(Operand::Input),
            (Factor::Formula(of), Some(input)) if of.is(input) => Some(Operand::Input),
            _ => None,
        }
    }

    /// Whether a formula is the cell's output before the step.
    fn is_state(&self, formula: &Formula) -> bool {
        is_plain(formula, self.state)
    }

    /// What a sigmoid or hard sigmoid is applied to.
    fn gate(&self, formula: &Formula) -> Option<Gate> {
        let term = formula.only().filter(|term| term.matrix.is_none())?;
        let Factor::Function(function, of) = &term.factor else { return None };
        let slope = match function {
            Function::Sigmoid if term.scale == 1.0 => None,
            // clamp(z, 0, high)/high = clamp(z/high, 0, 1)
            Function::Clip { low, high }
                if *low == 0.0 && (term.scale * high - 1.0).abs() < 1e-6 =>
            {
                Some(1.0 / high)
            }
            _ => return None,
        };
        Some(Gate { rows: self.rows(of)?, slope })
    }

    fn rows(&self, formula: &Formula) -> Option<Rows> {
        let terms: Vec<&Term> = formula.terms().iter().collect();
        self.rows_of(&terms, formula.constant())
    }

    /// The rows of a sum of products with weights, if it is nothing else.
    fn rows_of(&self, terms: &[&Term], constant: &Array) -> Option<Rows> {
        let bias = constant.broadcast(&[self.units]).and_then(|bias| bias.numbers()).ok()?;
        let mut rows = Rows {
            input: vec![0.0; self.units * self.inputs],
            recurrent: vec![0.0; self.units * self.units],
            bias: bias.to_vec(),
        };
        for term in terms {
            let to = match self.operand(term)? {
                Operand::Input => &mut rows.input,
                Operand::State => &mut rows.recurrent,
            };
            add(to, self.units, term.scale, term.matrix.as_ref())?;
        }
        Some(rows)
    }

    /// The gates' rows, one behind the other.
    fn stacked<const N: usize>(&self, gates: [Rows; N]) -> (Matrix, Matrix, Vec<f64>) {
        let rows = N * self.units;
        let join = |of: fn(&Rows) -> &[f64]| gates.iter().flat_map(of).copied().collect();
        (
            Matrix::new(rows, self.inputs, join(|gate| &gate.input)),
            Matrix::new(rows, self.units, join(|gate| &gate.recurrent)),
            join(|gate| &gate.bias),
        )
    }
}

/// Adds `[inputs, units]` weights to `[units][inputs]` ones.
fn add(to: &mut [f64], units: usize, scale: f64, weights: Option<&Array>) -> Option<()> {
    let weights = weights?;
    let inputs = to.len() / units;
    let numbers = weights.numbers().ok().filter(|_| weights.shape() == [inputs, units])?;
    for (k, row) in numbers.chunks_exact(units).enumerate() {
        let column = to.iter_mut().skip(k).step_by(inputs);
        column.zip(row).for_each(|(to, w)| *to += scale * w);
    }
    Some(())
}

fn harden(op: &mut Op, slope: Option<f64>) {
    if let Some(slope) = slope {
        op.harden(slope, 0.0);
    }
}

/// The function that a formula is, of what.
fn function(formula: &Formula) -> Option<(Function, &Formula)> {
    match formula.only()? {
        Term { factor: Factor::Function(function, of), scale, matrix: None } if *scale == 1.0 => {
            Some((*function, of))
        }
        _ => None,
    }
}

/// The factors of a product, both ways.
fn factors(term: &Term) -> Option<[(&Formula, &Formula); 2]> {
    match &term.factor {
        Factor::Product(a, b) if term.scale == 1.0 && term.matrix.is_none() => {
            Some([(a, b), (b, a)])
        }
        _ => None,
    }
}

fn is_zero(numbers: &[f64]) -> bool {
    numbers.iter().all(|n| *n == 0.0)
}

/// The terms of a sum of two, both ways.
fn two_terms(formula: &Formula) -> Option<[(&Term, &Term); 2]> {
    match formula.terms() {
        [a, b] if formula.constant().only() == Some(0.0) => Some([(a, b), (b, a)]),
        _ => None,
    }
}

/// Whether a formula is a state as it is.
fn is_plain(formula: &Formula, state: usize) -> bool {
    matches!(
        formula.only(),
        Some(Term { factor: Factor::State(found), scale, matrix: None }) if *found == state && *scale == 1.0
    )
}

/// Whether `rest` is `1 - z`.
fn is_rest(rest: &Formula, z: &Formula) -> bool {
    let ([rest_term], Some(z)) = (rest.terms(), z.only()) else { return false };
    let alike = match (&rest_term.factor, &z.factor) {
        (Factor::Function(f, a), Factor::Function(g, b)) => f == g && a.is(b),
        _ => false,
    };
    alike
        && rest.constant().only() == Some(1.0)
        && rest_term.scale == -z.scale
        && rest_term.matrix.is_none()
}
