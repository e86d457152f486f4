//! Forecasts of one or several series, updated at every sample.
//!
//! Output `k` of the network is its forecast of input feature `k` at the next step; features beyond
//! the outputs are *covariates*, known in advance, such as the hour of the day. A sample that is
//! missing is replaced by its forecast, and so is every sample of the future: the output goes back to
//! the input.
//!
//! Outputs and inputs are integers of different scales: `y = mean_y + raw × step_y` (the blob's
//! `outputs` section) and `x = mean_x + raw × step_x` (its normalization). From one to the other leads
//!
//! ```text
//! x_raw = (ratio × y_raw + offset + 2^23) >> 24, saturated to ±32767
//! ratio  = truncate(2^24 step_y / step_x)
//! offset = truncate(2^24 (mean_y − mean_x) / step_x)
//! ```
//!
//! `ratio` and `offset` are computed once, in IEEE single precision and then exactly; a step takes
//! integers alone. For a ratio up to 1 it is off by at most 0.51 units of the input, and every board takes
//! the same bits.

use crate::error::Error;
use crate::fixed::saturate_i16;
use crate::model::Model;
use crate::stream::Stream;

/// A sample that is missing. No input is ever this number: they saturate to ±32767.
pub const MISSING: i16 = i16::MIN;

/// Fractional bits of [`Feedback`]'s numbers.
const FRACTION: u32 = 24;
/// Larger offsets than any that a saturated input can show.
const MOST_OFFSET: i64 = 1 << 54;

/// From an output to the input that means the same.
#[derive(Clone, Copy, Debug, Default)]
struct Feedback {
    ratio: i32,
    offset: i64,
}

impl Feedback {
    /// `None` if a unit of the output is more than 127 units of the input: what came back would be
    /// too coarse to be of use.
    fn new((mean_y, step_y): (f32, f32), (mean_x, step_x): (f32, f32)) -> Option<Self> {
        const ONE: f32 = (1 << FRACTION) as f32;
        // `as` saturates, and the difference of two finite numbers is no NaN.
        let ratio = (step_y / step_x * ONE) as i32;
        let offset = ((mean_y - mean_x) / step_x * ONE) as i64;
        let offset = offset.clamp(-MOST_OFFSET, MOST_OFFSET);
        (ratio < 127 << FRACTION).then_some(Self { ratio, offset })
    }

    fn apply(self, y: i16) -> i16 {
        let half = 1 << (FRACTION - 1);
        let x = i64::from(self.ratio) * i64::from(y) + self.offset + half;
        saturate_i16((x >> FRACTION) as i32)
    }
}

/// Forecasts a stream of samples. `N` is at least the model's inputs.
///
/// ```
/// use gatelet::decode::Forecaster;
/// use gatelet::decode::forecast::MISSING;
///
/// gatelet::include_model!(
///     /// A home's power (kW) and voltage (V), hour by hour; sine and cosine of the hour.
///     struct Home,
///     concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/blobs/household_lstm_int8_dsp.gate")
/// );
///
/// let mut net = Home::new();
/// let mut forecaster = Forecaster::<{ Home::INPUTS }>::new(net.stream())?;
/// let mut x = Home::quantize(&[1.4, 241.0, 0.0, 1.0]);
/// forecaster.update(&x)?;
/// x[0] = MISSING; // and [`Forecaster::quantize`] makes it of NaN
/// let next = forecaster.update(&x)?; // of the next hour
/// println!("{:?}", Home::dequantize(next.first_chunk().unwrap()));
///
/// // A day ahead, in memory of its own: the stream does not notice.
/// let mut spare = [0; Home::MEMORY_WORDS];
/// let mut day = [0; 24 * Home::OUTPUTS];
/// forecaster.ahead(&[], &mut spare, &mut day)?;
/// # Ok::<(), gatelet::Error>(())
/// ```
#[derive(Debug)]
pub struct Forecaster<'a, 'm, const N: usize> {
    stream: Stream<'a, 'm>,
    feedback: [Feedback; N],
    /// The next input if nothing of it is known: forecasts, then the latest covariates.
    expected: [i16; N],
    /// The latest output.
    output: [i16; N],
}

impl<'a, 'm, const N: usize> Forecaster<'a, 'm, N> {
    /// Goes on from the state of `stream`. Until the first sample, what is expected is the middle of
    /// each feature's range.
    ///
    /// # Errors
    /// [`Error::Memory`] if `N` is less than the model's inputs, [`Error::Steps`] if a layer of it runs
    /// backwards, [`Error::Shape`] if it has more outputs than inputs, [`Error::Header`] if a unit of an output is more than 127 units of
    /// the input that it is a forecast of.
    pub fn new(stream: Stream<'a, 'm>) -> Result<Self, Error> {
        let model = stream.model();
        let (inputs, outputs) = (model.inputs(), model.outputs());
        if inputs > N {
            return Err(Error::Memory { needed: inputs, given: N });
        }
        if model.steps() > 0 {
            return Err(Error::Steps { most: model.steps() });
        }
        if outputs > inputs {
            return Err(Error::Shape { expected: inputs, found: outputs });
        }
        let mut feedback = [Feedback::default(); N];
        for (index, feedback) in feedback.iter_mut().enumerate().take(outputs) {
            let scalings = (model.output_scaling(index), model.normalization(index));
            let (Some(output), Some(input)) = scalings else {
                return Err(Error::Header { field: "normalization" });
            };
            let Some(found) = Feedback::new(output, input) else {
                return Err(Error::Header { field: "outputs" });
            };
            *feedback = found;
        }
        Ok(Self { stream, feedback, expected: [0; N], output: [0; N] })
    }

    /// The model.
    pub fn model(&self) -> Model<'a> {
        self.stream.model()
    }

    /// Turns measurements into a sample: as [`Model::quantize`], but NaN becomes [`MISSING`].
    pub fn quantize(&self, features: &[f32], x: &mut [i16]) {
        self.model().quantize(features, x);
        for (x, feature) in x.iter_mut().zip(features) {
            if feature.is_nan() {
                *x = MISSING;
            }
        }
    }

    /// What the next sample should be, in units of the inputs: the forecasts, then the latest
    /// covariates.
    pub fn expected(&self) -> &[i16] {
        self.expected.get(..self.model().inputs()).unwrap_or(&[])
    }

    /// The forecast of the next step, as the model gave it.
    pub fn forecast(&self) -> &[i16] {
        self.output.get(..self.model().outputs()).unwrap_or(&[])
    }

    /// Takes the sample of a step, any part of it [`MISSING`], and returns the forecast of the next.
    /// In the place of what is missing go its forecast or, of a covariate, the latest value.
    ///
    /// # Errors
    /// [`Error::Shape`] if `x` does not have the model's inputs.
    pub fn update(&mut self, x: &[i16]) -> Result<&[i16], Error> {
        let inputs = self.model().inputs();
        if x.len() != inputs {
            return Err(Error::Shape { expected: inputs, found: x.len() });
        }
        for (expected, x) in self.expected.iter_mut().zip(x) {
            if *x != MISSING {
                *expected = *x;
            }
        }
        let sample = self.expected.get(..inputs).unwrap_or(&[]);
        let output = self.stream.step(sample)?;
        feed_back(&self.feedback, output, &mut self.expected, &mut self.output);
        Ok(self.forecast())
    }

    /// Forecasts of the next steps, `[steps][outputs]`, the first that of [`forecast`](Self::forecast)
    /// and every other from the one before it. It runs in `spare`, as long as
    /// [`Model::memory_words`]: the stream goes on as if nothing had been asked.
    ///
    /// `covariates`, `[..][inputs − outputs]`, are those of the steps between, from the next on; past
    /// their end, and where [`MISSING`], the latest stay.
    ///
    /// # Errors
    /// [`Error::Memory`] if `spare` is too short, [`Error::Shape`] if `forecasts` or `covariates` do
    /// not hold whole steps.
    pub fn ahead(
        &self,
        covariates: &[i16],
        spare: &mut [u32],
        forecasts: &mut [i16],
    ) -> Result<(), Error> {
        let model = self.model();
        let (inputs, outputs) = (model.inputs(), model.outputs());
        let beside = inputs.saturating_sub(outputs);
        whole_steps(covariates, beside)?;
        whole_steps(forecasts, outputs)?;
        let mut known = covariates.chunks_exact(beside.max(1));
        let mut steps = forecasts.chunks_exact_mut(outputs.max(1));
        let mut stream = Stream::new(model, spare)?;
        stream.restore(self.stream.state())?;
        let (mut x, mut y) = (self.expected, self.output);
        while let Some(step) = steps.next() {
            for (to, y) in step.iter_mut().zip(&y) {
                *to = *y;
            }
            if steps.len() == 0 {
                break;
            }
            let covariates = known.next().unwrap_or(&[]);
            for (x, covariate) in x.iter_mut().skip(outputs).zip(covariates) {
                if *covariate != MISSING {
                    *x = *covariate;
                }
            }
            let output = stream.step(x.get(..inputs).unwrap_or(&[]))?;
            feed_back(&self.feedback, output, &mut x, &mut y);
        }
        Ok(())
    }

    /// Back to the start of a series.
    pub fn reset(&mut self) {
        self.stream.reset();
        self.expected = [0; N];
        self.output = [0; N];
    }
}

/// Refuses values that are not so many a step.
fn whole_steps(values: &[i16], width: usize) -> Result<(), Error> {
    let found = match width {
        0 => values.len(),
        _ => values.chunks_exact(width.max(1)).remainder().len(),
    };
    if found == 0 { Ok(()) } else { Err(Error::Shape { expected: width, found }) }
}

/// Notes an output, and what it means for the next input.
fn feed_back(feedback: &[Feedback], output: &[i16], expected: &mut [i16], noted: &mut [i16]) {
    for (((y, feedback), expected), noted) in output.iter().zip(feedback).zip(expected).zip(noted) {
        *expected = feedback.apply(*y);
        *noted = *y;
    }
}
