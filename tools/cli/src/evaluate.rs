//! What quantization cost: the integer model against the truth and against the float model.

use anyhow::{Result, bail, ensure};
use gatelet::{Activation, LayerKind, Model};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::data::{Dataset, Targets};
use crate::graph::Graph;
use crate::host;
use crate::reference;
use crate::sqnr::Noise;

/// Figures of one evaluation; those that the data or the options do not allow are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evaluation {
    /// Sequences evaluated.
    pub samples: usize,
    /// Share of labels that the integer model gets right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Mean absolute error of the integer model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mae: Option<f64>,
    /// Root mean square error of the integer model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rmse: Option<f64>,
    /// Mean of −log2 of the probability given to the right symbol, if a model over tokens says
    /// something at every step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_symbol: Option<f64>,
    /// As `bits_per_symbol`, of the float model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub float_bits_per_symbol: Option<f64>,
    /// Share of sequences that an encoder-decoder over tokens, saying the likeliest token after the
    /// other, gets right from start to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<f64>,
    /// Tokens that must be put in, taken out or replaced to mend the others, by those that should be
    /// there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// As `exact`, of the float model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub float_exact: Option<f64>,
    /// As `error_rate`, of the float model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub float_error_rate: Option<f64>,
    /// As `accuracy`, of the float model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub float_accuracy: Option<f64>,
    /// As `mae`, of the float model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub float_mae: Option<f64>,
    /// As `rmse`, of the float model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub float_rmse: Option<f64>,
    /// Share of answers whose largest output is the float model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// Largest difference between an integer and a float output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_abs_error: Option<f64>,
    /// Power of the float outputs over that of the differences, in dB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqnr_db: Option<f64>,
    /// Bytes of the blob.
    pub blob_bytes: usize,
}

/// Evaluates a blob on a data file, and against the float model if there is one.
///
/// # Errors
/// If the data does not fit the model; the message says what was expected.
pub fn evaluate(
    blob: &host::Blob,
    data: &Dataset,
    float: Option<&Graph>,
    progress: &ProgressBar,
) -> Result<Evaluation> {
    let model = blob.model()?;
    host::expect_fit(&model, &data.x)?;
    let raw = host::run(&model, &data.x, progress);
    let integer: Vec<Vec<f64>> = raw.iter().map(|raw| host::dequantize(&model, raw)).collect();
    let mut result = Evaluation {
        samples: data.x.len(),
        blob_bytes: blob.bytes().len(),
        ..Evaluation::default()
    };
    let score = |outputs: &[Vec<f64>]| score(data, model.outputs(), outputs);
    if let Some(score) = score(&integer)? {
        (result.accuracy, result.mae, result.rmse) = score.parts();
    }
    let bits = |outputs: &[Vec<f64>]| bits_per_symbol(data, &model, outputs);
    result.bits_per_symbol = bits(&integer);
    let sentences = sentences(data, &model);
    if let Some(Sentences { expected, most, .. }) = &sentences {
        let rates = rates(expected, &host::decode(&model, &data.x, *most));
        (result.exact, result.error_rate) = (Some(rates.0), Some(rates.1));
    }
    if let Some(graph) = float {
        ensure!(
            (graph.inputs(), graph.outputs()) == (model.inputs(), model.outputs()),
            "the float model is {} -> {}, the blob {} -> {}: give the model it was made from",
            graph.inputs(),
            graph.outputs(),
            model.inputs(),
            model.outputs()
        );
        let float = reference::answers(graph, &data.x);
        if let Some(score) = score(&float)? {
            (result.float_accuracy, result.float_mae, result.float_rmse) = score.parts();
        }
        result.float_bits_per_symbol = bits(&float);
        if let Some(Sentences { expected, most, start, end }) = &sentences {
            let said = reference::decode(graph, &data.x, *start, *end, *most);
            let rates = rates(expected, &said);
            (result.float_exact, result.float_error_rate) = (Some(rates.0), Some(rates.1));
        }
        let labels = !matches!(data.y, Some(Targets::Values { .. }));
        if labels && model.outputs() > 1 {
            result.agreement = Some(agreement(model.outputs(), &integer, &float));
        }
        let mut error = Noise::default();
        error.add(&float.concat(), integer.concat().into_iter());
        result.max_abs_error = Some(error.largest());
        result.sqnr_db = Some(noise(&model, &float, &integer).db());
    }
    Ok(result)
}

/// Noise of all answers, each output counted from its mean in its own steps: units do not matter.
fn noise(model: &Model<'_>, float: &[Vec<f64>], integer: &[Vec<f64>]) -> Noise {
    let scaling: Vec<_> = (0..model.outputs()).filter_map(|k| model.output_scaling(k)).collect();
    let in_steps = |answers: &[Vec<f64>]| -> Vec<f64> {
        let values = answers.iter().flatten().zip(scaling.iter().cycle());
        values.map(|(v, (mean, step))| (v - f64::from(*mean)) / f64::from(*step)).collect()
    };
    let mut noise = Noise::default();
    noise.add(&in_steps(float), in_steps(integer).into_iter());
    noise
}

/// Index of the largest value; the first of equals.
pub fn argmax(values: &[f64]) -> usize {
    let best = values.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(index, _)| index)
}

enum Score {
    Accuracy(f64),
    Error { mae: f64, rmse: f64 },
}

impl Score {
    fn parts(&self) -> (Option<f64>, Option<f64>, Option<f64>) {
        match *self {
            Self::Accuracy(accuracy) => (Some(accuracy), None, None),
            Self::Error { mae, rmse } => (None, Some(mae), Some(rmse)),
        }
    }
}

/// How close `outputs` (one or `length` answers a sequence) come to the targets.
fn score(data: &Dataset, width: usize, outputs: &[Vec<f64>]) -> Result<Option<Score>> {
    let last = |n: usize| &outputs[n][outputs[n].len() - width..];
    let every_step =
        (0..data.x.len()).all(|n| outputs[n].len() == data.x.answered(n).len() * width);
    let hit = |answer: &[f64], label: i64| i64::try_from(argmax(answer)) == Ok(label);
    Ok(match &data.y {
        None => None,
        Some(Targets::Classes(labels)) => {
            let right =
                labels.iter().enumerate().filter(|&(n, label)| hit(last(n), *label)).count();
            Some(Score::Accuracy(right as f64 / labels.len() as f64))
        }
        Some(Targets::StepClasses(labels)) => {
            ensure!(
                every_step,
                "y has a label for every step, but the model answers once a sequence"
            );
            let steps = data.x.steps();
            let (mut right, mut count) = (0, 0);
            for (n, (answers, labels)) in outputs.iter().zip(labels.chunks_exact(steps)).enumerate()
            {
                for (answer, label) in answers.chunks_exact(width).zip(&labels[data.x.answered(n)])
                {
                    right += usize::from(hit(answer, *label));
                    count += 1;
                }
            }
            Some(Score::Accuracy(right as f64 / count as f64))
        }
        Some(Targets::Values { shape, values }) => {
            let per_sample = values.len() / data.x.len();
            let (mut absolute, mut squared, mut count) = (0.0, 0.0, 0);
            for (n, target) in values.chunks_exact(per_sample.max(1)).enumerate() {
                let answer = if per_sample == width {
                    last(n)
                } else if every_step && per_sample == data.x.steps() * width {
                    &outputs[n]
                } else {
                    bail!("y has shape {shape:?}, but the model gives {width} values an answer");
                };
                for (answer, target) in answer.iter().zip(target) {
                    absolute += (answer - f64::from(*target)).abs();
                    squared += (answer - f64::from(*target)).powi(2);
                    count += 1;
                }
            }
            let count = f64::from(count);
            Some(Score::Error { mae: absolute / count, rmse: (squared / count).sqrt() })
        }
    })
}

/// See [`Evaluation::bits_per_symbol`]; `None` if it says nothing.
fn bits_per_symbol(data: &Dataset, model: &Model<'_>, outputs: &[Vec<f64>]) -> Option<f64> {
    let Some(Targets::StepClasses(labels)) = &data.y else { return None };
    let last = model.layer(model.depth().checked_sub(1)?)?;
    if model.tokens() == 0 || model.outputs() < 2 {
        return None;
    }
    let is_softmax = last.kind() == LayerKind::Dense(Activation::Softmax);
    let bits = |answer: &[f64], label: i64| {
        // A label that the model does not have is as unlikely as can be.
        let right = usize::try_from(label).ok().and_then(|k| answer.get(k)).copied();
        if is_softmax {
            // Half of the least probability that integers tell from 0.
            -libm::log2(right.unwrap_or(0.0).max(1.0 / 65536.0))
        } else {
            let largest = answer.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
            let sum: f64 = answer.iter().map(|z| libm::exp(z - largest)).sum();
            let right = right.unwrap_or(f64::NEG_INFINITY);
            (libm::log(sum) + largest - right) / core::f64::consts::LN_2
        }
    };
    let (mut total, mut count) = (0.0, 0);
    let all = outputs.iter().zip(labels.chunks_exact(data.x.steps()));
    for (n, (answers, labels)) in all.enumerate() {
        let answers = answers.chunks_exact(model.outputs());
        for (answer, label) in answers.zip(&labels[data.x.answered(n)]) {
            total += bits(answer, *label);
            count += 1;
        }
    }
    Some(total / f64::from(count))
}

/// What an encoder-decoder over tokens should say.
struct Sentences {
    /// Without the token that ends it.
    expected: Vec<Vec<i64>>,
    /// Tokens after which it is stopped.
    most: usize,
    start: i16,
    end: i16,
}

/// `None` if the model is none, or the data does not say.
fn sentences(data: &Dataset, model: &Model<'_>) -> Option<Sentences> {
    let vocabulary = model.vocabulary().filter(|_| model.encoder() > 0)?;
    let (start, end) = (vocabulary.output_start()?, vocabulary.output_end()?);
    let Some(Targets::StepClasses(labels)) = &data.y else { return None };
    let expected = labels.chunks_exact(data.x.steps()).enumerate().map(|(n, labels)| {
        let labels = &labels[data.x.answered(n)];
        labels.iter().take_while(|label| **label != i64::from(end)).copied().collect()
    });
    Some(Sentences { expected: expected.collect(), most: data.x.steps(), start, end })
}

/// [`Evaluation::exact`] and [`Evaluation::error_rate`].
fn rates(expected: &[Vec<i64>], said: &[Vec<i16>]) -> (f64, f64) {
    let (mut exact, mut edits, mut tokens) = (0, 0, 0);
    for (expected, said) in expected.iter().zip(said) {
        let distance = distance(expected, said);
        exact += usize::from(distance == 0);
        edits += distance;
        tokens += expected.len();
    }
    (exact as f64 / expected.len() as f64, edits as f64 / tokens.max(1) as f64)
}

/// Edits that make one sequence the other (Levenshtein).
fn distance(expected: &[i64], said: &[i16]) -> usize {
    let mut row: Vec<usize> = (0..=said.len()).collect();
    for (i, a) in expected.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in said.iter().enumerate() {
            let replaced = diagonal + usize::from(*a != i64::from(*b));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[said.len()]
}

fn agreement(width: usize, a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    let answers = |v: &[Vec<f64>]| -> Vec<usize> {
        v.iter().flat_map(|v| v.chunks_exact(width).map(argmax)).collect()
    };
    let (a, b) = (answers(a), answers(b));
    a.iter().zip(&b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        for (a, b, expected) in [
            (&[1, 2, 3][..], &[1i16, 2, 3][..], 0),
            (&[1, 2, 3], &[], 3),
            (&[], &[1, 2], 2),
            (&[1, 2, 3, 4], &[2, 3, 4], 1),
            (&[1, 2, 3, 4], &[1, 5, 3, 4, 4], 2),
            // kitten, sitting
            (&[10, 8, 19, 19, 4, 13], &[18, 8, 19, 19, 8, 13, 6], 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a:?} {b:?}");
        }
    }
}
