//! FastRNN and FastGRNN in the state dicts of Microsoft's EdgeML (`edgeml_pytorch.graph.rnn`): `W` or
//! its factors `W1` `[rank][inputs]` and `W2` `[units][rank]`, `U` alike, `bias_update`, and for a
//! FastRNN `alpha` and `beta`, for a FastGRNN `bias_gate`, `zeta` and `nu`; a sigmoid bounds these
//! four. Gates are sigmoids, candidates tanh, as by default: the file does not tell.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use super::Tensor;
use super::safetensors::Module;
use crate::graph::{Activation, Dense, Fast, Matrix, Op, Update};

/// Whether a module is one of these cells.
pub(super) fn is_cell(module: &Module) -> bool {
    module.contains_key("bias_update")
}

/// Drops what the wrapper of a cell (`FastGRNN`) lists a second time, in the loop that it runs in.
pub(super) fn drop_copies(modules: &mut BTreeMap<String, Module>) {
    let copies: Vec<_> = modules
        .keys()
        .filter(|name| {
            let of = name.strip_suffix("unrollRNN.RNNCell").map(|start| format!("{start}cell"));
            of.and_then(|of| modules.get(&of)).is_some_and(|cell| same(cell, &modules[*name]))
        })
        .cloned()
        .collect();
    modules.retain(|name, _| !copies.contains(name));
}

fn same(a: &Module, b: &Module) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((an, a), (bn, b))| an == bn && a.values == b.values)
}

/// The cell; before it, a dense layer for the right factor of a `W` of low rank.
pub(super) fn cell(name: &str, mut module: Module) -> Result<Vec<(String, Op)>> {
    let mut take = |variable: &str| module.remove(variable);
    let mut layers = Vec::new();
    let input = match (take("W"), take("W1"), take("W2")) {
        (Some(w), None, None) => any_matrix(w)?,
        (None, Some(w1), Some(w2)) => {
            let weights = any_matrix(w1)?;
            let (bias, activation) = (vec![0.0; weights.rows()], Activation::Linear);
            layers.push((format!("{name}.W1"), Op::Dense(Dense { weights, bias, activation })));
            any_matrix(w2)?
        }
        _ => return Err(lacks(name, "W, or W1 and W2")),
    };
    let (recurrent, factor) = match (take("U"), take("U1"), take("U2")) {
        (Some(u), None, None) => (any_matrix(u)?, None),
        (None, Some(u1), Some(u2)) => (any_matrix(u2)?, Some(any_matrix(u1)?)),
        _ => return Err(lacks(name, "U, or U1 and U2")),
    };
    let units = input.rows();
    let mut bias =
        |variable: &str| take(variable).with_context(|| lacks(name, variable))?.matrix(1, units);
    let bias_update = bias("bias_update")?.values().to_vec();
    let bias_gate = bias("bias_gate").map(|bias| bias.values().to_vec());
    let mut bounded = |variable: &str| -> Result<f64> {
        let scalar = module.remove(variable).with_context(|| lacks(name, variable))?;
        scalar.expect_shape(&[1, 1])?;
        Ok(1.0 / (1.0 + libm::exp(-scalar.values[0])))
    };
    let (bias, update) = match bias_gate {
        Ok(bias_gate) => {
            let (zeta, nu) = (bounded("zeta")?, bounded("nu")?);
            (bias_gate, Update::Gated { candidate_bias: bias_update, zeta, nu })
        }
        Err(_) => {
            let (alpha, beta) = (bounded("alpha")?, bounded("beta")?);
            (bias_update, Update::Residual { alpha, beta })
        }
    };
    if let Some(variable) = module.keys().next() {
        return Err(anyhow::anyhow!(
            "module `{name}` has `{variable}`, which no FastRNN or FastGRNN has; gatelet takes these two of EdgeML's cells"
        ));
    }
    layers.push((name.to_owned(), Op::Fast(Fast { input, recurrent, factor, bias, update })));
    Ok(layers)
}

fn lacks(name: &str, what: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "module `{name}` lacks {what}; gatelet takes FastRNN and FastGRNN of EdgeML's cells"
    )
}

fn any_matrix(tensor: Tensor) -> Result<Matrix> {
    let shape = tensor.shape.clone();
    ensure!(shape.len() == 2, "weights `{}` have shape {shape:?}, expected a matrix", tensor.name);
    tensor.matrix(shape[0], shape[1])
}
