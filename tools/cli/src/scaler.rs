//! The scaling that a network was trained behind: a file of numbers that the training script saved
//! beside it. With it the blob takes and gives raw units.
//!
//! An `.npz`, `.json` or `.toml` file with the attributes of scikit-learn's scalers, their last
//! underscore or not:
//!
//! | keys | scaled value |
//! |---|---|
//! | `mean`, `scale` (`StandardScaler`) | `(x - mean) / scale` |
//! | `min`, `scale` (`MinMaxScaler`) | `x * scale + min` |
//!
//! A number for each feature, or one for all. `input_mean` (or `mean` in a table `input`) and so on
//! are for the network's inputs, `output_mean` and so on for its outputs; keys without either are for
//! both: output `k` is then scaled as feature `k` is. Other keys are ignored.
//!
//! ```python
//! np.savez("scaler.npz", input_mean=sx.mean_, input_scale=sx.scale_,
//!          output_mean=sy.mean_, output_scale=sy.scale_)
//! json.dump({"mean": s.mean_.tolist(), "scale": s.scale_.tolist()}, open("scaler.json", "w"))
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::graph::{Affine, Graph};
use crate::import::import;
use crate::npz::Npz;

/// What a scaler file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaler {
    numbers: BTreeMap<String, Vec<f64>>,
}

/// The model in `path`, in raw units if there is a scaler.
///
/// # Errors
/// As [`import`], [`Scaler::read`] and [`Scaler::apply`].
pub fn import_scaled(path: &Path, scaler: Option<&Path>) -> Result<Graph> {
    let graph = import(path)?;
    match scaler {
        None => Ok(graph),
        Some(scaler) => {
            let in_context = || format!("{} does not fit the model", scaler.display());
            Scaler::read(scaler)?.apply(graph).with_context(in_context)
        }
    }
}

impl Scaler {
    /// Reads `path`.
    ///
    /// # Errors
    /// If it is missing or damaged, or has none of the keys.
    pub fn read(path: &Path) -> Result<Self> {
        let in_context = || format!("cannot read the scaler in {}", path.display());
        let text = || std::fs::read_to_string(path).with_context(in_context);
        let mut numbers = BTreeMap::new();
        match path.extension().and_then(|e| e.to_str()).unwrap_or_default() {
            "npz" => {
                let mut npz = Npz::open(path)?;
                for name in npz.names().iter().filter(|name| is_key(name)) {
                    let array = npz.array(name)?.context("the archive changed")?;
                    numbers.insert(name.trim_end_matches('_').to_owned(), array.into_f64());
                }
            }
            "json" => {
                flatten("", &serde_json::from_str(&text()?).with_context(in_context)?, &mut numbers)
            }
            "toml" => {
                flatten("", &toml::from_str(&text()?).with_context(in_context)?, &mut numbers);
            }
            _ => bail!("{} is no scaler gatelet reads: give .npz, .json or .toml", path.display()),
        }
        ensure!(
            !numbers.is_empty(),
            "{} holds no `mean` and `scale` (or `min` and `scale`), nor those with `input_` or `output_` before them",
            path.display()
        );
        Ok(Self { numbers })
    }

    /// The network with raw units at both ends.
    ///
    /// # Errors
    /// If there are not as many numbers as features or outputs, or one cannot scale.
    pub fn apply(&self, graph: Graph) -> Result<Graph> {
        let (inputs, outputs) = (graph.inputs(), graph.outputs());
        let identity = |n| Affine { scale: vec![1.0; n], offset: vec![0.0; n] };
        let both = self.scaling("", inputs)?;
        let input = self.scaling("input_", inputs)?.or_else(|| both.clone());
        let output = match (self.scaling("output_", outputs)?, both) {
            (Some(output), _) => output,
            (None, Some(both)) => {
                ensure!(
                    outputs <= inputs,
                    "the scaler has no `output_` keys, and the network more outputs ({outputs}) than features ({inputs}): \
                     give `output_mean` and `output_scale`"
                );
                Affine {
                    scale: both.scale[..outputs].to_vec(),
                    offset: both.offset[..outputs].to_vec(),
                }
            }
            (None, None) => identity(outputs),
        };
        let back = Affine {
            scale: output.scale.iter().map(|s| 1.0 / s).collect(),
            offset: output.scale.iter().zip(&output.offset).map(|(s, o)| -o / s).collect(),
        };
        graph.scaled(&input.unwrap_or_else(|| identity(inputs)), &back)
    }

    /// From raw to scaled values, if the file has keys that start so.
    fn scaling(&self, prefix: &str, width: usize) -> Result<Option<Affine>> {
        let get = |key: &str| -> Result<Option<Vec<f64>>> {
            let Some(values) = self.numbers.get(&format!("{prefix}{key}")) else { return Ok(None) };
            ensure!(
                values.len() == width || values.len() == 1,
                "the scaler's `{prefix}{key}` has {} numbers for {width} {}",
                values.len(),
                if prefix == "output_" { "outputs" } else { "features" }
            );
            if let Some(value) = values.iter().find(|v| !v.is_finite()) {
                bail!("the scaler's `{prefix}{key}` holds {value}");
            }
            Ok(Some(values.iter().copied().cycle().take(width).collect()))
        };
        let (mean, min) = (get("mean")?, get("min")?);
        let Some(scale) = get("scale")? else {
            ensure!(
                mean.is_none() && min.is_none(),
                "the scaler has no `{prefix}scale` beside its mean or min"
            );
            return Ok(None);
        };
        if let Some(value) = scale.iter().find(|s| !(**s as f32).is_normal() || **s < 0.0) {
            bail!("the scaler's `{prefix}scale` holds {value}: every scale must be above 0");
        }
        Ok(Some(match (mean, min) {
            (Some(_), Some(_)) => {
                bail!("the scaler has both `{prefix}mean` and `{prefix}min`: keep one")
            }
            (mean, None) => {
                let mean = mean.unwrap_or_else(|| vec![0.0; width]);
                Affine {
                    offset: mean.iter().zip(&scale).map(|(m, s)| -m / s).collect(),
                    scale: scale.iter().map(|s| 1.0 / s).collect(),
                }
            }
            (None, Some(min)) => Affine { scale, offset: min },
        }))
    }
}

/// Whether a name is one that [`Scaler`] knows.
fn is_key(name: &str) -> bool {
    let name = name.trim_end_matches('_');
    let name = name.strip_prefix("input_").or(name.strip_prefix("output_")).unwrap_or(name);
    matches!(name, "mean" | "scale" | "min")
}

/// Collects numbers and lists of them; names of tables come first, with an underscore between.
fn flatten(prefix: &str, value: &Value, numbers: &mut BTreeMap<String, Vec<f64>>) {
    let Some(table) = value.as_object() else { return };
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        let list = match value {
            Value::Array(list) => list.iter().map(Value::as_f64).collect(),
            Value::Number(number) => number.as_f64().map(|v| vec![v]),
            _ => None,
        };
        match list {
            Some(list) if is_key(&key) => {
                numbers.insert(key.trim_end_matches('_').to_owned(), list);
            }
            _ => flatten(&format!("{key}_"), value, numbers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Sequences;
    use crate::graph::{Activation, Dense, GraphBuilder, Matrix, Op, Output};
    use crate::reference::answers;

    /// Two inputs and one output: 3 a + 5 b + 7, scaled.
    fn graph() -> Graph {
        let mut builder = GraphBuilder::new(2);
        let weights = Matrix::new(1, 2, vec![3.0, 5.0]);
        let dense = Dense { weights, bias: vec![7.0], activation: Activation::Linear };
        builder.layer("dense", Op::Dense(dense)).unwrap();
        builder.finish(Output::Last).unwrap()
    }

    fn scaler(json: &str) -> Result<Scaler> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scaler.json");
        std::fs::write(&path, json).unwrap();
        Scaler::read(&path)
    }

    /// The answer to (10, 20).
    fn answer(json: &str) -> Result<f64> {
        let x = Sequences::new(vec![10.0, 20.0], 1, 2, vec![1]).unwrap();
        Ok(answers(&scaler(json)?.apply(graph())?, &x)[0][0])
    }

    #[test]
    fn raw_units_go_in_and_come_out() {
        // (10 - 4) / 2 = 3, (20 - 10) / 5 = 2: 3·3 + 5·2 + 7 = 26; 26 · 100 + 1000.
        let standard = r#"{"input": {"mean_": [4, 10], "scale_": [2, 5]},
                           "output": {"mean_": [1000], "scale_": [100]}}"#;
        assert_eq!(answer(standard).unwrap(), 3600.0);
        // One scaler of the series: the output is its first column.
        assert_eq!(answer(r#"{"mean": [4, 10], "scale": [2, 5], "var_": [4, 25]}"#).unwrap(), 56.0);
        // 10 · 0.5 + 1 = 6, 20 · 0.25 + 1 = 6: 3·6 + 5·6 + 7 = 55; (55 - 1) / 0.5.
        assert_eq!(answer(r#"{"min_": 1, "scale_": [0.5, 0.25]}"#).unwrap(), 108.0);
        // Without a mean, without outputs.
        assert_eq!(answer(r#"{"input_mean": null, "input_scale": 10}"#).unwrap(), 20.0);
    }

    #[test]
    fn what_cannot_scale_is_refused() {
        for (json, part) in [
            ("{}", "no `mean` and `scale`"),
            ("[1, 2]", "no `mean` and `scale`"),
            (r#"{"mean": [1, 2, 3], "scale": 1}"#, "3 numbers for 2 features"),
            (r#"{"output_mean": [1, 2], "output_scale": 1}"#, "2 numbers for 1 outputs"),
            (r#"{"mean": [1, 2]}"#, "no `scale`"),
            (r#"{"mean": 1, "min": 1, "scale": 1}"#, "both `mean` and `min`"),
            (r#"{"scale": [1, 0]}"#, "holds 0"),
            (r#"{"scale": [1, -2]}"#, "holds -2"),
            (r#"{"mean": 1e999, "scale": 1}"#, "cannot read"),
        ] {
            let error = format!("{:#}", answer(json).unwrap_err());
            assert!(error.contains(part), "{json}: {error}");
        }
    }
}
