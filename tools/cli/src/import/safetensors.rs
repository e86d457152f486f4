//! PyTorch state dicts in `.safetensors` files, by the rules in [`super`].

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::{Budget, Tensor, edgeml};
use crate::graph::{
    Activation, Dense, Direction, Embedding, Graph, GraphBuilder, Gru, LayerNorm, Lstm, Matrix, Op,
    Output, Rnn, RnnActivation,
};

/// Largest header read, in bytes.
const MAX_HEADER: u64 = 1 << 20;
/// PyTorch's default of an `nn.LayerNorm`.
const EPSILON: f64 = 1e-5;
/// Largest TOML file read, in bytes.
const MAX_TOML: u64 = 1 << 16;

/// Imports a state dict; `path` tells where a TOML file may be.
pub(super) fn from_state_dict(path: &Path, bytes: Vec<u8>) -> Result<Graph> {
    let toml = path.with_extension("toml");
    let hints = if toml.exists() { Some(Hints::read(&toml)?) } else { None };
    let mut modules = modules(&bytes)?;
    edgeml::drop_copies(&mut modules);
    let assumed = hints.is_none();
    assemble(modules, hints.unwrap_or_default(), assumed, &toml)
}

/// The TOML file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Hints {
    layers: Option<Vec<String>>,
    #[serde(default)]
    encoder: Vec<String>,
    output: Option<OutputHint>,
    #[serde(default)]
    embeddings: Vec<String>,
    #[serde(default)]
    activation: BTreeMap<String, ActivationHint>,
    #[serde(default)]
    epsilon: BTreeMap<String, f64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OutputHint {
    /// The final states, `h_n`.
    Last,
    /// The outputs at the last step, `out[:, -1]`.
    LastStep,
    EveryStep,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActivationHint {
    Linear,
    Relu,
    Tanh,
    Sigmoid,
    Softmax,
}

impl Hints {
    fn read(path: &Path) -> Result<Self> {
        let in_context = || format!("cannot use {}", path.display());
        let size = path.metadata().with_context(in_context)?.len();
        ensure!(size <= MAX_TOML, "{} has {size} bytes; expected a few lines", path.display());
        let text = std::fs::read_to_string(path).with_context(in_context)?;
        toml::from_str(&text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).map_or(1, |before| before.matches('\n').count() + 1);
            anyhow!("{}, line {line}: {}", path.display(), error.message())
        })
    }
}

/// A module of the state dict: its variables by name.
pub(super) type Module = BTreeMap<String, Tensor>;

/// Groups the file's tensors by module; a bare module has the empty name.
fn modules(bytes: &[u8]) -> Result<BTreeMap<String, Module>> {
    let header = bytes.first_chunk().map(|length| u64::from_le_bytes(*length));
    ensure!(
        header.is_some_and(|length| length <= MAX_HEADER),
        "it is not a safetensors file; write it with safetensors.torch.save_file(model.state_dict(), ...)"
    );
    let file =
        SafeTensors::deserialize(bytes).context("it is not a safetensors file or it is damaged")?;
    let mut budget = Budget::default();
    let mut modules: BTreeMap<String, Module> = BTreeMap::new();
    for (name, view) in file.iter() {
        let (module, variable) = name.rsplit_once('.').unwrap_or(("", name));
        let shape = view.shape().to_vec();
        budget.take(name, &shape)?;
        let values = floats(&view).with_context(|| format!("cannot read weights `{name}`"))?;
        let tensor = Tensor { name: name.to_owned(), shape, values };
        modules.entry(module.to_owned()).or_default().insert(variable.to_owned(), tensor);
    }
    Ok(modules)
}

fn floats(view: &TensorView<'_>) -> Result<Vec<f64>> {
    let data = view.data();
    macro_rules! decode {
        ($from:ty) => {{
            const SIZE: usize = size_of::<$from>();
            let (numbers, _) = data.as_chunks::<SIZE>();
            numbers.iter().map(|b| f64::from(<$from>::from_le_bytes(*b))).collect()
        }};
    }
    Ok(match view.dtype() {
        Dtype::F64 => decode!(f64),
        Dtype::F32 => decode!(f32),
        Dtype::F16 => decode!(f16),
        Dtype::BF16 => decode!(bf16),
        other => {
            bail!("its type is {other:?}; expected floats (of a BatchNorm, fold it before saving)")
        }
    })
}

/// Whether the module is one of the recurrent ones.
fn is_recurrent(module: &Module) -> bool {
    module.keys().any(|variable| variable.starts_with("weight_hh"))
}

/// Whether the module is an `nn.Embedding`: nothing but a `weight`, under a name that says so.
fn is_embedding(name: &str, module: &Module, hints: &Hints) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
    module.len() == 1
        && module.contains_key("weight")
        && (last.contains("emb") || hints.embeddings.iter().any(|listed| listed == name))
}

/// A name whose numbers sort by value.
fn sort_key(name: &str) -> String {
    let mut key = String::new();
    for part in name.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = part.trim_end_matches(|c: char| !c.is_ascii_digit());
        key.extend([&format!("{digits:0>20}"), &part[digits.len()..]]);
    }
    key
}

/// Stacks the modules.
fn assemble(
    mut modules: BTreeMap<String, Module>,
    hints: Hints,
    assumed: bool,
    toml: &Path,
) -> Result<Graph> {
    let order = match &hints.layers {
        Some(layers) => {
            let unlisted = modules
                .keys()
                .find(|&name| !layers.contains(name) && !hints.encoder.contains(name));
            if let Some(name) = unlisted {
                bail!(
                    "module `{name}` is not in `layers` of {}; list every module once",
                    toml.display()
                );
            }
            layers.clone()
        }
        None => {
            let mut order: Vec<_> =
                modules.keys().filter(|&name| !hints.encoder.contains(name)).cloned().collect();
            order.sort_by_key(|name| {
                let module = &modules[name];
                let kind = match module {
                    _ if is_embedding(name, module, &hints) => 0,
                    _ if is_recurrent(module) || edgeml::is_cell(module) => 1,
                    _ => 2,
                };
                (kind, sort_key(name))
            });
            order
        }
    };
    let order = [hints.encoder.clone(), order].concat();
    if let Some(name) = hints.activation.keys().find(|&name| !order.contains(name)) {
        bail!("[activation] of {} names `{name}`, which is no module of the file", toml.display());
    }

    if let Some(name) = hints.embeddings.iter().find(|&name| !order.contains(name)) {
        bail!("`embeddings` of {} names `{name}`, which is no module of the file", toml.display());
    }

    let forward = |(name, op)| (name, op, Direction::Forward);
    let mut is_bidirectional = false;
    let mut notes = Vec::new();
    let mut builder: Option<GraphBuilder> = None;
    for (position, name) in order.iter().enumerate() {
        let is_decoder = position > 0 && position == hints.encoder.len();
        let module = modules.remove(name).with_context(|| {
            format!("`layers` or `encoder` of {} names `{name}` twice or wrongly", toml.display())
        })?;
        let hint = hints.activation.get(name).copied();
        let is_inner = position + 1 < order.len();
        let layers = if edgeml::is_cell(&module) {
            notes.push(format!(
                "`{name}` is taken to have sigmoid gates and tanh candidates, as by default"
            ));
            edgeml::cell(name, module)?.into_iter().map(forward).collect()
        } else if is_norm(&module) {
            ensure!(
                hints.layers.is_some(),
                "the file does not say where the nn.LayerNorm `{name}` stands; list all modules with `layers` in {}",
                toml.display()
            );
            let epsilon = hints.epsilon.get(name).copied().unwrap_or(EPSILON);
            vec![forward(layer_norm(name, module, epsilon)?)]
        } else if is_recurrent(&module) {
            recurrent(name, module, hint)?
        } else if is_embedding(name, &module, &hints) {
            ensure!(hint.is_none(), "[activation] does not apply to the embedding `{name}`");
            vec![forward(embedding(name, module)?)]
        } else {
            ensure!(
                hint.is_some() || !is_inner,
                "the file does not say which activation follows `{name}`; add to {}: \
                 [activation] {name} = \"relu\" (or linear, tanh, sigmoid)",
                toml.display()
            );
            vec![forward(linear(name, module, hint.unwrap_or(ActivationHint::Linear))?)]
        };
        for (index, (name, op, direction)) in layers.into_iter().enumerate() {
            let inputs = match &op {
                Op::Embedding(_) => 1,
                Op::LayerNorm(norm) => norm.beta.len(),
                op => op.input_matrix().cols(),
            };
            let builder = builder.get_or_insert_with(|| GraphBuilder::new(inputs));
            if is_decoder && index == 0 {
                builder.decoder(inputs)?;
            }
            let added = match direction {
                Direction::Forward => builder.layer(name, op),
                Direction::Reverse => builder.beside(name, op, direction),
            };
            is_bidirectional |= direction == Direction::Reverse;
            added.with_context(|| {
                format!(
                    "taken in the order {}; give another with `layers` in {}",
                    order.join(", "),
                    toml.display()
                )
            })?;
        }
    }
    let mut builder = builder.context("the file holds no weights")?;
    notes.into_iter().for_each(|note: String| builder.note(note));
    if assumed {
        builder.note(format!(
            "assumed, for want of {}: layers in the order {}, the answer that of the last step, \
             no softmax after the last, tanh in an nn.RNN",
            toml.display(),
            order.join(", ")
        ));
    }
    ensure!(
        hints.output.is_some() || !is_bidirectional,
        "the file does not say which outputs of its bidirectional layer count; add to {}: \
         output = \"last\" (the final states, h_n), \"last-step\" (out[:, -1]) or \"every-step\"",
        toml.display()
    );
    builder.finish(match hints.output {
        Some(OutputHint::EveryStep) => Output::EveryStep,
        Some(OutputHint::LastStep) => Output::AtLast,
        None if !hints.encoder.is_empty() => Output::EveryStep,
        Some(OutputHint::Last) | None => Output::Last,
    })
}

/// Whether the module is an `nn.LayerNorm`: a weight for each feature alone.
fn is_norm(module: &Module) -> bool {
    module.get("weight").is_some_and(|weight| weight.shape.len() == 1)
}

/// An `nn.LayerNorm` over the features.
fn layer_norm(name: &str, mut module: Module, epsilon: f64) -> Result<(String, Op)> {
    let weight = module.remove("weight").with_context(|| unknown(name, &module))?;
    let units = weight.shape.iter().product();
    let beta = match module.remove("bias") {
        Some(bias) => bias.vector(units)?,
        None => vec![0.0; units],
    };
    ensure!(module.is_empty(), unknown(name, &module));
    let gamma = Matrix::new(units, 1, weight.vector(units)?);
    Ok((name.to_owned(), Op::LayerNorm(LayerNorm { gamma, beta, epsilon })))
}

/// An `nn.Embedding`.
fn embedding(name: &str, mut module: Module) -> Result<(String, Op)> {
    let weight = module.remove("weight").with_context(|| unknown(name, &module))?;
    let [tokens, units] = weight.shape[..] else {
        bail!("weights `{}` have shape {:?}, expected a table", weight.name, weight.shape);
    };
    let table = weight.matrix(tokens, units)?;
    Ok((name.to_owned(), Op::Embedding(Embedding { table })))
}

/// An `nn.Linear`.
fn linear(name: &str, mut module: Module, activation: ActivationHint) -> Result<(String, Op)> {
    let weight = module.remove("weight");
    let weight = weight.with_context(|| unknown(name, &module))?;
    let [units, inputs] = weight.shape[..] else {
        bail!(
            "weights `{}` have shape {:?}, which is no Linear layer; gatelet takes nn.RNN, nn.LSTM, nn.GRU, \
             their cells and nn.Linear (fold normalizations and convert others before saving)",
            weight.name,
            weight.shape
        );
    };
    let bias = match module.remove("bias") {
        Some(bias) => bias.vector(units)?,
        None => vec![0.0; units],
    };
    ensure!(module.is_empty(), unknown(name, &module));
    let weights = weight.matrix(units, inputs)?;
    let activation = match activation {
        ActivationHint::Linear => Activation::Linear,
        ActivationHint::Relu => Activation::Relu,
        ActivationHint::Tanh => Activation::Tanh,
        ActivationHint::Sigmoid => Activation::Sigmoid,
        ActivationHint::Softmax => Activation::Softmax,
    };
    Ok((name.to_owned(), Op::Dense(Dense { weights, bias, activation })))
}

/// The layers of an `nn.RNN`, `nn.LSTM` or `nn.GRU`, or the one of a cell.
fn recurrent(
    name: &str,
    mut module: Module,
    hint: Option<ActivationHint>,
) -> Result<Vec<(String, Op, Direction)>> {
    let is_cell = module.contains_key("weight_hh");
    let is_reverse = |variable: &str| variable.ends_with("_reverse");
    let forward = module.keys().filter(|v| v.starts_with("weight_hh_l") && !is_reverse(v));
    let count = if is_cell { 1 } else { forward.count() };
    let directions: &[_] = match module.keys().any(|variable| is_reverse(variable)) {
        true => &[Direction::Forward, Direction::Reverse],
        false => &[Direction::Forward],
    };
    let mut layers = Vec::new();
    for (layer, direction) in (0..count).flat_map(|k| directions.iter().map(move |d| (k, *d))) {
        let (suffix, mark) = match direction {
            _ if is_cell => (String::new(), ""),
            Direction::Forward => (format!("_l{layer}"), ""),
            Direction::Reverse => (format!("_l{layer}_reverse"), ".reverse"),
        };
        let mut take = |variable: &str| module.remove(&format!("{variable}{suffix}"));
        let (Some(weight_ih), Some(weight_hh)) = (take("weight_ih"), take("weight_hh")) else {
            bail!(unknown(name, &module));
        };
        let biases = (take("bias_ih"), take("bias_hh"));
        let projection = take("weight_hr");
        let full_name = match (name, count) {
            ("", 1) => "rnn".to_owned(),
            ("", _) => format!("l{layer}"),
            (_, 1) => name.to_owned(),
            _ => format!("{name}.l{layer}"),
        } + mark;
        let op = cell(weight_ih, weight_hh, biases, projection, hint)
            .with_context(|| format!("layer `{full_name}`"))?;
        layers.push((full_name, op, direction));
    }
    ensure!(module.is_empty(), unknown(name, &module));
    Ok(layers)
}

/// One recurrent layer; its kind follows from the shape of `weight_hh`, but for an LSTM with a
/// projection.
fn cell(
    mut weight_ih: Tensor,
    mut weight_hh: Tensor,
    biases: (Option<Tensor>, Option<Tensor>),
    projection: Option<Tensor>,
    hint: Option<ActivationHint>,
) -> Result<Op> {
    let ([rows, inputs], [_, units]) = (&weight_ih.shape[..], &weight_hh.shape[..]) else {
        bail!("weights `{}` and `{}` must have two dimensions", weight_ih.name, weight_hh.name);
    };
    let (rows, inputs, units) = (*rows, *inputs, *units);
    let gates = match &projection {
        Some(_) => 4,
        None if units > 0 && rows % units == 0 => rows / units,
        None => 0,
    };
    ensure!(
        matches!(gates, 1 | 3 | 4),
        "weights `{}` of shape {:?} are no RNN, GRU or LSTM, which have 1, 3 or 4 times as many rows as columns",
        weight_hh.name,
        weight_hh.shape
    );
    ensure!(
        hint.is_none() || gates == 1,
        "[activation] does not apply to an LSTM or GRU; remove it"
    );

    let bias = |bias: Option<Tensor>| bias.map_or_else(|| Ok(vec![0.0; rows]), |b| b.vector(rows));
    let (mut bias_ih, mut bias_hh) = (bias(biases.0)?, bias(biases.1)?);
    if gates == 3 {
        // Gates r z n there, z r n here.
        for values in [&mut weight_ih.values, &mut weight_hh.values, &mut bias_ih, &mut bias_hh] {
            let gate = values.len() / 3;
            values[..2 * gate].rotate_left(gate);
        }
    }
    let input = weight_ih.matrix(rows, inputs)?;
    let recurrent = weight_hh.matrix(rows, units)?;
    if gates == 3 {
        return Ok(Op::Gru(Gru::reset_after(input, recurrent, bias_ih, bias_hh)));
    }
    let bias = bias_ih.iter().zip(bias_hh).map(|(ih, hh)| ih + hh).collect();
    if gates == 4 {
        // Gates i f g o, as here.
        let mut lstm = Lstm::new(input, recurrent, bias);
        let cells = lstm.cells();
        lstm.projection = projection.map(|weights| weights.matrix(units, cells)).transpose()?;
        return Ok(Op::Lstm(lstm));
    }
    let activation = match hint {
        None | Some(ActivationHint::Tanh) => RnnActivation::Tanh,
        Some(ActivationHint::Relu) => RnnActivation::Relu,
        Some(_) => bail!("an nn.RNN has the activation \"tanh\" or \"relu\""),
    };
    Ok(Op::Rnn(Rnn { input, recurrent, bias, activation }))
}

/// Why a module is refused: the variable gatelet does not know, or misses.
fn unknown(name: &str, module: &Module) -> String {
    match module.keys().next() {
        Some(variable) => format!(
            "module `{name}` has `{variable}`, which gatelet does not take; it takes nn.RNN, nn.LSTM, nn.GRU, \
             their cells, nn.Embedding, nn.LayerNorm and nn.Linear, and EdgeML's FastRNN and FastGRNN"
        ),
        None => format!("module `{name}` lacks some of its weights; the file is damaged"),
    }
}
