//! What each kind of node does: those that compute, and by name the others.

use anyhow::{Context, Result, bail, ensure};

use super::array::{Array, Origin, broadcast_shape, data_type, product};
use super::moves::{
    arrangement, axis, cast, concat, expand, reduce_product, reduce_sum, resolve, reverse_sequence,
    shape, sizes, slice, split, squeeze, transpose, unsqueeze,
};
use super::signal::{Part, Role, Signal};
use super::{ACCEPTED, Importer, MAX_WIDTH, Node, Value, describe};
use crate::graph::{Activation, Dense, Embedding, LayerNorm, Matrix, Op};
use crate::import::Tensor;

/// Most numbers in a list that says how to move data.
pub(super) const MAX_LIST: usize = 64;

/// What a node is given, in order; optional inputs may be absent.
pub(super) struct Inputs<'a>(pub(super) Vec<Option<&'a Value>>);

impl<'a> Inputs<'a> {
    pub(super) fn get(&self, index: usize) -> Option<&'a Value> {
        self.0.get(index).copied().flatten()
    }

    pub(super) fn value(&self, index: usize) -> Result<&'a Value> {
        self.get(index).with_context(|| format!("it has no input {index}; the file is damaged"))
    }

    pub(super) fn signal(&self, index: usize) -> Result<&'a Signal> {
        match self.value(index)? {
            Value::Signal(signal) => Ok(signal),
            other => other.refuse(),
        }
    }

    pub(super) fn array(&self, index: usize) -> Result<&'a Array> {
        match self.value(index)? {
            Value::Array(array) => Ok(array),
            other => other.refuse(),
        }
    }

    /// Numbers that the file itself holds.
    pub(super) fn weights(&self, index: usize) -> Result<&'a Array> {
        let array = self.array(index)?;
        match array.origin() {
            Origin::File => Ok(array),
            Origin::Sizes => bail!("it computes with the number of sequences or steps"),
            Origin::State => {
                bail!("it computes with another input of the model; gatelet takes one")
            }
        }
    }

    /// Whether an input is zero everywhere.
    pub(super) fn is_zero(&self, index: usize) -> bool {
        matches!(self.get(index), Some(Value::Array(array)) if array.uniform() == Some(0.0))
    }

    /// A short list of integers, if the input is there.
    pub(super) fn integers(&self, index: usize) -> Result<Option<Vec<i64>>> {
        if self.get(index).is_none() {
            return Ok(None);
        }
        let array = self.array(index)?;
        ensure!(
            product(array.shape()).is_some_and(|count| count <= MAX_LIST),
            "its input {index} has shape {:?}, expected a list of {MAX_LIST} at most",
            array.shape()
        );
        Ok(Some(array.numbers()?.iter().map(|&n| n as i64).collect()))
    }
}

impl Importer {
    /// Runs a node of ONNX's own domain.
    pub(super) fn dispatch(&mut self, node: Node<'_>, inputs: &Inputs<'_>) -> Result<Vec<Value>> {
        if let Some(value) = self.of_step(node, inputs)? {
            return Ok(vec![value]);
        }
        let op = node.0.op_type.as_str();
        let value = match op {
            "RNN" | "GRU" | "LSTM" => return self.recurrent(node, inputs),
            "Constant" => Value::Array(self.constant(node)?),
            "ConstantOfShape" => {
                let shape = sizes(&inputs.integers(0)?.unwrap_or_default())?;
                let fill = node.attribute("value").and_then(|attribute| attribute.t.as_ref());
                let fill =
                    fill.map(|tensor| Array::read(tensor, None, &mut self.budget)).transpose()?;
                let number = fill.map_or(Some(0.0), |array| array.only());
                let number = number.context("its value is not one number")?;
                Value::Array(Array::filled(shape, number, inputs.array(0)?.origin()))
            }
            "Shape" => shape(node, inputs.value(0)?)?,
            // Dropout does nothing once trained.
            "Identity" | "Dropout" => inputs.value(0)?.clone(),
            "Cast" => cast(node, inputs.value(0)?)?,
            "Transpose" => transpose(node, inputs.value(0)?)?,
            "Reshape" => {
                let value = inputs.value(0)?;
                let target = inputs.integers(1)?.context("it has no shape")?;
                let shape = resolve(&value.shape()?, &target, node.int("allowzero", 0) != 0)?;
                value.reshape(&shape)?
            }
            "Flatten" => {
                let value = inputs.value(0)?;
                let shape = value.shape()?;
                let at = node.int("axis", 1);
                let at =
                    if at == shape.len() as i64 { shape.len() } else { axis(at, shape.len())? };
                let (before, after) = shape.split_at(at);
                let (Some(before), Some(after)) = (product(before), product(after)) else {
                    bail!("it flattens {shape:?}, which is too large");
                };
                value.reshape(&[before, after])?
            }
            "Squeeze" => squeeze(node, inputs)?,
            "Unsqueeze" => unsqueeze(node, inputs)?,
            "Slice" => slice(node, inputs)?,
            "Gather" => self.gather(node, inputs)?,
            "Concat" => concat(node, inputs)?,
            "Split" => return split(node, inputs),
            "ReverseSequence" => reverse_sequence(node, inputs)?,
            "Expand" => {
                let target = sizes(&inputs.integers(1)?.context("it has no shape")?)?;
                expand(inputs.value(0)?, &target, inputs.array(1)?.origin())?
            }
            "Where" => Value::Array(inputs.array(0)?.choose(inputs.array(1)?, inputs.array(2)?)?),
            "Equal" => {
                if let Value::Signal(signal) = inputs.value(0)? {
                    return Ok(vec![Value::Array(self.mask(node, signal)?)]);
                }
                let equal = inputs.array(0)?.combine(inputs.array(1)?, |a, b| f64::from(a == b))?;
                Value::Array(equal.cast(data_type::BOOL))
            }
            "Not" => Value::Array(
                inputs.array(0)?.combine(inputs.array(0)?, |n, _| f64::from(n == 0.0))?,
            ),
            "ReduceSum" => Value::Array(reduce_sum(node, inputs)?),
            "Less" | "Greater" | "And" => {
                let f: fn(f64, f64) -> f64 = match op {
                    "Less" => |a, b| f64::from(a < b),
                    "Greater" => |a, b| f64::from(a > b),
                    _ => |a, b| f64::from(a != 0.0 && b != 0.0),
                };
                let both = inputs.array(0)?.combine(inputs.array(1)?, f)?;
                Value::Array(both.cast(data_type::BOOL))
            }
            "ReduceProd" => Value::Array(reduce_product(node, inputs)?),
            "Add" | "Sub" | "Mul" | "Div" => self.arithmetic(node, inputs)?,
            "Neg" => self.scale(node, inputs.signal(0)?, -1.0)?,
            "MatMul" => self.matmul(node, inputs)?,
            "Gemm" => self.gemm(node, inputs)?,
            "BatchNormalization" => self.batch_normalization(node, inputs)?,
            "LayerNormalization" => self.layer_normalization(node, inputs)?,
            "Relu" => self.activation(node, inputs.signal(0)?, Activation::Relu)?,
            "Tanh" => self.activation(node, inputs.signal(0)?, Activation::Tanh)?,
            "Sigmoid" => self.activation(node, inputs.signal(0)?, Activation::Sigmoid)?,
            "Softmax" | "LogSoftmax" => self.softmax(node, inputs.signal(0)?)?,
            _ => bail!("this kind of node is not supported; gatelet takes {ACCEPTED}"),
        };
        Ok(vec![value])
    }

    fn constant(&mut self, node: Node<'_>) -> Result<Array> {
        if let Some(value) = node.attribute("value") {
            let tensor = value.t.as_ref().context("its value is empty")?;
            return Array::read(tensor, None, &mut self.budget);
        }
        let scalar = |array: Array| array.reshape(&[]);
        match node.0.attribute.first() {
            Some(a) if a.name == "value_int" => scalar(Array::integers([a.i], Origin::File)),
            Some(a) if a.name == "value_ints" => {
                Ok(Array::integers(a.ints.iter().copied(), Origin::File))
            }
            Some(a) if a.name == "value_float" => scalar(Array::floats(&[a.f])),
            Some(a) if a.name == "value_floats" => Ok(Array::floats(&a.floats)),
            _ => bail!("it has no value gatelet reads: a tensor, floats or integers"),
        }
    }

    fn gather(&mut self, node: Node<'_>, inputs: &Inputs<'_>) -> Result<Value> {
        let value = inputs.value(0)?;
        let indices = match inputs.value(1)? {
            Value::Array(indices) => indices,
            Value::Signal(tokens) => return self.embedding(node, inputs, tokens),
            other => return other.refuse(),
        };
        self.budget.take(node.label(), &[indices.stored()])?;
        let shape = value.shape()?;
        let at = axis(node.int("axis", 0), shape.len())?;
        let position = |&index: &f64| {
            let from_start = if index < 0.0 { index + shape[at] as f64 } else { index };
            ensure!(
                from_start >= 0.0 && from_start < shape[at] as f64,
                "index {index} is outside axis {at} of {}; the file is damaged",
                describe(&shape)
            );
            Ok(from_start as usize)
        };
        let positions: Vec<usize> =
            indices.numbers()?.iter().map(position).collect::<Result<_>>()?;
        let picked = match (value, &positions[..]) {
            (Value::Array(array), _) => {
                Value::Array(array.gather(at, &positions)?.tainted(indices.origin()))
            }
            (_, [position]) => value.slice(at, *position, 1, 1)?,
            _ => {
                bail!(
                    "it picks from {}; gatelet takes the last step of the sequence",
                    arrangement(value)
                )
            }
        };
        let all = [&shape[..at], indices.shape(), &shape[at + 1..]].concat();
        picked.reshape(&all)
    }

    /// Looks up a row of a table for every token.
    fn embedding(&mut self, node: Node<'_>, inputs: &Inputs<'_>, tokens: &Signal) -> Result<Value> {
        ensure!(
            node.int("axis", 0) == 0 && tokens.depth == 0,
            "it looks up {tokens} in a table; gatelet takes an embedding, which gives a row for each token of the model's input"
        );
        let table = matrix(node, inputs.weights(0)?, true)?;
        self.budget.take(node.label(), &[table.rows(), table.cols()])?;
        let mut out = self.advance(tokens)?;
        out.axes.push(Part::axis(Role::Features, table.cols()));
        out.columns = 0..table.cols();
        self.builder.layer(node.label(), Op::Embedding(Embedding { table }))?;
        Ok(Value::Signal(out))
    }

    /// Adds `W x + b` over the features on `axis` of a signal.
    fn dense(
        &mut self,
        node: Node<'_>,
        signal: &Signal,
        axis: usize,
        weights: Matrix,
    ) -> Result<Signal> {
        ensure!(
            signal.is_features(axis),
            "it mixes axis {axis} of {signal}; gatelet takes layers over the features of one step"
        );
        let units = weights.rows();
        ensure!(units <= MAX_WIDTH, "it has {units} units; gatelet takes {MAX_WIDTH} at most");
        self.foldable = self.budget.take(node.label(), &[units, weights.cols()])?;
        let mut out = self.advance(signal)?;
        out.axes[axis] = Part::axis(Role::Features, units);
        out.columns = 0..units;
        let dense = Dense { weights, bias: vec![0.0; units], activation: Activation::Linear };
        self.builder.layer(node.label(), Op::Dense(dense))?;
        Ok(out)
    }

    fn matmul(&mut self, node: Node<'_>, inputs: &Inputs<'_>) -> Result<Value> {
        let out = match (inputs.value(0)?, inputs.value(1)?) {
            (Value::Signal(signal), _) if signal.axes.len() > 1 => {
                let weights = matrix(node, inputs.weights(1)?, false)?;
                self.dense(node, signal, signal.axes.len() - 1, weights)?
            }
            (_, Value::Signal(signal)) if signal.axes.len() > 1 => {
                let weights = matrix(node, inputs.weights(0)?, true)?;
                self.dense(node, signal, signal.axes.len() - 2, weights)?
            }
            _ => bail!(
                "it multiplies two constants, or a single vector; gatelet takes a sequence times weights"
            ),
        };
        Ok(Value::Signal(out))
    }

    fn gemm(&mut self, node: Node<'_>, inputs: &Inputs<'_>) -> Result<Value> {
        let mut signal = inputs.signal(0)?.clone();
        ensure!(signal.axes.len() == 2, "its input is {signal}, expected two axes");
        if node.int("transA", 0) != 0 {
            signal = signal.transpose(&[1, 0])?;
        }
        let weights = matrix(node, inputs.weights(1)?, node.int("transB", 0) != 0)?;
        let mut out = self.dense(node, &signal, 1, weights)?;
        let alpha = node.float("alpha", 1.0);
        if alpha != 1.0 {
            out = self.affine(node, &out, &|_| alpha, &|_| 0.0)?;
        }
        if inputs.get(2).is_some() {
            let beta = node.float("beta", 1.0);
            let (shaped, bias) = self.per_feature(&out, inputs.weights(2)?)?;
            out = self.affine(node, &shaped, &|_| 1.0, &|k| beta * bias[k])?;
        }
        Ok(Value::Signal(out))
    }

    /// Applies `scale(k) * x[k] + offset(k)` to the features.
    fn affine(
        &mut self,
        node: Node<'_>,
        signal: &Signal,
        scale: &dyn Fn(usize) -> f64,
        offset: &dyn Fn(usize) -> f64,
    ) -> Result<Signal> {
        self.budget.take(node.label(), &[self.foldable])?;
        let out = self.advance(signal)?;
        let features = 0..self.builder.width();
        let scale = features.clone().map(scale).collect();
        self.builder.affine(node.label(), scale, features.map(offset).collect())?;
        Ok(out)
    }

    fn scale(&mut self, node: Node<'_>, signal: &Signal, factor: f64) -> Result<Value> {
        Ok(Value::Signal(self.affine(node, signal, &|_| factor, &|_| 0.0)?))
    }

    fn arithmetic(&mut self, node: Node<'_>, inputs: &Inputs<'_>) -> Result<Value> {
        let op = node.0.op_type.as_str();
        let (signal, constant, is_first) = match (inputs.value(0)?, inputs.value(1)?) {
            (Value::Array(a), Value::Array(b)) => {
                let f: fn(f64, f64) -> f64 = match op {
                    "Add" => |a, b| a + b,
                    "Sub" => |a, b| a - b,
                    "Mul" => |a, b| a * b,
                    _ => |a, b| a / b,
                };
                return Ok(Value::Array(a.combine(b, f)?));
            }
            (Value::Signal(signal), Value::Array(_)) => (signal, inputs.weights(1)?, true),
            (Value::Array(_), Value::Signal(signal)) => (signal, inputs.weights(0)?, false),
            (Value::Signal(a), Value::Signal(b)) if op == "Add" => {
                return Ok(Value::Signal(self.add_up(node, a, b)?));
            }
            (Value::Signal(_), Value::Signal(_)) => {
                bail!(
                    "it joins two branches of the network; gatelet takes a plain stack of layers, and \
                     Add or Concat of two that take the same input"
                )
            }
            (Value::Signal(_) | Value::Array(_), other) | (other, _) => return other.refuse(),
        };
        let neutral = match op {
            "Add" | "Sub" => 0.0,
            _ => 1.0,
        };
        if constant.uniform() == Some(neutral)
            && (is_first || !matches!(op, "Sub" | "Div"))
            && broadcast_shape(&signal.shape(), constant.shape())? == signal.shape()
        {
            return Ok(Value::Signal(signal.clone()));
        }
        let (signal, constant) = self.per_feature(signal, constant)?;
        let c = |k: usize| constant[k];
        let out = match (op, is_first) {
            ("Add", _) => self.affine(node, &signal, &|_| 1.0, &c)?,
            ("Sub", true) => self.affine(node, &signal, &|_| 1.0, &|k| -c(k))?,
            ("Sub", false) => self.affine(node, &signal, &|_| -1.0, &c)?,
            ("Mul", _) => self.affine(node, &signal, &c, &|_| 0.0)?,
            ("Div", true) => self.affine(node, &signal, &|k| 1.0 / c(k), &|_| 0.0)?,
            _ => bail!("it divides by what depends on the input"),
        };
        Ok(Value::Signal(out))
    }

    /// Adds the outputs of layers beside each other.
    fn add_up(&mut self, node: Node<'_>, a: &Signal, b: &Signal) -> Result<Signal> {
        let both = match a.columns.start <= b.columns.start {
            true => a.join(b),
            false => b.join(a),
        };
        let both = both.context(
            "it joins two branches of the network; gatelet adds the outputs of two layers that take \
             the same input",
        )?;
        let mut out = self.advance(&both)?;
        self.builder.add_up(node.label(), 2, 1.0)?;
        out.columns = 0..self.builder.width();
        Ok(out)
    }

    /// Which steps a mask leaves out: none, since samples have `lengths` instead.
    fn mask(&mut self, node: Node<'_>, signal: &Signal) -> Result<Array> {
        ensure!(
            signal.depth == 0,
            "it compares what a layer gives; gatelet takes masks of the model's input"
        );
        self.builder.note(format!(
            "the mask of node `{}` is dropped: give padded samples their `lengths` instead",
            node.label()
        ));
        Ok(Array::filled(signal.shape(), 0.0, Origin::File).cast(data_type::BOOL))
    }

    /// The numbers of a constant that broadcasts over everything but the
    /// features, one a feature; and the signal, which may have gained axes.
    fn per_feature(&self, signal: &Signal, constant: &Array) -> Result<(Signal, Vec<f64>)> {
        let mut signal = signal.clone();
        let shape = constant.shape();
        while signal.axes.len() < shape.len() {
            signal.axes.insert(0, Vec::new());
        }
        let first = signal.axes.len() - shape.len();
        let fits = shape.iter().enumerate().all(|(k, &size)| {
            size == 1 || (signal.is_features(first + k) && size == self.builder.width())
        });
        ensure!(
            fits,
            "a constant of shape {shape:?} meets {signal} with {} features; gatelet takes one number, or one for each feature",
            self.builder.width()
        );
        let numbers = constant.numbers()?;
        let per_feature = numbers.iter().copied().cycle().take(self.builder.width());
        Ok((signal, per_feature.collect()))
    }

    fn batch_normalization(&mut self, node: Node<'_>, inputs: &Inputs<'_>) -> Result<Value> {
        let signal = inputs.signal(0)?;
        ensure!(
            signal.axes.len() > 1 && signal.is_features(1),
            "it normalizes axis 1 of {signal}; gatelet takes the features"
        );
        ensure!(
            node.int("training_mode", 0) == 0,
            "it is in training mode; export the model after model.eval()"
        );
        let width = self.builder.width();
        let numbers = |index| tensor(node, inputs.weights(index)?)?.vector(width);
        let (gamma, beta) = (numbers(1)?, numbers(2)?);
        let (mean, variance) = (numbers(3)?, numbers(4)?);
        let epsilon = node.float("epsilon", 1e-5);
        let scale = |k: usize| gamma[k] / (variance[k] + epsilon).sqrt();
        let out = self.affine(node, signal, &scale, &|k| beta[k] - mean[k] * scale(k))?;
        Ok(Value::Signal(out))
    }

    fn layer_normalization(&mut self, node: Node<'_>, inputs: &Inputs<'_>) -> Result<Value> {
        let signal = inputs.signal(0)?;
        let rank = signal.axes.len();
        let first = axis(node.int("axis", -1), rank)?;
        ensure!(
            first + 1 == rank && signal.is_features(first),
            "it normalizes axis {first} and those behind it of {signal}; gatelet takes the features"
        );
        let width = self.builder.width();
        let gamma = tensor(node, inputs.weights(1)?)?.vector(width)?;
        let beta = match inputs.get(2) {
            Some(_) => tensor(node, inputs.weights(2)?)?.vector(width)?,
            None => vec![0.0; width],
        };
        let epsilon = node.float("epsilon", 1e-5);
        self.budget.take(node.label(), &[width; 2])?;
        self.foldable = 0;
        let out = self.advance(signal)?;
        let gamma = Matrix::new(width, 1, gamma);
        self.builder.layer(node.label(), Op::LayerNorm(LayerNorm { gamma, beta, epsilon }))?;
        Ok(Value::Signal(out))
    }

    fn activation(
        &mut self,
        node: Node<'_>,
        signal: &Signal,
        activation: Activation,
    ) -> Result<Value> {
        // It may become a layer of its own.
        self.budget.take(node.label(), &[self.builder.width(); 2])?;
        let out = self.advance(signal)?;
        self.builder.activation(node.label(), activation)?;
        Ok(Value::Signal(out))
    }

    fn softmax(&mut self, node: Node<'_>, signal: &Signal) -> Result<Value> {
        let rank = signal.axes.len();
        // Before version 13, all axes from the given one on were one.
        let joined = self.opset < 13;
        let at = axis(node.int("axis", if joined { 1 } else { -1 }), rank)?;
        let alone = !joined || (at + 1..rank).all(|k| signal.axes[k].is_empty());
        ensure!(
            signal.is_features(at) && alone,
            "it runs over axis {at} of {signal}; gatelet takes the features"
        );
        if node.0.op_type == "LogSoftmax" {
            self.builder.note(format!(
                "node `{}` (LogSoftmax) becomes a softmax: probabilities come out, not their logarithms",
                node.label()
            ));
        }
        self.activation(node, signal, Activation::Softmax)
    }
}

/// Weights under the name of the node that takes them.
pub(super) fn tensor(node: Node<'_>, array: &Array) -> Result<Tensor> {
    let values = array.numbers()?.to_vec();
    Ok(Tensor { name: node.label().into(), shape: array.shape().to_vec(), values })
}

/// Weights as `[units][inputs]`: stored so (`as_is`), or the other way.
fn matrix(node: Node<'_>, weights: &Array, as_is: bool) -> Result<Matrix> {
    let [rows, cols] = *weights.shape() else {
        bail!("its weights have shape {:?}, expected a matrix", weights.shape());
    };
    let tensor = tensor(node, weights)?;
    if as_is { tensor.matrix(rows, cols) } else { tensor.transposed(cols, rows) }
}
