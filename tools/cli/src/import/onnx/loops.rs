//! Recurrent layers that an exporter wrote as a loop over the steps, as tf2onnx writes Keras 3's GRU and
//! SimpleRNN.
//!
//! The body is run once, as the model is, on what is known of a step: the number of the step, the
//! sequence's features at it, and the states before it. What comes out is how the states change, as
//! formulas, by which the cell is recognised. The rest of the body only counts steps.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};

use super::array::{Array, Origin, data_type};
use super::cells::{Cell, recognise};
use super::formula::{Formula, Function};
use super::moves::axis;
use super::nodes::Inputs;
use super::proto::GraphProto;
use super::signal::{Part, Role, Signal, When};
use super::{Importer, MAX_WIDTH, Node, Scope, Value, needed, recurrent};

/// What a loop goes through.
pub(super) struct Walk {
    /// How often its body runs.
    steps: f64,
    /// What the body takes a step of.
    sequence: Option<Signal>,
}

impl Importer {
    /// Adds the recurrent layer that a loop computes.
    pub(super) fn looped(&mut self, node: Node<'_>, scope: &Scope<'_>) -> Result<Vec<Value>> {
        self.cell(node, scope).context(
            "gatelet takes a loop that is a simple RNN, GRU or LSTM, as tf2onnx writes Keras' layers; or the \
             .keras, .h5 or .safetensors file the model was exported from",
        )
    }

    fn cell(&mut self, node: Node<'_>, scope: &Scope<'_>) -> Result<Vec<Value>> {
        ensure!(self.walk.is_none(), "it is a loop inside a loop");
        let inputs = scope.inputs(node)?;
        let body = node.attribute("body").and_then(|a| a.g.as_ref()).context("it has no body")?;
        let steps = inputs.array(0)?.only().context("it has no number of steps")?;
        self.walk = Some(Walk { steps, sequence: None });
        let found = self.body(body, &inputs, scope);
        let walk = self.walk.take();
        let (states, outputs) = found?;
        let sequence = walk.and_then(|walk| walk.sequence).context("it reads no sequence")?;
        let (time, batch) = self.sequence(&sequence, false)?;
        ensure!(steps == time as f64, "it does not take every step of the sequence once");

        let features = sequence.shape()[2];
        let live = |k: &usize| states.iter().flatten().any(|update| update.takes(*k));
        let updates: Vec<(usize, Formula)> =
            (0..states.len()).filter(live).filter_map(|k| Some((k, states[k].clone()?))).collect();
        for (k, update) in &updates {
            ensure!(
                (1..=MAX_WIDTH).contains(&update.width()),
                "it has {} units; gatelet takes 1 to {MAX_WIDTH}",
                update.width()
            );
            // Its weights, for each of four gates.
            self.budget.take(node.label(), &[4 * update.width(), features + update.width()])?;
            self.expect_zeros(node, inputs.get(2 + k), "initial state")?;
        }
        let cells = recognise(updates, features)?;
        let mut out = sequence;
        let (mut memories, mut output) = (Vec::new(), 0);
        let one = cells.len() == 1;
        for (k, Cell { op, output: of, memory }) in cells.into_iter().enumerate() {
            let label = if one { node.label().into() } else { format!("{}.{k}", node.label()) };
            memories.extend(memory);
            output = of;
            let width = op.recurrent_matrix().map_or(0, |matrix| matrix.cols());
            let directions = recurrent::directions(node, out.turned)?;
            out = self.stack(&label, &out, directions, vec![op])?;
            out.axes[2] = Part::axis(Role::Features, width);
        }

        let part = |role, size| Part::axis(role, size);
        let last = vec![part(Role::Batch, batch), out.axes[2].clone()];
        let all = [vec![part(Role::Time, time)], last.clone()].concat();
        let all = Signal { axes: all, ..out.clone() };
        let last = Signal { axes: last, when: When::Final, turned: false, ..out };
        let is_output = |formula: &Formula| states[output].as_ref().is_some_and(|h| h.is(formula));
        let carried = states.len();
        let is_known = |value: &Value| matches!(value, Value::Formula(of) if is_output(of));
        ensure!(
            outputs[carried..].iter().all(is_known),
            "it gives something else than the output of its cell at every step"
        );
        let value = |(k, value): (usize, Value)| match value {
            Value::Formula(formula) if is_output(&formula) => {
                Value::Signal(if k < carried { last.clone() } else { all.clone() })
            }
            Value::Formula(_) => Value::Cell,
            Value::Counter(_) => Value::Array(Array::filled(Vec::new(), steps, Origin::Sizes)),
            other => other,
        };
        Ok(outputs.into_iter().enumerate().map(value).collect())
    }

    /// Runs the body; gives what each carried value becomes, if it is a state, and all it gives.
    fn body(
        &mut self,
        body: &GraphProto,
        inputs: &Inputs<'_>,
        outer: &Scope<'_>,
    ) -> Result<(Vec<Option<Formula>>, Vec<Value>)> {
        let carried = inputs.0.len().saturating_sub(2);
        ensure!(
            body.input.len() == carried + 2 && body.output.len() > carried,
            "its body does not fit what it is given; the file is damaged"
        );
        let mut values = HashMap::new();
        let roots = body.output.iter().map(|output| output.name.as_str());
        let (order, needed) = needed(&body.node, roots);
        self.weights(body, None, &needed, &mut values)?;
        values.insert(body.input[0].name.as_str(), Value::Counter(0));
        for k in 0..carried {
            let (name, after) = (&body.input[2 + k].name, &body.output[1 + k].name);
            let before = inputs.value(2 + k)?;
            let value = match before {
                _ if passes(&order, after, name) => before.clone(),
                // An output before the first that a mask lets through.
                Value::Unknown(_) => before.clone(),
                Value::Array(array) if array.shape().len() == 2 => {
                    Value::Formula(Formula::state(k, array.shape()[0], array.shape()[1])?)
                }
                Value::Array(array) if array.shape().is_empty() => {
                    ensure!(array.only() == Some(0.0), "it counts steps from another than 0");
                    Value::Counter(0)
                }
                _ => before.refuse()?,
            };
            values.insert(name, value);
        }
        let mut scope = Scope { values, outer: Some(outer) };
        for inner in order {
            let outputs = self.node(inner, &scope);
            let outputs = outputs.with_context(|| {
                format!("in its body, node `{}` ({})", inner.label(), inner.0.op_type)
            })?;
            scope.enter(inner, outputs)?;
        }
        let mut outputs = Vec::new();
        for output in &body.output {
            let value = scope.get(&output.name);
            let value = value
                .with_context(|| format!("nothing makes `{}`; the file is damaged", output.name))?;
            outputs.push(value.clone());
        }
        let goes_on = |value: &Value| matches!(value, Value::Array(a) if a.only() == Some(1.0));
        ensure!(
            goes_on(&outputs.remove(0)) && inputs.get(1).is_none_or(goes_on),
            "it can end before the sequence does"
        );
        let states = outputs[..carried].iter().map(|value| match value {
            Value::Formula(formula) => Ok(Some(formula.clone())),
            Value::Counter(after) => {
                ensure!(*after == 1, "it does not count its steps one by one");
                Ok(None)
            }
            // What the step does not change.
            _ => Ok(None),
        });
        Ok((states.collect::<Result<_>>()?, outputs))
    }

    /// Runs a node on what is known of a step; `None` if it only moves data.
    pub(super) fn of_step(&mut self, node: Node<'_>, inputs: &Inputs<'_>) -> Result<Option<Value>> {
        let pair = (inputs.get(0), inputs.get(1));
        let op = node.0.op_type.as_str();
        let formula = match (op, pair) {
            ("Gather", (Some(Value::Signal(signal)), Some(Value::Counter(0)))) => {
                ensure!(
                    axis(node.int("axis", 0), signal.axes.len())? == 0,
                    "it takes part of a step"
                );
                self.step_of(signal)?
            }
            ("Gather", (Some(Value::Array(array)), Some(Value::Counter(0)))) => {
                let number = array.uniform().context("it takes other numbers at every step")?;
                let step = array.shape().get(1..).unwrap_or_default().to_vec();
                return Ok(Some(Value::Array(Array::filled(step, number, array.origin()))));
            }
            ("Add", (Some(Value::Counter(n)), Some(Value::Array(by))))
            | ("Add", (Some(Value::Array(by)), Some(Value::Counter(n)))) => {
                ensure!(by.only() == Some(1.0), "it counts steps by another number than 1");
                return Ok(Some(Value::Counter(n + 1)));
            }
            ("Cast" | "Identity", (Some(counter @ Value::Counter(_)), _)) => {
                return Ok(Some(counter.clone()));
            }
            ("Less", (Some(Value::Counter(n)), Some(Value::Array(end)))) => {
                // Asked before the last step, which it need not hold for.
                let steps = self.walk.as_ref().map(|walk| walk.steps);
                ensure!(*n <= 1 && end.only() == steps, "it can end before the sequence does");
                let yes = Array::filled(Vec::new(), 1.0, Origin::Sizes);
                return Ok(Some(Value::Array(yes.cast(data_type::BOOL))));
            }
            ("Cast" | "Identity", (Some(Value::Formula(of)), _)) => of.clone(),
            ("Tanh", (Some(Value::Formula(of)), _)) => of.apply(Function::Tanh)?,
            ("Sigmoid", (Some(Value::Formula(of)), _)) => of.apply(Function::Sigmoid)?,
            ("Relu", (Some(Value::Formula(of)), _)) => of.apply(Function::Relu)?,
            ("HardSigmoid", (Some(Value::Formula(of)), _)) => {
                let offset = Array::floats(&[node.float("beta", 0.5) as f32]);
                let sum = of.scale(node.float("alpha", 0.2))?;
                sum.add(&sum.of_constant(&offset)?, 1.0)?
                    .apply(Function::Clip { low: 0.0, high: 1.0 })?
            }
            ("Clip", (Some(Value::Formula(of)), _)) => {
                let bound = |index| inputs.weights(index)?.only().context("it has no bound");
                of.apply(Function::Clip { low: bound(1)?, high: bound(2)? })?
            }
            ("MatMul", (Some(Value::Formula(of)), _)) => of.matmul(inputs.weights(1)?)?,
            (
                "Add" | "Sub" | "Mul" | "Div",
                (Some(Value::Formula(_)), _) | (_, Some(Value::Formula(_))),
            ) => arithmetic(op, inputs)?,
            ("Slice" | "Split", (Some(Value::Formula(of)), _)) => {
                self.budget.take(node.label(), &[of.stored()])?;
                return Ok(None);
            }
            _ => return Ok(None),
        };
        Ok(Some(Value::Formula(formula)))
    }

    /// The features of a sequence at the step of the loop.
    fn step_of(&mut self, signal: &Signal) -> Result<Formula> {
        let walk = self.walk.as_mut().context("it picks a step outside of a loop")?;
        ensure!(
            walk.sequence.as_ref().is_none_or(|sequence| sequence == signal),
            "it reads more than one sequence"
        );
        ensure!(signal.axes.len() == 3, "it reads {signal}, expected [time, batch, features]");
        let shape = signal.shape();
        walk.sequence = Some(signal.clone());
        Formula::input(shape[1], shape[2])
    }
}

fn arithmetic(op: &str, inputs: &Inputs<'_>) -> Result<Formula> {
    let sign = if op == "Sub" { -1.0 } else { 1.0 };
    let number = |array: &Array| array.only().context("it scales features by different numbers");
    match (op, inputs.value(0)?, inputs.value(1)?) {
        ("Add" | "Sub", Value::Formula(a), Value::Formula(b)) => a.add(b, sign),
        ("Add" | "Sub", Value::Formula(a), Value::Array(_)) => {
            a.add(&a.of_constant(inputs.weights(1)?)?, sign)
        }
        ("Add" | "Sub", Value::Array(_), Value::Formula(b)) => {
            b.of_constant(inputs.weights(0)?)?.add(b, sign)
        }
        ("Mul", Value::Formula(a), Value::Formula(b)) => a.product(b),
        ("Mul", Value::Formula(a), Value::Array(_)) => a.scale(number(inputs.weights(1)?)?),
        ("Mul", Value::Array(_), Value::Formula(b)) => b.scale(number(inputs.weights(0)?)?),
        ("Div", Value::Formula(a), Value::Array(_)) => a.scale(1.0 / number(inputs.weights(1)?)?),
        (_, other, _) => other.refuse(),
    }
}

/// Whether `to` is `from` as it is.
fn passes(order: &[Node<'_>], to: &str, from: &str) -> bool {
    let made = |name: &str| {
        let of = order
            .iter()
            .find(|n| n.0.op_type == "Identity" && n.0.output.iter().any(|o| o == name));
        of.and_then(|node| node.0.input.first())
    };
    to == from || made(to).is_some_and(|name| name == from)
}
