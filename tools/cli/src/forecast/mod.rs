//! Forecasts of a series as the chip makes them, and what they are worth: over the end of the series,
//! from every step, beside the float model, the last season repeated, and a linear autoregression.

pub mod anomaly;
mod baseline;
mod plot;
mod series;

use anyhow::{Result, bail, ensure};
use gatelet::decode::{Detector, Forecaster};
use gatelet::{Activation, LayerKind, Model, Stream};
use serde::Serialize;

pub use plot::plot;
pub use series::Series;

use crate::graph::Graph;
use crate::host::{self, Blob};
use crate::reference::Walk;
use baseline::{Errors, Linear, filled, naive_error, season, seasonal_naive};

/// Most features of a model that forecasts.
const MOST_INPUTS: usize = 256;
type Online<'a, 'm> = Forecaster<'a, 'm, MOST_INPUTS>;

/// What to forecast, and what to measure it on.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Steps ahead.
    pub horizon: usize,
    /// Steps of a season; found in the series if not given.
    pub season: Option<usize>,
    /// Steps at the end of the series to measure on; a fifth of it if not given.
    pub test: Option<usize>,
}

/// How good one method's forecasts are.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// `integer`, `float`, `seasonal-naive` or `linear`.
    pub method: &'static str,
    /// Mean absolute scaled error over the whole horizon; absent where the last season repeated made
    /// no error at all.
    pub mase: Option<f64>,
    /// The same of the first step alone.
    pub mase_first_step: Option<f64>,
    /// Symmetric mean absolute percentage error, 0 to 200.
    pub smape: f64,
}

/// One of the series that a model forecasts.
#[derive(Clone, Debug, Serialize)]
pub struct Channel {
    /// The feature's name.
    pub name: String,
    /// Steps of a season.
    pub season: usize,
    /// Lags of the linear autoregression.
    pub lags: usize,
    /// Method by method.
    pub figures: Vec<Figures>,
    /// The steps after the end of the series.
    pub forecast: Vec<f64>,
    /// What is known of it, up to its end.
    #[serde(skip)]
    pub values: Vec<f64>,
    /// Forecasts within it, for the plot.
    #[serde(skip)]
    pub shown: Vec<Shown>,
}

/// A forecast within the series.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its first step.
    pub start: usize,
    /// Of the integer model.
    pub integer: Vec<f64>,
    /// Of the last season repeated.
    pub naive: Vec<f64>,
}

/// What became of one series.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The series.
    pub series: String,
    /// Its steps.
    pub steps: usize,
    /// Values that were missing, and that the model replaced by its own.
    pub missing: usize,
    /// Steps measured on.
    pub test_steps: usize,
    /// Steps that a forecast was made from.
    pub origins: usize,
    /// Feature by feature.
    pub channels: Vec<Channel>,
    /// Steps at which the alarm was on, if the blob says when it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarms: Option<Vec<usize>>,
}

/// Refuses a model that is no forecaster: one whose outputs are not the next values of its inputs.
///
/// # Errors
/// Says what the model is, and which command takes it.
pub fn expect_forecaster(model: &Model<'_>) -> Result<()> {
    let kind = if model.encoder() > 0 {
        "an encoder-decoder: try `gatelet generate` or `gatelet run`"
    } else if model.tokens() > 0 {
        "over tokens: try `gatelet classify` or `gatelet generate`"
    } else if model.audio().is_some() {
        "one that hears: try `gatelet listen`"
    } else if model.steps() > 0 {
        "bidirectional, so it needs the future too: try `gatelet run`, or train it without the layers \
         that run backwards"
    } else if model.outputs() > model.inputs() {
        "of more outputs than inputs, and each must be the next value of one of them: try `gatelet run`"
    } else if gives_classes(model) {
        "a classifier: try `gatelet eval` or `gatelet run`"
    } else {
        return Ok(());
    };
    bail!("the model does not forecast; it is {kind}")
}

/// Whether the outputs are probabilities of classes.
fn gives_classes(model: &Model<'_>) -> bool {
    let last = model.depth().checked_sub(1).and_then(|index| model.layer(index));
    last.is_some_and(|layer| layer.kind() == LayerKind::Dense(Activation::Softmax))
}

/// Forecasts `series` by the blob, and by the float model if there is one.
///
/// # Errors
/// If the model is no forecaster, or the series too short.
pub fn forecast(
    blob: &Blob,
    float: Option<&Graph>,
    series: &Series,
    options: Options,
) -> Result<Outcome> {
    let model = blob.model()?;
    expect_forecaster(&model)?;
    let outputs = model.outputs();
    if let Some(graph) = float {
        ensure!(
            (graph.inputs(), graph.outputs()) == (model.inputs(), outputs),
            "the float model is {} -> {}, the blob {} -> {outputs}: give the model it was made from",
            graph.inputs(),
            graph.outputs(),
            model.inputs()
        );
    }
    let is_known = |row: &Vec<f64>| row[..outputs.min(row.len())].iter().any(|v| v.is_finite());
    let steps = series.rows.iter().rposition(is_known).map_or(0, |last| last + 1);
    let horizon = options.horizon;
    let test = options.test.unwrap_or((steps / 5).max(horizon));
    ensure!(
        test >= horizon && steps >= 2 * test.max(4),
        "the series {} has {steps} steps: too few to measure forecasts of {horizon} steps on {test}; \
         give a longer one, or a shorter --horizon or --test",
        series.name
    );
    let train = steps - test;
    let mut memory = vec![0; model.memory_words()];
    let mut spare = memory.clone();
    let mut integer = Integer::new(model, series, &mut memory, &mut spare)?;
    let mut exact = float.map(|graph| Float::new(graph, series));
    let mut detector = match model.anomaly() {
        Some(_) => Some((Detector::<MOST_INPUTS>::new(&model)?, Vec::new())),
        None => None,
    };
    let mut channels: Vec<Backtest> =
        (0..outputs).map(|k| Backtest::new(series, k, steps, train, options.season)).collect();

    let mut origins = 0;
    for step in 0..steps {
        if let Some((detector, alarms)) = &mut detector
            && detector.update(&integer.online, integer.row(step)).alarm
        {
            alarms.push(step);
        }
        integer.update(step)?;
        if let Some(exact) = &mut exact {
            exact.update(step);
        }
        let start = step + 1;
        if start >= train && start + horizon <= steps {
            origins += 1;
            let found = integer.ahead(start, horizon)?;
            let exact = exact.as_ref().map(|exact| exact.ahead(start, horizon));
            for (k, channel) in channels.iter_mut().enumerate() {
                let of = |all: &[Vec<f64>]| all.iter().map(|y| y[k]).collect();
                channel.measure(start, of(&found), exact.as_deref().map(of));
            }
        }
    }
    // What the future's covariates are not given for is as a season ago.
    let period = channels.iter().map(|channel| channel.season).max().unwrap_or(1);
    integer.extend(steps, horizon, period);
    let future = integer.ahead(steps, horizon)?;
    Ok(Outcome {
        series: series.name.clone(),
        steps,
        missing: channels.iter().flat_map(|c| &c.values).filter(|v| v.is_nan()).count(),
        test_steps: test,
        origins,
        channels: channels
            .into_iter()
            .enumerate()
            .map(|(k, channel)| channel.finish(future.iter().map(|y| y[k]).collect()))
            .collect(),
        alarms: detector.map(|(_, alarms)| alarms),
    })
}

/// The integer model at a series.
struct Integer<'a, 'm> {
    online: Online<'a, 'm>,
    spare: &'m mut [u32],
    /// `[steps][inputs]`.
    rows: Vec<Vec<i16>>,
}

impl<'a, 'm> Integer<'a, 'm> {
    fn new(
        model: Model<'a>,
        series: &Series,
        memory: &'m mut [u32],
        spare: &'m mut [u32],
    ) -> Result<Self> {
        ensure!(
            model.outputs() <= model.inputs() && model.inputs() <= MOST_INPUTS,
            "the model gives {} values for {} features: a forecaster's output k is the next value of feature k, \
             of at most {MOST_INPUTS} features",
            model.outputs(),
            model.inputs()
        );
        let online = Online::new(Stream::new(model, memory)?)?;
        let quantize = |row: &Vec<f64>| {
            let row: Vec<f32> = row.iter().map(|v| *v as f32).collect();
            let mut x = vec![0; row.len()];
            online.quantize(&row, &mut x);
            x
        };
        let rows = series.rows.iter().map(quantize).collect();
        Ok(Self { online, spare, rows })
    }

    fn row(&self, step: usize) -> &[i16] {
        &self.rows[step]
    }

    fn update(&mut self, step: usize) -> Result<()> {
        self.online.update(&self.rows[step])?;
        Ok(())
    }

    /// Makes sure that there are rows, if only of covariates, up to `horizon` steps after `steps`.
    fn extend(&mut self, steps: usize, horizon: usize, period: usize) {
        for step in self.rows.len()..steps + horizon {
            self.rows.push(self.rows[step.saturating_sub(period)].clone());
        }
    }

    /// Forecasts of the `horizon` steps from `start` on, `[horizon][outputs]`.
    fn ahead(&mut self, start: usize, horizon: usize) -> Result<Vec<Vec<f64>>> {
        let model = self.online.model();
        let known = &self.rows[start..start + horizon];
        let covariates: Vec<i16> =
            known.iter().flat_map(|row| &row[model.outputs()..]).copied().collect();
        let mut raw = vec![0; horizon * model.outputs()];
        self.online.ahead(&covariates, self.spare, &mut raw)?;
        let y = host::dequantize(&model, &raw);
        Ok(y.chunks_exact(model.outputs()).map(<[f64]>::to_vec).collect())
    }
}

/// The float model at a series: the same rules, in floats.
struct Float<'a> {
    walk: Walk<'a>,
    rows: &'a [Vec<f64>],
    /// The next input if nothing of it is known.
    expected: Vec<f64>,
    output: Vec<f64>,
}

impl<'a> Float<'a> {
    fn new(graph: &'a Graph, series: &'a Series) -> Self {
        // Where the integer model starts from the middle of the range, this one does from the first
        // value that is known.
        let first = |k: usize| series.rows.iter().map(|row| row[k]).find(|v| v.is_finite());
        let expected = (0..graph.inputs()).map(|k| first(k).unwrap_or(0.0)).collect();
        Self { walk: Walk::new(graph), rows: &series.rows, expected, output: Vec::new() }
    }

    fn update(&mut self, step: usize) {
        let row = self.rows[step].iter().zip(&mut self.expected);
        row.filter(|(x, _)| x.is_finite()).for_each(|(x, expected)| *expected = *x);
        self.output = self.walk.step(&self.expected);
        self.expected[..self.output.len()].copy_from_slice(&self.output);
    }

    fn ahead(&self, start: usize, horizon: usize) -> Vec<Vec<f64>> {
        let mut walk = self.walk.clone();
        let mut x = self.expected.clone();
        let mut forecasts = vec![self.output.clone()];
        for row in &self.rows[start..start + horizon - 1] {
            let outputs = self.output.len();
            let covariates = row[outputs..].iter().zip(&mut x[outputs..]);
            covariates.filter(|(v, _)| v.is_finite()).for_each(|(v, x)| *x = *v);
            let y = walk.step(&x);
            x[..outputs].copy_from_slice(&y);
            forecasts.push(y);
        }
        forecasts
    }
}

/// One feature's forecasts, method by method.
struct Backtest {
    name: String,
    season: usize,
    values: Vec<f64>,
    filled: Vec<f64>,
    linear: Linear,
    naive_error: f64,
    integer: Errors,
    float: Option<Errors>,
    naive: Errors,
    autoregression: Errors,
    shown: Vec<Shown>,
}

impl Backtest {
    fn new(
        series: &Series,
        index: usize,
        steps: usize,
        train: usize,
        period: Option<usize>,
    ) -> Self {
        let mut values = series.feature(index);
        values.truncate(steps);
        let season = period.unwrap_or_else(|| season(&values[..train])).min(train / 2).max(1);
        Self {
            name: series.features[index].clone(),
            season,
            filled: filled(&values, season),
            linear: Linear::fit(&values[..train], season),
            naive_error: naive_error(&values[..train], season),
            values,
            integer: Errors::default(),
            float: None,
            naive: Errors::default(),
            autoregression: Errors::default(),
            shown: Vec::new(),
        }
    }

    fn measure(&mut self, start: usize, integer: Vec<f64>, float: Option<Vec<f64>>) {
        let horizon = integer.len();
        let truth = &self.values[start..start + horizon];
        let history = &self.filled[..start];
        let naive = seasonal_naive(history, self.season, horizon);
        self.integer.add(truth, &integer);
        if let Some(float) = float {
            self.float.get_or_insert_default().add(truth, &float);
        }
        self.naive.add(truth, &naive);
        self.autoregression.add(truth, &self.linear.forecast(history, horizon));
        // End to end, up to the end of the series.
        if (self.values.len() - start).is_multiple_of(horizon) {
            self.shown.push(Shown { start, integer, naive });
        }
    }

    fn finish(self, forecast: Vec<f64>) -> Channel {
        let figures = |method, errors: &Errors| Figures {
            method,
            mase: errors.mase(self.naive_error),
            mase_first_step: errors.mase_first(self.naive_error),
            smape: errors.smape(),
        };
        let mut all = vec![figures("integer", &self.integer)];
        all.extend(self.float.iter().map(|errors| figures("float", errors)));
        all.push(figures("seasonal-naive", &self.naive));
        all.push(figures("linear", &self.autoregression));
        Channel {
            name: self.name,
            season: self.season,
            lags: self.linear.lags(),
            figures: all,
            forecast,
            values: self.values,
            shown: self.shown,
        }
    }
}
