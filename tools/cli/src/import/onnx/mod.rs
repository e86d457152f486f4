//! ONNX models: `.onnx`.
//!
//! The nodes are run once, in the order of the file, on what is known of their
//! inputs. Of constants, and of the shapes and states that exporters compute
//! from them, everything is known: an [`Array`]. Of what depends on the
//! model's input it is known which layers it went through and how its axes are
//! arranged now: a [`Signal`]. A node that moves data only rearranges axes,
//! whichever way the exporter put it; a node that computes adds a layer to the
//! stack; any other is refused.
//!
//! Sizes that the file leaves open, such as the batch, get stand-ins: large
//! primes, so that a shape computed from them still tells what it is made of.
//!
//! ONNX orders gates `i o f c` and `z r h`, and its GRU's update gate keeps,
//! as this crate's does.

mod array;
mod cells;
mod formula;
mod loops;
mod moves;
mod nodes;
mod proto;
mod recurrent;
mod signal;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};
use prost::Message;
use prost::bytes::Bytes;

use self::array::{Array, MAX_RANK, Origin, data_type};
use self::formula::Formula;
use self::loops::Walk;
use self::nodes::Inputs;
use self::proto::tensor_shape_proto::dimension::Value as Dimension;
use self::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto};
use self::signal::{Part, Role, Signal, When};
use super::Budget;
use crate::graph::{Graph, GraphBuilder, Layer, Op, Output, Reset};

/// Nodes this module takes, for the message that refuses another.
const ACCEPTED: &str = "LSTM, GRU, RNN, Gather, Gemm, MatMul, Add, Sub, Mul, Div, BatchNormalization, LayerNormalization, Relu, Sigmoid, Tanh, Softmax, LogSoftmax, \
     and what moves data without mixing it";
/// First version of the operators with today's recurrent nodes.
const MIN_OPSET: i64 = 7;
/// Most features or units: a network for a microcontroller has far fewer.
const MAX_WIDTH: usize = 4096;
/// Most sequences or steps a file may fix.
const MAX_LEADING: i64 = 1 << 20;
/// What stands in for sizes that the file leaves open, in order.
const STAND_INS: [usize; 8] =
    [1_000_003, 999_983, 999_979, 999_961, 999_959, 999_953, 999_931, 999_917];

/// Sizes in a message, without the stand-ins.
fn describe(sizes: &[usize]) -> String {
    let one = |size: &usize| {
        if STAND_INS.contains(size) { "open".into() } else { size.to_string() }
    };
    format!("[{}]", sizes.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// Imports the ONNX model that is in `path`.
pub(super) fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Graph> {
    const NO_MODEL: &str = "it is no ONNX model, or a damaged one";
    wire::check(&bytes).context(NO_MODEL)?;
    let model = ModelProto::decode(Bytes::from(bytes)).context(NO_MODEL)?;
    let graph = model.graph.as_ref().with_context(|| format!("{NO_MODEL}: it has no graph"))?;
    let opset = model.opset_import.iter().find(|o| is_standard(&o.domain));
    let opset = opset.with_context(|| format!("{NO_MODEL}: it has no opset_import"))?.version;
    ensure!(
        opset >= MIN_OPSET,
        "it uses version {opset} of ONNX's operators; gatelet takes version {MIN_OPSET} or later, which onnx.version_converter makes"
    );
    let mut graph = run(graph, path.parent(), opset)?;
    let before = |layer: &Layer| matches!(&layer.op, Op::Gru(gru) if gru.reset == Reset::Before);
    if model.producer_name == "pytorch"
        && let Some(layer) = graph.layers.iter().find(|layer| before(layer))
    {
        graph.notes.push(format!(
            "node `{}` (GRU) has linear_before_reset=0, but PyTorch's GRU is the other form: onnxscript before 0.7 wrote it so by mistake; export again with a newer one",
            layer.name
        ));
    }
    Ok(graph)
}

/// Whether a domain is that of ONNX's own operators.
fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// What is known of a value of the graph.
#[derive(Clone, Debug)]
enum Value {
    /// Its numbers.
    Array(Array),
    /// That it depends on the input, and how.
    Signal(Signal),
    /// Signals joined along an axis of length 1 each, or of both directions, as
    /// PyTorch joins the states of its layers.
    Stack { axis: usize, signals: Rc<[Signal]> },
    /// The cell state of an LSTM.
    Cell,
    /// In the body of a loop: how it follows from the step's input and the states before it.
    Formula(Formula),
    /// In the body of a loop: the number of the step, from 0 on, plus this.
    Counter(i64),
    /// Nothing, and why: an error only if the output needs it.
    Unknown(Rc<str>),
}

impl Value {
    fn shape(&self) -> Result<Vec<usize>> {
        match self {
            Self::Array(array) => Ok(array.shape().to_vec()),
            Self::Signal(signal) => Ok(signal.shape()),
            Self::Stack { axis, signals } => {
                let mut shape = signals[0].shape();
                shape[*axis] = signals.iter().map(|signal| signal.shape()[*axis]).sum();
                Ok(shape)
            }
            Self::Formula(formula) => Ok(formula.shape()),
            Self::Counter(_) => Ok(Vec::new()),
            Self::Cell | Self::Unknown(_) => self.refuse(),
        }
    }

    fn transpose(&self, order: &[usize]) -> Result<Self> {
        match self {
            Self::Array(array) => Ok(Self::Array(array.transpose(order)?)),
            Self::Signal(signal) => Ok(Self::Signal(signal.transpose(order)?)),
            _ => self.refuse(),
        }
    }

    fn reshape(&self, shape: &[usize]) -> Result<Self> {
        match self {
            Self::Array(array) => Ok(Self::Array(array.reshape(shape)?)),
            Self::Signal(signal) => Ok(Self::Signal(signal.reshape(shape)?)),
            _ => self.refuse(),
        }
    }

    /// Every `step`th of an axis, `count` from `start` on.
    fn slice(&self, axis: usize, start: usize, step: isize, count: usize) -> Result<Self> {
        match self {
            Self::Array(array) => Ok(Self::Array(array.slice(axis, start, step, count)?)),
            Self::Signal(signal) => Ok(Self::Signal(signal.slice(axis, start, step, count)?)),
            Self::Formula(formula) => Ok(Self::Formula(formula.slice(axis, start, step, count)?)),
            Self::Stack { axis: joined, signals } if axis == *joined => {
                let mut first = 0;
                for signal in signals.iter() {
                    let size = signal.shape()[axis];
                    if (first..first + size).contains(&start) && start + count <= first + size {
                        return Ok(Self::Signal(signal.slice(axis, start - first, step, count)?));
                    }
                    first += size;
                }
                self.refuse()
            }
            _ => self.refuse(),
        }
    }

    /// Why this value cannot be used.
    fn refuse<T>(&self) -> Result<T> {
        match self {
            Self::Cell => bail!("it uses the cell state of an LSTM; gatelet gives only its output"),
            Self::Stack { .. } => {
                bail!("it uses the states of several layers at once; gatelet takes one of them")
            }
            Self::Signal(_) => {
                bail!("it uses what depends on the model's input where gatelet takes a constant")
            }
            Self::Array(_) => bail!("it computes on constants where gatelet takes a sequence"),
            Self::Formula(_) => {
                bail!("it changes a step of a loop as no cell does that gatelet knows")
            }
            Self::Counter(_) => bail!("it computes with the number of a step"),
            Self::Unknown(why) => bail!("{why}"),
        }
    }
}

/// Runs the nodes that the first output needs.
fn run(graph: &GraphProto, folder: Option<&Path>, opset: i64) -> Result<Graph> {
    let output = graph.output.first().context("the model has no output")?;
    let (order, needed) = needed(&graph.node, [output.name.as_str()]);
    let mut values = HashMap::new();
    let features = inputs(graph, &mut values)?;
    let mut importer = Importer::new(features, opset);
    importer.weights(graph, folder, &needed, &mut values)?;
    let mut scope = Scope { values, outer: None };
    for node in order {
        let outputs = importer.node(node, &scope);
        let outputs =
            outputs.with_context(|| format!("node `{}` ({})", node.label(), node.0.op_type));
        let outputs = outputs.unwrap_or_else(|error| {
            vec![Value::Unknown(format!("{error:#}").into()); node.0.output.len()]
        });
        scope.enter(node, outputs)?;
    }
    for other in &graph.output[1..] {
        importer.builder.note(format!("output `{}` is not given, only the first", other.name));
    }
    importer.finish(&output.name, scope.get(&output.name))
}

/// The nodes that `roots` need, in the order of the file, and all names that they need.
fn needed<'a>(
    nodes: &'a [NodeProto],
    roots: impl IntoIterator<Item = &'a str>,
) -> (Vec<Node<'a>>, HashSet<&'a str>) {
    let mut needed: HashSet<&str> = roots.into_iter().collect();
    let mut order = Vec::new();
    for node in nodes.iter().rev() {
        if node.output.iter().any(|name| !name.is_empty() && needed.contains(name.as_str())) {
            needed.extend(node.input.iter().map(String::as_str));
            // What a loop's body takes from around it.
            let bodies = node.attribute.iter().filter_map(|attribute| attribute.g.as_ref());
            for body in bodies {
                needed.extend(body.node.iter().flat_map(|n| &n.input).map(String::as_str));
                needed.extend(body.output.iter().map(|output| output.name.as_str()));
            }
            order.push(Node(node));
        }
    }
    order.reverse();
    (order, needed)
}

/// The values of a graph by name, and of those around it.
struct Scope<'a> {
    values: HashMap<&'a str, Value>,
    outer: Option<&'a Scope<'a>>,
}

impl<'a> Scope<'a> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name).or_else(|| self.outer.and_then(|outer| outer.get(name)))
    }

    /// What a node is given.
    fn inputs(&self, node: Node<'_>) -> Result<Inputs<'_>> {
        let find = |name: &String| match (name.is_empty(), self.get(name)) {
            (true, _) => Ok(None),
            (_, Some(value)) => Ok(Some(value)),
            _ => bail!(
                "nothing before it makes its input `{name}`; the file is damaged, or its nodes form a circle"
            ),
        };
        Ok(Inputs(node.0.input.iter().map(find).collect::<Result<_>>()?))
    }

    /// Enters what a node makes.
    fn enter(&mut self, node: Node<'a>, outputs: Vec<Value>) -> Result<()> {
        for (name, value) in node.0.output.iter().zip(outputs) {
            let known = self.values.insert(name, value).is_some();
            ensure!(!known || name.is_empty(), "two nodes make `{name}`; the file is damaged");
        }
        Ok(())
    }
}

/// Enters the graph's inputs into `values` and returns the features of the model's own: 1 if it takes
/// tokens.
fn inputs<'a>(graph: &'a GraphProto, values: &mut HashMap<&'a str, Value>) -> Result<usize> {
    // Old files list weights as inputs, too.
    let weights: HashSet<_> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let mut inputs = graph.input.iter().filter(|i| !weights.contains(i.name.as_str()));
    let first = inputs.next().context("the model has no input")?;
    let mut open = Vec::new();
    let (element, sizes) = input_type(first, &mut open)?;
    let (leading, features) = match (element, &sizes[..]) {
        (data_type::INT32 | data_type::INT64, leading @ ([_] | [_, _])) => (leading, None),
        (data_type::INT32 | data_type::INT64, _) => bail!(
            "input `{}` has {} axes of tokens; gatelet takes [batch, time]",
            first.name,
            sizes.len()
        ),
        (data_type::FLOAT | data_type::DOUBLE | data_type::FLOAT16, [leading @ .., features])
            if matches!(leading.len(), 1 | 2) =>
        {
            (leading, Some(*features))
        }
        (data_type::FLOAT | data_type::DOUBLE | data_type::FLOAT16, _) => bail!(
            "input `{}` has {} axes; gatelet takes [batch, time, features]",
            first.name,
            sizes.len()
        ),
        _ => bail!(
            "input `{}` is no sequence of floats; gatelet takes [batch, time, features] of them, \
             or [batch, time] of tokens, int32 or int64",
            first.name
        ),
    };
    ensure!(
        features.is_none_or(|features| (1..=MAX_WIDTH).contains(&features)),
        "input `{}` has no fixed number of features from 1 to {MAX_WIDTH} on its last axis; export the model with one",
        first.name
    );
    let mut axes: Vec<_> =
        leading.iter().enumerate().map(|(k, &n)| Part::axis(Role::Leading(k), n)).collect();
    axes.extend(features.map(|features| Part::axis(Role::Features, features)));
    let signal = Signal {
        depth: 0,
        axes,
        when: When::All,
        turned: false,
        columns: 0..features.unwrap_or(1),
        directions: Vec::new(),
    };
    values.insert(&first.name, Value::Signal(signal));
    for other in inputs {
        let (_, sizes) = input_type(other, &mut open)?;
        values.insert(&other.name, Value::Array(Array::filled(sizes, 0.0, Origin::State)));
    }
    Ok(features.unwrap_or(1))
}

/// The type of an input's elements, and its shape with stand-ins for the sizes
/// left open; `open` has the names of those before.
fn input_type<'a>(input: &'a ValueInfoProto, open: &mut Vec<&'a str>) -> Result<(i64, Vec<usize>)> {
    let name = &input.name;
    let tensor = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let shape = tensor.and_then(|tensor| tensor.shape.as_ref());
    let (Some(tensor), Some(shape)) = (tensor, shape) else {
        bail!("input `{name}` has no shape; export the model with one");
    };
    ensure!(shape.dim.len() <= MAX_RANK, "input `{name}` has more than {MAX_RANK} axes");
    let mut sizes = Vec::new();
    for dim in &shape.dim {
        let size_name = match &dim.value {
            Some(Dimension::DimValue(size)) => {
                ensure!(
                    (1..=MAX_LEADING).contains(size),
                    "input `{name}` has an axis of {size}; gatelet takes 1 to {MAX_LEADING}"
                );
                sizes.push(*size as usize);
                continue;
            }
            Some(Dimension::DimParam(size_name)) => size_name,
            None => "",
        };
        // Sizes without a name are each their own.
        let before = open.iter().position(|other| *other == size_name && !size_name.is_empty());
        let index = before.unwrap_or(open.len());
        let size = STAND_INS.get(index);
        sizes.push(*size.with_context(|| format!("input `{name}` leaves too many sizes open"))?);
        if before.is_none() {
            open.push(size_name);
        }
    }
    Ok((tensor.elem_type.into(), sizes))
}

/// A node and its attributes.
#[derive(Clone, Copy)]
struct Node<'a>(&'a NodeProto);

impl<'a> Node<'a> {
    /// Its name, or that of what it makes.
    fn label(self) -> &'a str {
        let first = self.0.output.first().map_or("", String::as_str);
        if self.0.name.is_empty() { first } else { &self.0.name }
    }

    fn attribute(self, name: &str) -> Option<&'a AttributeProto> {
        self.0.attribute.iter().find(|attribute| attribute.name == name)
    }

    fn int(self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |attribute| attribute.i)
    }

    fn float(self, name: &str, default: f32) -> f64 {
        self.attribute(name).map_or(default, |attribute| attribute.f).into()
    }
}

/// The stack of layers as it grows.
struct Importer {
    builder: GraphBuilder,
    opset: i64,
    /// Operations so far: a signal of any other depth is a branch.
    depth: usize,
    /// Bounds the constants that nodes make, the weights that layers copy, and
    /// the work on both.
    budget: Budget,
    /// Weights of the dense layer at the end, which the next scaling may change.
    foldable: usize,
    /// Whether the file describes one step, to be called again and again.
    one_step: bool,
    /// Depth of what the last layer was given, if it is recurrent: another may stand beside it.
    stage: Option<usize>,
    /// Inside the body of a loop: what it goes through.
    walk: Option<Walk>,
}

impl Importer {
    fn new(features: usize, opset: i64) -> Self {
        Self {
            builder: GraphBuilder::new(features),
            opset,
            depth: 0,
            budget: Budget::default(),
            foldable: 0,
            one_step: false,
            stage: None,
            walk: None,
        }
    }

    /// Reads a graph's weights: those that are needed.
    fn weights<'a>(
        &mut self,
        graph: &'a GraphProto,
        folder: Option<&Path>,
        needed: &HashSet<&str>,
        values: &mut HashMap<&'a str, Value>,
    ) -> Result<()> {
        for tensor in graph.initializer.iter().filter(|t| needed.contains(t.name.as_str())) {
            let array = Array::read(tensor, folder, &mut self.budget)?;
            values.insert(&tensor.name, Value::Array(array));
        }
        Ok(())
    }

    /// Runs one node on what is known.
    fn node(&mut self, node: Node<'_>, scope: &Scope<'_>) -> Result<Vec<Value>> {
        ensure!(
            is_standard(&node.0.domain),
            "it is from the domain `{}`; gatelet takes ONNX's own operators: {ACCEPTED}",
            node.0.domain
        );
        let inputs = scope.inputs(node)?;
        let unknown = inputs.0.iter().flatten().find(|value| matches!(value, Value::Unknown(_)));
        let outputs = match (node.0.op_type.as_str(), unknown) {
            ("Loop", _) => self.looped(node, scope)?,
            ("Mul", Some(_)) if inputs.is_zero(0) || inputs.is_zero(1) => {
                vec![Value::Array(Array::filled(Vec::new(), 0.0, Origin::File))]
            }
            (_, Some(unknown)) => return Ok(vec![(*unknown).clone(); node.0.output.len()]),
            _ => self.dispatch(node, &inputs)?,
        };
        for value in &outputs {
            if let Value::Array(array) = value {
                self.budget.take(node.label(), &[array.fresh()])?;
            }
            let rank = match value {
                Value::Cell | Value::Unknown(_) => 0,
                value => value.shape()?.len(),
            };
            ensure!(rank <= MAX_RANK, "it makes more than {MAX_RANK} axes");
        }
        Ok(outputs)
    }

    /// Uses up a signal: what comes out of the next layer.
    fn advance(&mut self, signal: &Signal) -> Result<Signal> {
        ensure!(
            signal.depth < self.depth || signal.columns == (0..self.builder.width()),
            "its input is only some of the outputs of layers beside each other; gatelet takes them \
             together, joined in the order of their nodes"
        );
        ensure!(
            signal.when != When::AtFirst,
            "its input is the first step of the sequence; gatelet takes the last step, or the last that \
             a layer takes"
        );
        self.stage = None;
        ensure!(
            signal.depth == self.depth,
            "its input also goes elsewhere; gatelet takes a plain stack of layers, without branches"
        );
        self.depth += 1;
        Ok(Signal { depth: self.depth, ..signal.clone() })
    }

    fn finish(mut self, name: &str, value: Option<&Value>) -> Result<Graph> {
        match value {
            Some(Value::Signal(signal))
                if signal.depth == self.depth && signal.columns == (0..self.builder.width()) =>
            {
                ensure!(
                    !signal.turned || signal.when != When::All,
                    "output `{name}` has the steps from the last to the first; gatelet gives answers \
                     in the order of the steps"
                );
                ensure!(
                    signal.when != When::AtFirst,
                    "output `{name}` is that of the first step; gatelet takes the last step, or the \
                     last that a layer takes"
                );
                let output = match signal.when {
                    When::Final if !self.one_step => Output::Last,
                    When::AtLast if !self.one_step => Output::AtLast,
                    _ => Output::EveryStep,
                };
                if self.one_step {
                    self.builder
                        .note("the model is one step of a stream: its answer counts at every step");
                }
                self.builder.finish(output)
            }
            Some(Value::Signal(_)) => bail!(
                "output `{name}` is not what the last layer gives; gatelet takes a plain stack of layers"
            ),
            Some(Value::Array(_)) => bail!("output `{name}` does not depend on the input"),
            Some(Value::Unknown(why)) => bail!("{why}"),
            Some(other) => other.refuse().with_context(|| format!("output `{name}`")),
            None => bail!("nothing makes the output `{name}`; the file is damaged"),
        }
    }
}
