//! Keras models: `.keras` archives (Keras 3) and whole-model `.h5` files
//! (Keras 2 and 3).
//!
//! Both describe the layers as JSON and keep their variables in HDF5. Keras
//! stores matrices as `[input][gate * units + unit]`, gates `i f c o` and
//! `z r h`, which is this crate's order once transposed.

mod config;
mod recurrent;

use std::collections::BTreeMap;
use std::io::Cursor;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use zip::ZipArchive;

use super::hdf5::Group;
use super::{Tensor, read_capped};
use crate::graph::{
    Activation, Dense, Embedding, Graph, GraphBuilder, Gru, LayerNorm, Lstm, Matrix, Op, Output,
    Rnn, RnnActivation,
};
use config::{
    activation, chain, class, expect_text, flag, group_names, input_features, is_model, name,
    numbers, units,
};

/// Layers this module takes, for the message that refuses another.
const ACCEPTED: &str = "SimpleRNN, LSTM, GRU, RNN of their cells, Bidirectional, Embedding, Dense, TimeDistributed(Dense), Activation, ReLU, Softmax, \
     Normalization, BatchNormalization, LayerNormalization, Rescaling, Dropout and its variants, Masking and nested models";

/// Imports a `.keras` archive.
pub(super) fn from_archive(bytes: &[u8]) -> Result<Graph> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))
        .context("it is not a Keras 3 archive; save it with model.save(\"model.keras\")")?;
    let mut member = |name: &str| {
        let file = archive.by_name(name).with_context(|| format!("the archive has no {name}"))?;
        read_capped(file).with_context(|| format!("cannot unpack {name}"))
    };
    let model =
        serde_json::from_slice(&member("config.json")?).context("config.json is damaged")?;
    let metadata: Value =
        serde_json::from_slice(&member("metadata.json")?).context("metadata.json is damaged")?;
    let weights =
        Group::open(member("model.weights.h5")?).context("cannot read model.weights.h5")?;
    let layers = weights.group("layers")?.context("model.weights.h5 has no group `layers`")?;
    let version = metadata["keras_version"].as_str();
    Importer::run(&model, version, Layout::Archive, layers.tensors()?)
}

/// Imports a whole-model `.h5` file.
pub(super) fn from_h5(bytes: Vec<u8>) -> Result<Graph> {
    let root = Group::open(bytes)?;
    let config = root.text("model_config")?.context(
        "the file holds weights but not the model; save the whole model, with model.save(\"model.h5\")",
    )?;
    let model = serde_json::from_str(&config).context("its model_config is damaged")?;
    let weights = root.group("model_weights")?.context("the file has no group `model_weights`")?;
    let version = root.text("keras_version")?;
    Importer::run(&model, version.as_deref(), Layout::WholeModel, weights.tensors()?)
}

/// How a file names variables.
#[derive(Clone, Copy)]
enum Layout {
    /// By class and position: `lstm_1/cell/vars/0`.
    Archive,
    /// By layer and variable name: `my_lstm/.../lstm_cell/kernel:0`.
    WholeModel,
}

/// Where the variables of one layer are.
struct Site<'a> {
    /// The layer's name and class, for messages.
    name: &'a str,
    class: &'a str,
    /// [`Layout::Archive`]: the path of its group, with a slash at the end.
    group: String,
    /// [`Layout::Archive`]: the path of a recurrent layer's cell in the group.
    cell: &'a str,
    /// [`Layout::WholeModel`]: the outermost nested model that contains it.
    outer: Option<&'a str>,
    /// [`Layout::WholeModel`]: how a part of the path starts, where the layer has several of them.
    part: &'a str,
}

struct Importer {
    layout: Layout,
    tensors: BTreeMap<String, Tensor>,
    builder: GraphBuilder,
    /// Whether the value so far is a sequence, `[batch, time, features]`.
    sequence: bool,
    /// Whether that sequence runs from the last step to the first.
    turned: bool,
    /// Slope of this version's hard sigmoid.
    slope: f64,
}

impl Importer {
    fn run(
        model: &Value,
        version: Option<&str>,
        layout: Layout,
        tensors: Vec<Tensor>,
    ) -> Result<Graph> {
        let layers = chain(model)?;
        let features = input_features(model, &layers)?;
        let mut importer = Self {
            layout,
            tensors: tensors.into_iter().map(|t| (t.name.clone(), t)).collect(),
            // Tokens come without an axis of features.
            builder: GraphBuilder::new(features.unwrap_or(1)),
            sequence: true,
            turned: false,
            // Keras 3 has relu6(z + 3) / 6, its predecessors clip(0.2 z + 0.5, 0, 1).
            slope: if version.is_some_and(|v| v.starts_with("3.")) { 1.0 / 6.0 } else { 0.2 },
        };
        importer.model(model, "", None)?;
        if let Some(name) = importer.tensors.keys().next() {
            bail!("weights `{name}` belong to no layer of the model; the file is damaged");
        }
        let output = if importer.sequence { Output::EveryStep } else { Output::Last };
        ensure!(
            !(importer.sequence && importer.turned),
            "the model answers at every step, from the last to the first, as go_backwards=True leaves \
             it; gatelet gives answers in the order of the steps"
        );
        let graph = importer.builder.finish(output)?;
        let takes_tokens = matches!(graph.layers[0].op, Op::Embedding(_));
        ensure!(
            features.is_some() || takes_tokens,
            "the model's input has two axes; gatelet takes [batch, time, features], or [batch, time] \
             of tokens for an Embedding"
        );
        Ok(graph)
    }

    /// Adds the layers of a model, or of one nested in it.
    fn model<'a>(&mut self, model: &'a Value, prefix: &str, outer: Option<&'a str>) -> Result<()> {
        let groups = group_names(model)?;
        for layer in chain(model)? {
            let (name, class) = (name(layer)?, class(layer)?);
            let group = format!("{prefix}{}/", groups[name]);
            if is_model(class) {
                self.model(layer, &format!("{group}layers/"), outer.or(Some(name)))?;
            } else {
                let site = Site { name, class, group, cell: "cell/", outer, part: "" };
                self.layer(&layer["config"], &site)
                    .with_context(|| format!("layer `{name}` ({class})"))?;
            }
        }
        Ok(())
    }

    /// Adds one layer.
    fn layer(&mut self, config: &Value, site: &Site<'_>) -> Result<()> {
        match site.class {
            "InputLayer"
            | "Dropout"
            | "SpatialDropout1D"
            | "GaussianDropout"
            | "GaussianNoise"
            | "AlphaDropout"
            | "ActivityRegularization" => Ok(()),
            "Masking" => {
                self.builder.note(format!(
                    "layer `{}` (Masking) is dropped: give padded samples their `lengths` instead",
                    site.name
                ));
                Ok(())
            }
            "SimpleRNN" | "LSTM" | "GRU" => self.recurrent(config, site),
            "RNN" => self.cells(config, site),
            "Bidirectional" => self.bidirectional(config, site),
            "Dense" => self.dense(config, site),
            "Embedding" => self.embedding(config, site),
            "TimeDistributed" => {
                let inner = &config["layer"];
                ensure!(self.sequence, "it needs a sequence; set return_sequences=True before it");
                let class = class(inner)?;
                ensure!(!is_model(class), "it wraps a model; expected one layer, such as Dense");
                let group = format!("{}layer/", site.group);
                self.layer(&inner["config"], &Site { class, group, ..*site })
            }
            "Activation" => {
                let activation = activation(config, "activation")?;
                self.builder.activation(site.name, activation)
            }
            "Softmax" => {
                ensure!(self.is_last_axis(&config["axis"]), "its axis must be the last, -1");
                self.builder.activation(site.name, Activation::Softmax)
            }
            "ReLU" => {
                let plain = |key| matches!(config[key].as_f64(), None | Some(0.0));
                ensure!(
                    config["max_value"].is_null() && plain("negative_slope") && plain("threshold"),
                    "only the plain form max(0, x) is supported, without max_value, negative_slope or threshold"
                );
                self.builder.activation(site.name, Activation::Relu)
            }
            "Normalization" => self.normalization(config, site),
            "BatchNormalization" => self.batch_normalization(config, site),
            "LayerNormalization" => self.layer_normalization(config, site),
            "Rescaling" => {
                let number =
                    |key| config[key].as_f64().with_context(|| format!("`{key}` is not a number"));
                let width = self.builder.width();
                let (scale, offset) =
                    (vec![number("scale")?; width], vec![number("offset")?; width]);
                self.builder.affine(site.name, scale, offset)
            }
            _ => bail!("this kind of layer is not supported; gatelet takes {ACCEPTED}"),
        }
    }

    fn embedding(&mut self, config: &Value, site: &Site<'_>) -> Result<()> {
        let table = self.variable(site, "", 0, "embeddings")?;
        let [tokens, units] = table.shape[..] else {
            bail!("weights `{}` have shape {:?}, expected a table", table.name, table.shape);
        };
        if flag(config, "mask_zero") {
            self.builder.note(format!(
                "layer `{}` (Embedding) masks token 0: give padded samples their `lengths` instead",
                site.name
            ));
        }
        let table = table.matrix(tokens, units)?;
        self.builder.layer(site.name, Op::Embedding(Embedding { table }))
    }

    fn dense(&mut self, config: &Value, site: &Site<'_>) -> Result<()> {
        let (inputs, units) = (self.builder.width(), units(config)?);
        let weights = self.variable(site, "", 0, "kernel")?.transposed(units, inputs)?;
        let bias = self.bias(config, site, "", 1, &[units])?;
        let activation = activation(config, "activation")?;
        self.builder.layer(site.name, Op::Dense(Dense { weights, bias, activation }))
    }

    /// One direction of a recurrent layer.
    fn cell(&mut self, config: &Value, site: &Site<'_>) -> Result<Op> {
        let (inputs, units) = (self.builder.width(), units(config)?);
        let gates = match site.class {
            "LSTM" => 4,
            "GRU" => 3,
            _ => 1,
        };
        let rows = gates * units;
        let input = self.variable(site, site.cell, 0, "kernel")?.transposed(rows, inputs)?;
        let recurrent =
            self.variable(site, site.cell, 1, "recurrent_kernel")?.transposed(rows, units)?;
        let op = if site.class == "SimpleRNN" {
            let activation = match activation(config, "activation")? {
                Activation::Tanh => RnnActivation::Tanh,
                Activation::Relu => RnnActivation::Relu,
                other => {
                    bail!("activation {other:?} is not supported here; gatelet takes tanh and relu")
                }
            };
            let bias = self.bias(config, site, site.cell, 2, &[rows])?;
            Op::Rnn(Rnn { input, recurrent, bias, activation })
        } else {
            expect_text(config, "activation", "tanh")?;
            let gates = &config["recurrent_activation"];
            ensure!(
                gates == "sigmoid" || gates == "hard_sigmoid",
                "recurrent_activation {gates} is not supported; gatelet takes \"sigmoid\" and \"hard_sigmoid\""
            );
            let mut op = if site.class == "LSTM" {
                let bias = self.bias(config, site, site.cell, 2, &[rows])?;
                Op::Lstm(Lstm::new(input, recurrent, bias))
            } else {
                self.gru(config, site, input, recurrent)?
            };
            if gates == "hard_sigmoid" {
                op.harden(self.slope, 0.5);
            }
            op
        };
        Ok(op)
    }

    fn gru(
        &mut self,
        config: &Value,
        site: &Site<'_>,
        input: Matrix,
        recurrent: Matrix,
    ) -> Result<Op> {
        let rows = input.rows();
        // Files older than the option have the older form.
        if !flag(config, "reset_after") {
            let bias = self.bias(config, site, site.cell, 2, &[rows])?;
            return Ok(Op::Gru(Gru::reset_before(input, recurrent, bias)));
        }
        let mut bias = self.bias(config, site, site.cell, 2, &[2, rows])?;
        let recurrent_bias = bias.split_off(rows);
        Ok(Op::Gru(Gru::reset_after(input, recurrent, bias, recurrent_bias)))
    }

    fn normalization(&mut self, config: &Value, site: &Site<'_>) -> Result<()> {
        let statistic = |importer: &mut Self, index, role: &str| -> Result<Vec<f64>> {
            let values = match &config[role] {
                Value::Null => importer.variable(site, "", index, role)?.values,
                given => {
                    numbers(given).with_context(|| format!("`{role}` is not a list of numbers"))?
                }
            };
            let width = importer.builder.width();
            match values[..] {
                [one] => Ok(vec![one; width]),
                _ => Ok(values),
            }
        };
        let mean = statistic(self, 0, "mean")?;
        let variance = statistic(self, 1, "variance")?;
        ensure!(
            mean.len() == self.builder.width() && variance.len() == mean.len(),
            "it normalizes {} values but is given {} features; gatelet takes axis=-1 and axis=None",
            mean.len(),
            self.builder.width()
        );
        // Keras divides by no less than its epsilon.
        let deviation = variance.iter().map(|v| v.sqrt().max(1e-7));
        let (scale, offset) = if flag(config, "invert") {
            (deviation.collect(), mean)
        } else {
            deviation.zip(&mean).map(|(d, m)| (1.0 / d, -m / d)).unzip()
        };
        self.builder.affine(site.name, scale, offset)
    }

    fn batch_normalization(&mut self, config: &Value, site: &Site<'_>) -> Result<()> {
        ensure!(self.is_last_axis(&config["axis"]), "its axis must be the last, -1");
        let epsilon = config["epsilon"].as_f64().context("`epsilon` is not a number")?;
        let width = self.builder.width();
        let mut index = 0;
        let mut next = |importer: &mut Self, role| {
            let variable = importer.variable(site, "", index, role)?;
            index += 1;
            variable.vector(width)
        };
        let gamma = if flag(config, "scale") { next(self, "gamma")? } else { vec![1.0; width] };
        let beta = if flag(config, "center") { next(self, "beta")? } else { vec![0.0; width] };
        let mean = next(self, "moving_mean")?;
        let variance = next(self, "moving_variance")?;
        let scale: Vec<_> =
            gamma.iter().zip(&variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
        let moved = mean.iter().zip(&scale).map(|(m, s)| m * s);
        let offset = beta.iter().zip(moved).map(|(b, m)| b - m).collect();
        self.builder.affine(site.name, scale, offset)
    }

    fn layer_normalization(&mut self, config: &Value, site: &Site<'_>) -> Result<()> {
        ensure!(self.is_last_axis(&config["axis"]), "its axis must be the last, -1");
        ensure!(!flag(config, "rms_scaling"), "rms_scaling=True is not supported; set it to False");
        let epsilon = config["epsilon"].as_f64().context("`epsilon` is not a number")?;
        let width = self.builder.width();
        let has_gamma = flag(config, "scale");
        let gamma = match has_gamma {
            true => self.variable(site, "", 0, "gamma")?.vector(width)?,
            false => vec![1.0; width],
        };
        let beta = match flag(config, "center") {
            true => self.variable(site, "", usize::from(has_gamma), "beta")?.vector(width)?,
            false => vec![0.0; width],
        };
        let gamma = Matrix::new(width, 1, gamma);
        self.builder.layer(site.name, Op::LayerNorm(LayerNorm { gamma, beta, epsilon }))
    }

    /// Takes a variable out of the file: by position in the part `part` of the
    /// layer, or by name.
    fn variable(
        &mut self,
        site: &Site<'_>,
        part: &str,
        index: usize,
        role: &str,
    ) -> Result<Tensor> {
        let path = match self.layout {
            Layout::Archive => Some(format!("{}{part}vars/{index}", site.group)),
            Layout::WholeModel => {
                self.tensors.keys().find(|path| is_variable(path, site, role)).cloned()
            }
        };
        path.and_then(|path| self.tensors.remove(&path)).with_context(|| {
            format!("the file has no weights `{role}` for it; the file is damaged")
        })
    }

    /// The bias, flattened; zeros if the layer has none.
    fn bias(
        &mut self,
        config: &Value,
        site: &Site<'_>,
        part: &str,
        index: usize,
        shape: &[usize],
    ) -> Result<Vec<f64>> {
        if !config["use_bias"].as_bool().unwrap_or(true) {
            return Ok(vec![0.0; shape.iter().product()]);
        }
        let bias = self.variable(site, part, index, "bias")?;
        bias.expect_shape(shape)?;
        Ok(bias.values)
    }

    /// Whether an axis (a number, or a list of one) is the features'.
    fn is_last_axis(&self, axis: &Value) -> bool {
        let last = if self.sequence { 2 } else { 1 };
        let axis = axis.as_array().and_then(|list| list.first()).unwrap_or(axis);
        matches!(axis.as_i64(), Some(a) if a == -1 || a == last)
    }
}

/// Whether `path` is the variable `role` of the layer at `site`.
fn is_variable(path: &str, site: &Site<'_>, role: &str) -> bool {
    let mut parts = path.split('/');
    let last = parts.next_back().unwrap_or_default();
    last.strip_suffix(":0").unwrap_or(last) == role
        && parts.next() == Some(site.outer.unwrap_or(site.name))
        && (site.outer.is_none() || parts.clone().any(|part| part == site.name))
        && (site.part.is_empty() || parts.any(|part| part.starts_with(site.part)))
}
