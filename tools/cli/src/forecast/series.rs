//! Series to forecast, from `.csv` and `.npz` files.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::npz::Npz;

/// How a CSV file says that a value is missing.
const MISSING: [&str; 6] = ["", "?", "NA", "NaN", "nan", "null"];

/// A series of several features, a row a step; NaN where a value is missing.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// For messages and plots.
    pub name: String,
    /// Names of the features.
    pub features: Vec<String>,
    /// `[steps][features]`.
    pub rows: Vec<Vec<f64>>,
}

impl Series {
    /// Reads the series in `path`, for a model of so many `inputs`.
    ///
    /// - `.csv`: a row a step and a column a feature, in the order of the model's inputs. Before them
    ///   may be a column of times, which is ignored, and above them a row of names. Values that are
    ///   empty, `?`, `NA`, `NaN` or `null` are missing.
    /// - `.npz`: `x` `[N, T, I]` holds N series; `[T, I]` and, of one feature, `[T]` hold one. NaN is
    ///   missing.
    ///
    /// # Errors
    /// If the file is missing or damaged, or does not fit the model; the message names the line.
    pub fn read(path: &Path, inputs: usize) -> Result<Vec<Self>> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let in_context = || format!("cannot use {}", path.display());
        let series = match path.extension().and_then(|e| e.to_str()).unwrap_or_default() {
            "csv" => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                vec![from_csv(&text, name, inputs).with_context(in_context)?]
            }
            "npz" => from_npz(path, &name, inputs).with_context(in_context)?,
            _ => bail!("{} is no series gatelet reads: give .csv or .npz", path.display()),
        };
        for one in &series {
            ensure!(!one.rows.is_empty(), "{}: the series {} is empty", path.display(), one.name);
        }
        Ok(series)
    }

    /// Values of one feature.
    pub fn feature(&self, index: usize) -> Vec<f64> {
        self.rows.iter().map(|row| row[index]).collect()
    }
}

fn from_csv(text: &str, name: String, inputs: usize) -> Result<Series> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut features: Vec<String> = (0..inputs).map(|k| format!("feature {k}")).collect();
    let mut rows = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        ensure!(
            record.len() == inputs || record.len() == inputs + 1,
            "line {line} has {} columns; the model takes {inputs} features, and a column of times may stand before them",
            record.len()
        );
        let cells: Vec<&str> = record.iter().skip(record.len() - inputs).collect();
        let values: Result<Vec<f64>> = cells
            .iter()
            .map(|cell| match cell.parse::<f64>() {
                _ if MISSING.contains(cell) => Ok(f64::NAN),
                Ok(value) if value.is_finite() => Ok(value),
                _ => bail!("line {line}: `{cell}` is no number; leave it empty if it is missing"),
            })
            .collect();
        let is_name = |cell: &&str| cell.parse::<f64>().is_err() && !MISSING.contains(cell);
        match values {
            Err(_) if index == 0 && cells.iter().all(is_name) => {
                features = cells.into_iter().map(str::to_owned).collect();
            }
            values => rows.push(values?),
        }
    }
    Ok(Series { name, features, rows })
}

fn from_npz(path: &Path, name: &str, inputs: usize) -> Result<Vec<Series>> {
    let mut npz = Npz::open(path)?;
    let array = npz.array("x")?.context("it has no array `x`")?;
    let (count, steps, width) = match array.shape[..] {
        [steps] => (1, steps, 1),
        [steps, width] => (1, steps, width),
        [count, steps, width] => (count, steps, width),
        _ => bail!("x has shape {:?}; expected [series, steps, features]", array.shape),
    };
    ensure!(width == inputs, "x has {width} features a step but the model takes {inputs}");
    let values = array.into_f64();
    if let Some(at) = values.iter().position(|v| v.is_infinite()) {
        bail!("x holds {} at position {at}; mark what is missing as NaN", values[at]);
    }
    let rows: Vec<Vec<f64>> = values.chunks_exact(width.max(1)).map(<[f64]>::to_vec).collect();
    let one = |k: usize| Series {
        name: if count > 1 { format!("{name}[{k}]") } else { name.to_owned() },
        features: (0..width).map(|k| format!("feature {k}")).collect(),
        rows: rows[k * steps..][..steps].to_vec(),
    };
    Ok((0..count).map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(text: &str, inputs: usize) -> Result<Series> {
        from_csv(text, "s".to_owned(), inputs)
    }

    #[test]
    fn names_times_and_gaps_are_understood() {
        let series = csv("time,a,b\n2020-01-01,1,2\n2020-01-02,?,-3e2\n", 2).unwrap();
        assert_eq!(series.features, ["a", "b"]);
        assert_eq!(series.rows[0], [1.0, 2.0]);
        assert!(series.rows[1][0].is_nan() && series.rows[1][1] == -300.0);
        assert_eq!(csv("1\n2\n\n4\n", 1).unwrap().feature(0), [1.0, 2.0, 4.0]);
        // The first value may be missing without the row being names.
        assert_eq!(csv("0,\n1,5\n", 1).unwrap().rows.len(), 2);
    }

    #[test]
    fn what_is_no_series_is_refused_by_line() {
        for (text, inputs, part) in [
            ("a\n1\nx\n", 1, "line 3: `x` is no number"),
            ("1,2,3\n", 1, "line 1 has 3 columns; the model takes 1 features"),
            ("1\ninf\n", 1, "line 2: `inf`"),
            ("1,2\n1\n", 2, "fields"),
        ] {
            let error = format!("{:#}", csv(text, inputs).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
