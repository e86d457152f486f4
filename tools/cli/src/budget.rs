//! Mixed precision: the smallest blob whose answers cost no more than they may.

use anyhow::{Context, Result, bail};
use gatelet::{Packing, WeightType};
use indicatif::ProgressBar;

use crate::calibrate::Statistics;
use crate::data::Dataset;
use crate::evaluate::{Evaluation, evaluate};
use crate::graph::Graph;
use crate::host::Blob;
use crate::pack::{Notes, pack};
use crate::quantize::{Layer, Quantized, Quantizer};

const TYPES: [WeightType; 3] = [WeightType::Int4, WeightType::Int8, WeightType::Int16];
/// Combinations up to which all are ordered by size; of more, one layer is widened at a time.
const MOST_COMBINATIONS: usize = 81;

/// One combination of types that was tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Of each layer.
    pub weights: Vec<WeightType>,
    /// Bytes of the blob, without labels and metadata.
    pub bytes: usize,
    /// Points of accuracy lost, or percent that the RMSE rose by; negative if the integers do better.
    pub cost: f64,
}

/// What the search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The smallest model within the budget.
    pub model: Quantized,
    /// All that was tried; the last one is the model.
    pub trials: Vec<Trial>,
    /// How many combinations there are.
    pub combinations: usize,
}

/// The smallest model that costs at most `budget` on `data`: points of accuracy, or percent of RMSE
/// if the targets are numbers. `progress` advances by sequences evaluated.
///
/// In stacks of up to four layers, combinations are tried from the smallest up, so none smaller is
/// good enough. In deeper ones, the layer whose widening gains most for its bytes is widened, again
/// and again.
///
/// # Errors
/// If `data` has no targets, no combination is good enough, or as
/// [`quantize`](crate::quantize::quantize).
pub fn search(
    graph: &Graph,
    seen: &Statistics,
    data: &Dataset,
    budget: f64,
    packing: Packing,
    progress: &ProgressBar,
) -> Result<Found> {
    let search = Search::new(graph, seen, data, packing, progress)?;
    let combinations = search.variants.iter().map(Vec::len).product();
    let trials = if combinations <= MOST_COMBINATIONS {
        search.by_size(budget)?
    } else {
        search.by_widening(budget)?
    };
    let (choice, best) = trials.last().context("no combination was tried")?;
    if best.cost > budget {
        bail!(
            "no weights keep within {budget}: the widest still cost {:.3}; allow more or train longer",
            best.cost
        );
    }
    let model = search.quantizer.model(search.layers(choice));
    let trials = trials.into_iter().map(|(_, trial)| trial).collect();
    Ok(Found { model, trials, combinations })
}

/// Which variant each layer takes.
type Choice = Vec<usize>;

struct Search<'a> {
    quantizer: Quantizer<'a>,
    /// The types each layer can have, narrow ones first.
    variants: Vec<Vec<Layer>>,
    data: &'a Dataset,
    packing: Packing,
    progress: &'a ProgressBar,
    /// What the float model reaches.
    float: Figure,
}

/// What counts: accuracy, or the error of numbers.
#[derive(Clone, Copy)]
enum Figure {
    Accuracy(f64),
    Rmse(f64),
}

impl<'a> Search<'a> {
    fn new(
        graph: &'a Graph,
        seen: &'a Statistics,
        data: &'a Dataset,
        packing: Packing,
        progress: &'a ProgressBar,
    ) -> Result<Self> {
        let quantizer = Quantizer::new(graph, seen, WeightType::Int8)?;
        let mut variants = vec![Vec::new(); graph.layers.len()];
        for weights in TYPES {
            let tuned = quantizer.tune(quantizer.layers(weights)?)?;
            for (variants, layer) in variants.iter_mut().zip(tuned.layers) {
                // One that had to be widened comes with the wider type.
                if layer.weights == weights {
                    variants.push(layer);
                }
            }
        }
        let mut search =
            Self { quantizer, variants, data, packing, progress, float: Figure::Accuracy(0.0) };
        let blob = search.blob(&search.narrowest())?;
        let result = evaluate(&blob, data, Some(graph), progress)?;
        search.float = figure(result.float_accuracy, result.float_rmse)?;
        Ok(search)
    }

    fn narrowest(&self) -> Choice {
        vec![0; self.variants.len()]
    }

    fn layers(&self, choice: &[usize]) -> Vec<Layer> {
        self.variants.iter().zip(choice).map(|(variants, k)| variants[*k].clone()).collect()
    }

    fn blob(&self, choice: &[usize]) -> Result<Blob> {
        let model = self.quantizer.model(self.layers(choice));
        Ok(Blob::new(&pack(&model, self.packing, &Notes::default())?))
    }

    fn bytes(&self, choice: &[usize]) -> Result<usize> {
        Ok(self.blob(choice)?.bytes().len())
    }

    fn trial(&self, choice: &[usize]) -> Result<Trial> {
        let blob = self.blob(choice)?;
        let Evaluation { accuracy, rmse, .. } = evaluate(&blob, self.data, None, self.progress)?;
        let cost = match (self.float, figure(accuracy, rmse)?) {
            (Figure::Accuracy(float), Figure::Accuracy(found)) => 100.0 * (float - found),
            (Figure::Rmse(float), Figure::Rmse(found)) => 100.0 * (found / float - 1.0),
            _ => bail!("the float model and the blob answer in different ways"),
        };
        let weights = self.layers(choice).iter().map(|layer| layer.weights).collect();
        Ok(Trial { weights, bytes: blob.bytes().len(), cost })
    }

    /// Tries all combinations from the smallest up, until one is good enough.
    fn by_size(&self, budget: f64) -> Result<Vec<(Choice, Trial)>> {
        let mut all = vec![Choice::new()];
        for variants in &self.variants {
            all = all
                .iter()
                .flat_map(|choice| (0..variants.len()).map(move |k| [&choice[..], &[k]].concat()))
                .collect();
        }
        let mut sized: Vec<(usize, Choice)> =
            all.into_iter().map(|c| Ok((self.bytes(&c)?, c))).collect::<Result<_>>()?;
        sized.sort();
        let mut trials = Vec::new();
        for (_, choice) in sized {
            let trial = self.trial(&choice)?;
            let done = trial.cost <= budget;
            trials.push((choice, trial));
            if done {
                break;
            }
        }
        Ok(trials)
    }

    /// Widens the layer that gains most for its bytes, until it is good enough.
    fn by_widening(&self, budget: f64) -> Result<Vec<(Choice, Trial)>> {
        let mut choice = self.narrowest();
        let mut trials = vec![(choice.clone(), self.trial(&choice)?)];
        loop {
            let before = trials[trials.len() - 1].1.clone();
            if before.cost <= budget {
                return Ok(trials);
            }
            let mut best: Option<(f64, Choice, Trial)> = None;
            for (index, variants) in self.variants.iter().enumerate() {
                let mut wider = choice.clone();
                wider[index] += 1;
                if wider[index] == variants.len() {
                    continue;
                }
                let trial = self.trial(&wider)?;
                let gain = (before.cost - trial.cost) / (trial.bytes - before.bytes).max(1) as f64;
                if best.as_ref().is_none_or(|(most, ..)| gain > *most) {
                    best = Some((gain, wider, trial));
                }
            }
            let Some((_, wider, trial)) = best else { return Ok(trials) };
            choice.clone_from(&wider);
            trials.push((wider, trial));
        }
    }
}

fn figure(accuracy: Option<f64>, rmse: Option<f64>) -> Result<Figure> {
    match (accuracy, rmse) {
        (Some(accuracy), _) => Ok(Figure::Accuracy(accuracy)),
        (None, Some(rmse)) => Ok(Figure::Rmse(rmse)),
        (None, None) => {
            bail!("the right answers are missing: a budget needs data with an array `y`")
        }
    }
}
