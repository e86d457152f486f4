//! What a model's `config.json` says.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::graph::Activation;
use crate::import::MAX_PARAMETERS;

pub(super) fn is_model(class: &str) -> bool {
    matches!(class, "Sequential" | "Functional" | "Model")
}

/// The layers of a model in the order they are stored.
fn stored_layers(model: &Value) -> Result<&[Value]> {
    let class = class(model)?;
    ensure!(
        is_model(class),
        "the model is a `{class}`; expected a Sequential or Functional model, not a subclass"
    );
    let layers = &model["config"]["layers"];
    Ok(layers.as_array().context("the model's description has no list of layers")?)
}

/// The layers of a model in the order they compute.
pub(super) fn chain(model: &Value) -> Result<Vec<&Value>> {
    let layers = stored_layers(model)?;
    if class(model)? == "Sequential" {
        return Ok(layers.iter().collect());
    }
    let by_name = layers.iter().map(|layer| Ok((name(layer)?, layer)));
    let by_name = by_name.collect::<Result<HashMap<_, _>>>()?;
    let only = |end: &str| {
        let mut names = HashSet::new();
        references(&model["config"][end], &mut names);
        let mut names = names.into_iter();
        match (names.next(), names.next()) {
            (Some(name), None) => Ok(name),
            _ => bail!(
                "the model must have exactly one of {end}; gatelet takes one input and one output"
            ),
        }
    };
    let (first, mut at) = (only("input_layers")?, only("output_layers")?);
    let mut order = Vec::new();
    loop {
        ensure!(order.len() < layers.len(), "the layers of the model form a circle at `{at}`");
        let layer = by_name.get(at).with_context(|| format!("the model has no layer `{at}`"))?;
        order.push(*layer);
        let calls = layer["inbound_nodes"].as_array().map_or(&[][..], Vec::as_slice);
        ensure!(
            calls.len() <= 1,
            "layer `{at}` is used {} times; gatelet takes a plain stack",
            calls.len()
        );
        let is_masked = calls.iter().any(|call| call["kwargs"]["mask"].is_object());
        ensure!(
            !is_masked
                || by_name.values().any(|layer| {
                    layer["class_name"] == "Masking" || layer["config"]["mask_zero"] == true
                }),
            "layer `{at}` takes a mask; gatelet takes padded samples with their `lengths` instead"
        );
        let mut sources = HashSet::new();
        calls.iter().for_each(|call| references(call, &mut sources));
        let mut sources = sources.into_iter();
        match (sources.next(), sources.next()) {
            (None, _) if at == first => break,
            (Some(source), None) => at = source,
            _ => bail!(
                "layer `{at}` does not have exactly one input; gatelet takes a plain stack of layers"
            ),
        }
    }
    order.reverse();
    Ok(order)
}

/// Collects the layers whose outputs are mentioned in `value`: as
/// `["name", 0, 0]` (Keras 2) or `{"keras_history": ["name", 0, 0]}` (Keras 3).
fn references<'a>(value: &'a Value, names: &mut HashSet<&'a str>) {
    match value {
        Value::Array(list) => match &list[..] {
            [Value::String(name), Value::Number(_), Value::Number(_), rest @ ..] => {
                names.insert(name);
                rest.iter().for_each(|value| references(value, names));
            }
            _ => list.iter().for_each(|value| references(value, names)),
        },
        Value::Object(fields) => {
            // What a Masking layer adds on the side.
            let fields = fields.iter().filter(|(key, _)| *key != "mask");
            fields.for_each(|(_, value)| references(value, names));
        }
        _ => {}
    }
}

/// The group that holds each layer's variables in an archive: the class in
/// snake case, numbered from the second of its kind on.
pub(super) fn group_names(model: &Value) -> Result<HashMap<&str, String>> {
    let mut seen = HashMap::new();
    let mut groups = HashMap::new();
    for layer in stored_layers(model)? {
        let class = snake_case(class(layer)?);
        let count = seen.entry(class.clone()).or_insert(0);
        let group = if *count == 0 { class } else { format!("{class}_{count}") };
        *count += 1;
        ensure!(
            groups.insert(name(layer)?, group).is_none(),
            "two layers are called `{}`",
            name(layer)?
        );
    }
    Ok(groups)
}

/// `SimpleRNN` to `simple_rnn`, as Keras does it.
pub(super) fn snake_case(class: &str) -> String {
    let letters: Vec<char> = class.chars().collect();
    let mut snake = String::new();
    for (i, &letter) in letters.iter().enumerate() {
        let after_lower = i > 0 && letters[i - 1].is_ascii_lowercase();
        let before_lower = letters.get(i + 1).is_some_and(char::is_ascii_lowercase);
        if i > 0 && letter.is_ascii_uppercase() && (after_lower || before_lower) {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// Features of a step, from whichever place this version of Keras keeps the
/// shape of the input; `None` if it has no axis of features.
pub(super) fn input_features(model: &Value, layers: &[&Value]) -> Result<Option<usize>> {
    let first = *layers.first().context("the model has no layers")?;
    let shape = [
        &first["config"]["batch_shape"],
        &first["config"]["batch_input_shape"],
        &model["config"]["build_input_shape"],
        &model["build_config"]["input_shape"],
    ];
    if let (true, true) = (shape.iter().all(|s| s.is_null()), is_model(class(first)?)) {
        return input_features(first, &chain(first)?);
    }
    let shape = shape.into_iter().find_map(Value::as_array).context(
        "the model has no input shape; call it once on data, or give it an Input layer, before saving",
    )?;
    match &shape[..] {
        [_, _, features]
            if features.as_u64().is_some_and(|n| (1..=MAX_PARAMETERS as u64).contains(&n)) =>
        {
            Ok(Some(features.as_u64().unwrap_or_default() as usize))
        }
        [_, _] => Ok(None),
        _ => bail!(
            "the model's input shape is {}; expected [batch, time, features] with a fixed number of features",
            Value::from(shape.clone())
        ),
    }
}

pub(super) fn name(layer: &Value) -> Result<&str> {
    let name = layer["config"]["name"].as_str();
    name.context("a layer of the model's description has no name")
}

pub(super) fn class(layer: &Value) -> Result<&str> {
    layer["class_name"].as_str().context("a layer of the model's description has no class")
}

pub(super) fn flag(config: &Value, key: &str) -> bool {
    config[key].as_bool().unwrap_or(false)
}

pub(super) fn units(config: &Value) -> Result<usize> {
    match config["units"].as_u64() {
        Some(units) if (1..=MAX_PARAMETERS as u64).contains(&units) => Ok(units as usize),
        _ => bail!("its number of units is {}; expected 1 or more", config["units"]),
    }
}

pub(super) fn expect_text(config: &Value, key: &str, expected: &str) -> Result<()> {
    ensure!(
        config[key] == expected,
        "{key} {} is not supported; gatelet takes \"{expected}\"",
        config[key]
    );
    Ok(())
}

pub(super) fn activation(config: &Value, key: &str) -> Result<Activation> {
    Ok(match config[key].as_str() {
        Some("linear") => Activation::Linear,
        Some("relu") => Activation::Relu,
        Some("tanh") => Activation::Tanh,
        Some("sigmoid") => Activation::Sigmoid,
        Some("softmax") => Activation::Softmax,
        _ => bail!(
            "{key} {} is not supported; gatelet takes linear, relu, tanh, sigmoid and softmax",
            config[key]
        ),
    })
}

/// A number or nested lists of numbers, flattened.
pub(super) fn numbers(value: &Value) -> Option<Vec<f64>> {
    match value {
        Value::Array(list) => {
            list.iter().map(numbers).collect::<Option<Vec<_>>>().map(|l| l.concat())
        }
        _ => Some(vec![value.as_f64()?]),
    }
}
