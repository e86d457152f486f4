//! Nodes that move data about, or reckon with its sizes.

use anyhow::{Context, Result, bail, ensure};

use super::array::{Array, Origin, broadcast_shape, data_type, product};
use super::nodes::{Inputs, MAX_LIST};
use super::signal::{Part, Role, Signal};
use super::{Node, Value, describe};

/// Sizes of a tensor.
pub(super) fn sizes(numbers: &[i64]) -> Result<Vec<usize>> {
    let sizes = numbers.iter().map(|&n| usize::try_from(n));
    sizes.collect::<Result<_, _>>().context("it makes a tensor of negative size")
}

/// An axis as ONNX writes it, from the end if negative.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize> {
    let from_start = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    match usize::try_from(from_start) {
        Ok(k) if k < rank => Ok(k),
        _ => bail!("it names axis {axis} of a tensor with {rank}; the file is damaged"),
    }
}

/// The axes a node names: as an attribute, or since version 13 as an input.
fn axes(node: Node<'_>, inputs: &Inputs<'_>, index: usize) -> Result<Option<Vec<i64>>> {
    match node.attribute("axes") {
        Some(attribute) => {
            ensure!(attribute.ints.len() <= MAX_LIST, "it names too many axes");
            Ok(Some(attribute.ints.clone()))
        }
        None => inputs.integers(index),
    }
}

/// The sizes of a value, or those from `start` to `end`.
pub(super) fn shape(node: Node<'_>, value: &Value) -> Result<Value> {
    let shape = value.shape()?;
    let rank = shape.len() as i64;
    let clamp = |at: i64| {
        let from_start = if at < 0 { at.saturating_add(rank) } else { at };
        from_start.clamp(0, rank) as usize
    };
    let (start, end) = (clamp(node.int("start", 0)), clamp(node.int("end", rank)));
    let sizes = shape.get(start..end).unwrap_or_default().iter().map(|&size| size as i64);
    let origin = match value {
        Value::Array(array) if array.origin() == Origin::File => Origin::File,
        _ => Origin::Sizes,
    };
    Ok(Value::Array(Array::integers(sizes, origin)))
}

pub(super) fn cast(node: Node<'_>, value: &Value) -> Result<Value> {
    let to = node.int("to", 0);
    let is_float = matches!(
        to,
        data_type::FLOAT | data_type::DOUBLE | data_type::FLOAT16 | data_type::BFLOAT16
    );
    match value {
        Value::Array(array)
            if is_float || matches!(to, data_type::INT32 | data_type::INT64 | data_type::BOOL) =>
        {
            Ok(Value::Array(array.cast(to)))
        }
        Value::Signal(_) | Value::Stack { .. } if is_float => Ok(value.clone()),
        // Tokens of another width.
        Value::Signal(signal)
            if signal.depth == 0 && matches!(to, data_type::INT32 | data_type::INT64) =>
        {
            Ok(value.clone())
        }
        _ => bail!("it casts to ONNX's data type {to}; gatelet takes floats"),
    }
}

pub(super) fn transpose(node: Node<'_>, value: &Value) -> Result<Value> {
    let rank = value.shape()?.len();
    let order: Vec<usize> = match node.attribute("perm") {
        None => (0..rank).rev().collect(),
        Some(attribute) => {
            let order = attribute.ints.iter().map(|&k| axis(k, rank));
            order.collect::<Result<_>>()?
        }
    };
    ensure!(
        order.len() == rank && (0..rank).all(|k| order.contains(&k)),
        "its perm is no order of {rank} axes; the file is damaged"
    );
    value.transpose(&order)
}

/// The shape that `target` asks for: 0 keeps a size, -1 takes what is left.
pub(super) fn resolve(shape: &[usize], target: &[i64], allow_zero: bool) -> Result<Vec<usize>> {
    let bad = || format!("it reshapes {} to {target:?}; the file is damaged", describe(shape));
    let keep = |(k, &size): (usize, &i64)| match size {
        0 if !allow_zero => shape.get(k).map(|&size| Some(size)),
        -1 => Some(None),
        size => usize::try_from(size).ok().map(Some),
    };
    let sizes: Option<Vec<Option<usize>>> = target.iter().enumerate().map(keep).collect();
    let sizes = sizes.with_context(bad)?;
    let all = product(shape).with_context(bad)?;
    let known: Vec<_> = sizes.iter().flatten().copied().collect();
    let known = product(&known).with_context(bad)?;
    let open = sizes.iter().filter(|size| size.is_none()).count();
    let fits = match open {
        0 => known == all,
        1 => known > 0 && all % known == 0,
        _ => false,
    };
    ensure!(fits, bad());
    Ok(sizes.into_iter().map(|size| size.unwrap_or_else(|| all / known)).collect())
}

pub(super) fn squeeze(node: Node<'_>, inputs: &Inputs<'_>) -> Result<Value> {
    let value = inputs.value(0)?;
    let shape = value.shape()?;
    let gone: Vec<usize> = match axes(node, inputs, 1)? {
        Some(axes) => axes.iter().map(|&k| axis(k, shape.len())).collect::<Result<_>>()?,
        None => (0..shape.len()).filter(|&k| shape[k] == 1).collect(),
    };
    if let Some(k) = gone.iter().find(|&&k| shape[k] != 1) {
        bail!("it drops axis {k} of {}, which is longer than 1", arrangement(value));
    }
    let left = (0..shape.len()).filter(|k| !gone.contains(k)).map(|k| shape[k]);
    value.reshape(&left.collect::<Vec<_>>())
}

pub(super) fn unsqueeze(node: Node<'_>, inputs: &Inputs<'_>) -> Result<Value> {
    let value = inputs.value(0)?;
    let shape = value.shape()?;
    let new = axes(node, inputs, 1)?.context("it names no axes")?;
    let rank = shape.len() + new.len();
    let new: Vec<_> = new.iter().map(|&k| axis(k, rank)).collect::<Result<_>>()?;
    let mut old = shape.into_iter();
    let all: Vec<_> =
        (0..rank).map(|k| if new.contains(&k) { 1 } else { old.next().unwrap_or(1) }).collect();
    value.reshape(&all)
}

pub(super) fn slice(node: Node<'_>, inputs: &Inputs<'_>) -> Result<Value> {
    // Attributes before version 10, inputs since.
    let list = |name: &str, index| match node.attribute(name) {
        Some(attribute) if attribute.ints.len() <= MAX_LIST => Ok(Some(attribute.ints.clone())),
        _ => inputs.integers(index),
    };
    let starts = list("starts", 1)?.context("it has no starts")?;
    let ends = list("ends", 2)?.context("it has no ends")?;
    let axes = list("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list("steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    ensure!(
        [ends.len(), axes.len(), steps.len()] == [starts.len(); 3],
        "its starts, ends, axes and steps differ in number; the file is damaged"
    );
    let mut value = inputs.value(0)?.clone();
    for (((&start, &end), &at), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let shape = value.shape()?;
        let at = axis(at, shape.len())?;
        ensure!(step != 0, "its step is 0; the file is damaged");
        // As ONNX clamps them; in 128 bits, since an end may be the largest or smallest of 64.
        let (size, step) = (shape[at] as i128, i128::from(step));
        let bounds = if step > 0 { (0, size) } else { (-1, size - 1) };
        let clamp = |position: i64, bounds: (i128, i128)| {
            let position = i128::from(position);
            (if position < 0 { position + size } else { position })
                .clamp(bounds.0, bounds.1.max(bounds.0))
        };
        let (start, end) = (clamp(start, (0, bounds.1)), clamp(end, bounds));
        let count = if step > 0 { end - start + step - 1 } else { end - start + step + 1 } / step;
        value = value.slice(at, start as usize, step as isize, count.max(0) as usize)?;
    }
    Ok(value)
}

pub(super) fn concat(node: Node<'_>, inputs: &Inputs<'_>) -> Result<Value> {
    let values: Vec<&Value> =
        (0..inputs.0.len()).map(|k| inputs.value(k)).collect::<Result<_>>()?;
    let first = values.first().context("it joins nothing")?;
    let at = axis(node.int("axis", 0), first.shape()?.len())?;
    let arrays = values.iter().map(|value| match value {
        Value::Array(array) => Some(array),
        _ => None,
    });
    if let Some(arrays) = arrays.collect::<Option<Vec<_>>>() {
        return Ok(Value::Array(Array::concat(&arrays, at)?));
    }
    if let [one] = values[..] {
        return Ok(one.clone());
    }
    if values.iter().all(|value| matches!(value, Value::Cell)) {
        return Ok(Value::Cell);
    }
    if let Some(beside) = beside(&values, at) {
        return Ok(Value::Signal(beside));
    }
    let signals = values.iter().map(|value| match value {
        Value::Signal(signal) => {
            let is_single = |part: &Part| part.role == Role::Direction;
            let axis = signal.axes.get(at)?;
            axis.iter().all(is_single).then(|| signal.clone())
        }
        _ => None,
    });
    let signals = signals.collect::<Option<_>>().with_context(|| {
        format!(
            "it joins {} with others; gatelet takes a plain stack of layers",
            arrangement(first)
        )
    })?;
    Ok(Value::Stack { axis: at, signals })
}

/// Outputs of layers beside each other, joined along their features or as directions.
fn beside(values: &[&Value], at: usize) -> Option<Signal> {
    let signals = values.iter().map(|value| match value {
        Value::Signal(signal) if at < signal.axes.len() => Some(signal),
        _ => None,
    });
    let signals: Vec<&Signal> = signals.collect::<Option<_>>()?;
    let (first, rest) = signals.split_first()?;
    let mut joined = rest.iter().try_fold((*first).clone(), |all, next| all.join(next))?;
    if first.is_features(at) {
        joined.axes[at] = Part::axis(Role::Features, joined.columns.len());
    } else {
        let alike = signals.iter().all(|signal| signal.columns.len() == first.columns.len());
        if !(alike && first.axes[at].is_empty() && signals.len() == 2) {
            return None;
        }
        joined.axes[at] = Part::axis(Role::Direction, 2);
    }
    Some(joined)
}

/// Equal or given parts of an axis.
pub(super) fn split(node: Node<'_>, inputs: &Inputs<'_>) -> Result<Vec<Value>> {
    let value = inputs.value(0)?;
    let shape = value.shape()?;
    let at = axis(node.int("axis", 0), shape.len())?;
    let parts = node.0.output.len();
    ensure!(
        (1..=MAX_LIST).contains(&parts),
        "it splits into {parts}; gatelet takes 1 to {MAX_LIST}"
    );
    // An attribute before version 13, an input since.
    let given = match node.attribute("split") {
        Some(attribute) if attribute.ints.len() == parts => Some(attribute.ints.clone()),
        _ => inputs.integers(1)?,
    };
    let sizes = match given {
        Some(given) => sizes(&given)?,
        None => vec![shape[at].div_ceil(parts); parts],
    };
    ensure!(
        sizes.len() == parts && sizes.iter().sum::<usize>() == shape[at],
        "its parts do not make up axis {at} of {}",
        arrangement(value)
    );
    let mut first = 0;
    let part = |size: usize| {
        let part = value.slice(at, first, 1, size);
        first += size;
        part
    };
    sizes.into_iter().map(part).collect()
}

/// Turns all steps of every sequence around.
pub(super) fn reverse_sequence(node: Node<'_>, inputs: &Inputs<'_>) -> Result<Value> {
    if let Value::Array(array) = inputs.value(0)?
        && array.uniform().is_some()
    {
        return Ok(Value::Array(array.clone()));
    }
    let signal = inputs.signal(0)?;
    let at = axis(node.int("time_axis", 0), signal.axes.len())?;
    let steps = signal.shape()[at];
    let lengths = inputs.array(1)?;
    ensure!(
        lengths.origin() > Origin::Sizes || lengths.only() == Some(steps as f64),
        "its sequence_lens is not the length of the sequence; give samples their `lengths` instead"
    );
    Ok(Value::Signal(signal.slice(at, steps - 1, -1, steps)?))
}

/// Sums of an array of one number, as masks are computed.
pub(super) fn reduce_sum(node: Node<'_>, inputs: &Inputs<'_>) -> Result<Array> {
    let array = inputs.array(0)?;
    let number = array.uniform().context("it sums up different numbers")?;
    let mut shape = array.shape().to_vec();
    let mut count = 1.0;
    for at in axes(node, inputs, 1)?.context("it names no axes")? {
        let at = axis(at, shape.len())?;
        count *= shape[at] as f64;
        shape[at] = 1;
    }
    let all = Array::filled(shape.clone(), count * number, array.origin());
    if node.int("keepdims", 1) != 0 {
        return Ok(all);
    }
    shape.retain(|size| *size != 1);
    all.reshape(&shape)
}

/// The product of a list, as TensorFlow computes the rows of a matrix from sizes.
pub(super) fn reduce_product(node: Node<'_>, inputs: &Inputs<'_>) -> Result<Array> {
    let list = inputs.integers(0)?.context("it has no input")?;
    let array = inputs.array(0)?;
    ensure!(array.shape().len() == 1, "it multiplies along one of several axes");
    let product = list.iter().try_fold(1i64, |product, n| product.checked_mul(*n));
    let product = product.context("it makes a size that is too large")?;
    let scalar = Array::integers([product], array.origin());
    if node.int("keepdims", 1) != 0 { Ok(scalar) } else { scalar.reshape(&[]) }
}

pub(super) fn expand(value: &Value, target: &[usize], origin: Origin) -> Result<Value> {
    match value {
        Value::Array(array) => {
            // One number fills a tensor of any size.
            let expanded = match array.single() {
                Some(single) => single.broadcast(target)?,
                None => array.broadcast(target)?,
            };
            Ok(Value::Array(expanded.tainted(origin)))
        }
        _ => {
            let shape = value.shape()?;
            let expanded = broadcast_shape(&shape, target)?;
            ensure!(
                product(&expanded) == product(&shape),
                "it repeats {}; gatelet takes each step once",
                arrangement(value)
            );
            value.reshape(&expanded)
        }
    }
}

/// A value in a message.
pub(super) fn arrangement(value: &Value) -> String {
    match value {
        Value::Signal(signal) => signal.to_string(),
        other => other.shape().map_or("a cell state".into(), |shape| describe(&shape)),
    }
}
