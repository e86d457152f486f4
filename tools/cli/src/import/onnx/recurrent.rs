//! The RNN, GRU and LSTM nodes.

use anyhow::{Context, Result, bail, ensure};

use super::array::{Array, Origin};
use super::nodes::{Inputs, tensor};
use super::signal::{Part, Role, Signal, When};
use super::{Importer, MAX_WIDTH, Node, Value};
use crate::graph::{Direction, Gru, Lstm, Matrix, Op, Rnn, RnnActivation};

impl Importer {
    /// Adds a recurrent layer; gives all steps, the last one, and a cell state.
    pub(super) fn recurrent(&mut self, node: Node<'_>, inputs: &Inputs<'_>) -> Result<Vec<Value>> {
        let op = node.0.op_type.as_str();
        let gates = match op {
            "LSTM" => 4,
            "GRU" => 3,
            _ => 1,
        };
        let directions = directions(node, inputs.signal(0)?.turned)?;
        let count = directions.len();
        let functions = Functions::of(node, count)?;
        functions.expect_no_clip(node)?;
        ensure!(
            node.int("input_forget", 0) == 0,
            "it couples its input and forget gates (input_forget=1); gatelet takes it with separate ones"
        );
        let batch_first = node.int("layout", 0) != 0;
        let signal = inputs.signal(0)?;
        let (time, batch) = self.sequence(signal, batch_first)?;

        let (input, recurrent) = (inputs.weights(1)?, inputs.weights(2)?);
        let [found, rows, features] = *input.shape() else {
            bail!(
                "its weights W have shape {:?}, expected [directions, rows, inputs]",
                input.shape()
            );
        };
        ensure!(found == count, "its weights are for {found} directions, but it has {count}");
        let units = node.attribute("hidden_size").map_or(rows as i64 / gates, |a| a.i);
        ensure!(
            (1..=MAX_WIDTH as i64).contains(&units),
            "it has {units} units; gatelet takes 1 to {MAX_WIDTH}"
        );
        let units = units as usize;
        let rows = gates as usize * units;
        self.budget.take(node.label(), &[count * rows, units + features])?;
        let matrices = |array: &Array, cols| -> Result<Vec<Matrix>> {
            let tensor = tensor(node, array)?;
            tensor.expect_shape(&[count, rows, cols])?;
            let each = tensor.values.chunks_exact((rows * cols).max(1));
            Ok(each.map(|m| Matrix::new(rows, cols, in_our_order(op, m))).collect())
        };
        let (input, recurrent) = (matrices(input, features)?, matrices(recurrent, units)?);
        let biases = match inputs.get(3) {
            None => vec![0.0; count * 2 * rows],
            Some(_) => {
                let tensor = tensor(node, inputs.weights(3)?)?;
                tensor.expect_shape(&[count, 2 * rows])?;
                tensor.values
            }
        };
        let mut biases = biases.chunks_exact(rows).map(|bias| in_our_order(op, bias));
        self.expect_all_steps(node, inputs, time)?;
        self.expect_zeros(node, inputs.get(5), "initial_h")?;
        if op == "LSTM" {
            self.expect_zeros(node, inputs.get(6), "initial_c")?;
        }
        let reset_after = node.int("linear_before_reset", 0) != 0;
        let peepholes = peepholes(node, inputs, units, count)?;
        let mut ops = Vec::new();
        let each = input.into_iter().zip(recurrent).zip(peepholes);
        for ((input, recurrent), peepholes) in each {
            let [bias, recurrent_bias] = [0, 1].map(|_| biases.next().unwrap_or_default());
            let mut op =
                layer(op, functions.rnn, reset_after, input, recurrent, bias, recurrent_bias);
            if let Op::Lstm(lstm) = &mut op {
                lstm.peepholes = peepholes;
            }
            if let Some((slope, offset)) = functions.hard_sigmoid {
                op.harden(slope, offset);
            }
            ops.push(op);
        }
        let out = self.stack(node.label(), signal, directions, ops)?;
        if time == 1 {
            self.one_step = true;
        }

        let part = |role, size| Part::axis(role, size);
        let (time, batch) = (part(Role::Time, time), part(Role::Batch, batch));
        let (direction, features) = (part(Role::Direction, count), part(Role::Features, units));
        let (all, last) = if batch_first {
            (
                vec![batch.clone(), time, direction.clone(), features.clone()],
                vec![batch, direction, features],
            )
        } else {
            (
                vec![time, direction.clone(), batch.clone(), features.clone()],
                vec![direction, batch, features],
            )
        };
        let (all, last) = (
            Signal { axes: all, ..out.clone() },
            Signal { axes: last, when: When::Final, turned: false, ..out },
        );
        Ok(vec![Value::Signal(all), Value::Signal(last), Value::Cell])
    }

    /// Adds recurrent layers that take the same signal; gives it with what is known of their outputs.
    pub(super) fn stack(
        &mut self,
        label: &str,
        signal: &Signal,
        directions: Vec<Direction>,
        ops: Vec<Op>,
    ) -> Result<Signal> {
        let is_beside = self.stage == Some(signal.depth) && signal.depth + 1 == self.depth;
        let mut out = match is_beside {
            true => Signal { depth: self.depth, ..signal.clone() },
            false => self.advance(signal)?,
        };
        let first = if is_beside { self.builder.width() } else { 0 };
        let count = ops.len();
        for (k, (op, direction)) in ops.into_iter().zip(&directions).enumerate() {
            let name = match (count, direction) {
                (1, _) => label.to_owned(),
                (_, Direction::Forward) => format!("{label}.forward"),
                (_, Direction::Reverse) => format!("{label}.reverse"),
            };
            match is_beside || k > 0 {
                true => self.builder.beside(name, op, *direction)?,
                false => self.builder.directed(name, op, *direction)?,
            }
        }
        self.foldable = 0;
        self.stage = Some(signal.depth);
        out.columns = first..self.builder.width();
        out.directions = directions;
        Ok(out)
    }

    /// Numbers of steps and of sequences of a signal that is a sequence.
    pub(super) fn sequence(
        &mut self,
        signal: &Signal,
        batch_first: bool,
    ) -> Result<(usize, usize)> {
        ensure!(signal.when == When::All, "it needs a sequence, but is given the last step of one");
        let (time_axis, batch_axis) = if batch_first { (1, 0) } else { (0, 1) };
        let size = |axis: usize, role| match &signal.axes[axis][..] {
            [] => Some(1),
            [part] if part.role == role || matches!(part.role, Role::Leading(_)) => Some(part.size),
            _ => None,
        };
        let sizes = if signal.axes.len() == 3 && signal.is_features(2) {
            size(time_axis, Role::Time).zip(size(batch_axis, Role::Batch))
        } else {
            None
        };
        let expected =
            if batch_first { "[batch, time, features]" } else { "[time, batch, features]" };
        let sizes = sizes.with_context(|| format!("its input is {signal}, expected {expected}"))?;
        if let [Part { role: Role::Leading(0), .. }] = signal.axes[time_axis][..]
            && let [Part { role: Role::Leading(1), .. }] = signal.axes[batch_axis][..]
        {
            self.builder.note(
                "the model takes [time, batch, features]; data files stay [batch, time, features]",
            );
        }
        Ok(sizes)
    }

    /// Refuses lengths other than that of the sequence.
    fn expect_all_steps(&mut self, node: Node<'_>, inputs: &Inputs<'_>, time: usize) -> Result<()> {
        match inputs.get(4) {
            None => Ok(()),
            Some(Value::Array(lengths)) if lengths.origin() < Origin::State => {
                self.budget.take(node.label(), &[lengths.stored()])?;
                ensure!(
                    lengths.only() == Some(time as f64),
                    "its sequence_lens is not the length of the sequence; export the model without lengths and give samples their `lengths` instead"
                );
                Ok(())
            }
            Some(Value::Array(_)) => {
                self.builder.note(format!(
                    "sequence_lens of node `{}` is an input of the model: samples have `lengths` instead",
                    node.label()
                ));
                Ok(())
            }
            Some(other) => other.refuse().context("its sequence_lens"),
        }
    }

    /// Refuses an optional input that is there and not zero.
    pub(super) fn expect_zeros(
        &mut self,
        node: Node<'_>,
        initial: Option<&Value>,
        name: &str,
    ) -> Result<()> {
        match initial {
            None => Ok(()),
            Some(Value::Array(array)) => {
                self.budget.take(node.label(), &[array.stored()])?;
                ensure!(
                    array.only() == Some(0.0),
                    "its {name} is not zero, and every state of a blob starts at zero; make it zero and \
                     set the state with Stream::set_state"
                );
                if array.origin() == Origin::State {
                    self.builder.note(format!(
                        "{name} of node `{}` is an input of the model: the state starts at zero and is kept from step to step",
                        node.label()
                    ));
                }
                Ok(())
            }
            Some(_) => {
                bail!("its {name} depends on the model's input; gatelet takes it absent or zero")
            }
        }
    }
}

/// The directions of a node, of a sequence that may be turned around.
pub(super) fn directions(node: Node<'_>, turned: bool) -> Result<Vec<Direction>> {
    use Direction::{Forward, Reverse};
    let given = node.attribute("direction").map_or(&b"forward"[..], |a| &a.s);
    let directions = match given {
        b"forward" => vec![Forward],
        b"reverse" => vec![Reverse],
        b"bidirectional" => vec![Forward, Reverse],
        _ => bail!(
            "its direction is {}; gatelet takes forward, reverse and bidirectional",
            String::from_utf8_lossy(given)
        ),
    };
    let turn = |direction| match (turned, direction) {
        (false, direction) => direction,
        (true, Forward) => Reverse,
        (true, Reverse) => Forward,
    };
    Ok(directions.into_iter().map(turn).collect())
}

/// The functions of a node, other than the usual ones.
struct Functions {
    /// What a simple recurrent layer applies.
    rnn: RnnActivation,
    /// Slope and offset of gates that are hard sigmoids.
    hard_sigmoid: Option<(f64, f64)>,
}

impl Functions {
    fn of(node: Node<'_>, directions: usize) -> Result<Self> {
        let op = node.0.op_type.as_str();
        let (usual, other): (&[&str], &[&str]) = match op {
            "LSTM" => (&["sigmoid", "tanh", "tanh"], &["hardsigmoid", "tanh", "tanh"]),
            "GRU" => (&["sigmoid", "tanh"], &["hardsigmoid", "tanh"]),
            _ => (&["tanh"], &["relu"]),
        };
        let given = node.attribute("activations").map_or(&[][..], |a| &a.strings);
        let given: Vec<_> =
            given.iter().map(|s| String::from_utf8_lossy(s).to_lowercase()).collect();
        let usually = Self { rnn: RnnActivation::Tanh, hard_sigmoid: None };
        if given.is_empty() {
            return Ok(usually);
        }
        // Every direction lists its own; gatelet takes those that agree.
        let (usual, other) = (usual.repeat(directions), other.repeat(directions));
        if given == usual {
            return Ok(usually);
        }
        ensure!(
            given == other,
            "its activations are {}; gatelet takes {} or {}",
            given.join(", "),
            usual.join(", "),
            other.join(", ")
        );
        if op == "RNN" {
            return Ok(Self { rnn: RnnActivation::Relu, ..usually });
        }
        let first = |name: &str, default: f64| {
            let numbers = node.attribute(name).map_or(&[][..], |a| &a.floats);
            numbers.first().map_or(default, |n| f64::from(*n))
        };
        let agree = |name: &str| {
            let numbers = node.attribute(name).map_or(&[][..], |a| &a.floats);
            numbers.windows(2).all(|pair| pair[0] == pair[1])
        };
        ensure!(
            directions == 1 || (agree("activation_alpha") && agree("activation_beta")),
            "its directions have hard sigmoids of different slopes; gatelet takes one"
        );
        let hard_sigmoid = Some((first("activation_alpha", 0.2), first("activation_beta", 0.5)));
        Ok(Self { hard_sigmoid, ..usually })
    }
}

impl Functions {
    /// Refuses a clip of the sums that would show in the results.
    fn expect_no_clip(&self, node: Node<'_>) -> Result<()> {
        /// Where sigmoid and tanh are 0 or 1 to 2^-23.
        const SATURATED: f64 = 16.0;
        let clip = node.float("clip", 0.0);
        let is_saturated = self.rnn == RnnActivation::Tanh
            && clip >= SATURATED
            && self.hard_sigmoid.is_none_or(|(slope, offset)| {
                slope * clip + offset >= 1.0 && offset - slope * clip <= 0.0
            });
        ensure!(
            clip == 0.0 || is_saturated,
            "it clips its sums at {clip}, where its functions still rise; gatelet takes it without clip, or \
             with one of {SATURATED} or more, which cannot be told from none"
        );
        Ok(())
    }
}

/// The peepholes of an LSTM in each direction, in this crate's order, unless they are absent or zero.
fn peepholes(
    node: Node<'_>,
    inputs: &Inputs<'_>,
    units: usize,
    directions: usize,
) -> Result<Vec<Option<Vec<f64>>>> {
    if node.0.op_type != "LSTM" || inputs.get(7).is_none() {
        return Ok(vec![None; directions]);
    }
    let mut given = tensor(node, inputs.weights(7)?).context("its peepholes P")?;
    given.expect_shape(&[directions, 3 * units]).context("its peepholes P")?;
    let each = given.values.chunks_exact_mut(3 * units).map(|p| {
        // i o f to i f o
        p[units..].rotate_left(units);
        p.iter().any(|p| *p != 0.0).then(|| p.to_vec())
    });
    Ok(each.collect())
}

/// Rows of all gates from ONNX's order to this crate's.
fn in_our_order(op: &str, rows: &[f64]) -> Vec<f64> {
    if op != "LSTM" {
        return rows.to_vec();
    }
    let gate = |k: usize| &rows[rows.len() / 4 * k..rows.len() / 4 * (k + 1)];
    // i o f c to i f g o
    [gate(0), gate(2), gate(3), gate(1)].concat()
}

fn layer(
    op: &str,
    activation: RnnActivation,
    reset_after: bool,
    input: Matrix,
    recurrent: Matrix,
    bias: Vec<f64>,
    recurrent_bias: Vec<f64>,
) -> Op {
    if op == "GRU" && reset_after {
        return Op::Gru(Gru::reset_after(input, recurrent, bias, recurrent_bias));
    }
    let bias = bias.iter().zip(&recurrent_bias).map(|(b, r)| b + r).collect();
    match op {
        "LSTM" => Op::Lstm(Lstm::new(input, recurrent, bias)),
        "GRU" => Op::Gru(Gru::reset_before(input, recurrent, bias)),
        _ => Op::Rnn(Rnn { input, recurrent, bias, activation }),
    }
}
