//! Tells samples that no one could expect: the residual of a forecast, beside its usual size.
//!
//! For every output, `r = |x − expected|` in units of the input, and a running mean of it that single
//! wild values hardly move (an exponential average of Huber's clipped residual, Robust Statistics,
//! 1981):
//!
//! ```text
//! scale += (min(r, 4 scale) − scale) / 2^rate
//! score  = r / scale
//! ```
//!
//! The score of a sample is its largest. The alarm goes on after `raise` scored samples in a row at or
//! above the threshold, and off after `clear` in a row below it. For residuals of a normal
//! distribution the scale is near 0.8 standard deviations.
//!
//! A scale has 15 fractional bits and is at least the eighth of what it started with, so that a
//! series that stood still for long does not make every move an alarm; a score has 8.

use crate::decode::forecast::{Forecaster, MISSING};
use crate::error::Error;
use crate::model::Model;

/// Fractional bits of a scale.
pub const SCALE_BITS: u32 = 15;
/// Fractional bits of a score.
pub const SCORE_BITS: u32 = 8;
/// The smallest scale: one unit of the input.
pub const LEAST_SCALE: u32 = 1 << SCALE_BITS;
/// The largest scale: nothing that 16 bits hold differs by more.
pub const MOST_SCALE: u32 = 1 << (SCALE_BITS + 16);

/// When to raise the alarm: the blob's `anomaly` section, but for the scales to start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Settings {
    /// Score from which on a sample is an anomaly, in units of 2^-8; above 0.
    pub threshold: u16,
    /// Samples after a start that get no score: the network knows too little yet.
    pub warmup: u16,
    /// The running mean follows over about `2^rate` samples; 1 to 12.
    pub rate: u8,
    /// Anomalies in a row that raise the alarm; above 0.
    pub raise: u8,
    /// Other samples in a row that end it; above 0.
    pub clear: u8,
}

/// What a sample is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Verdict {
    /// How many times its usual size the forecast's error was, in units of 2^-8, saturated; `None`
    /// during the warm-up and where all is missing.
    pub score: Option<u16>,
    /// Whether the alarm is on.
    pub alarm: bool,
}

/// Scores the samples of one stream. `N` is at least the model's outputs.
///
/// ```
/// # fn demo(mut forecaster: gatelet::decode::Forecaster<'_, '_, 4>) -> Result<(), gatelet::Error> {
/// # let samples = [[0i16; 4]; 1];
/// use gatelet::decode::Detector;
/// let mut detector = Detector::<2>::new(&forecaster.model())?;
/// for x in samples {
///     let verdict = detector.update(&forecaster, &x); // before the forecaster sees it
///     if verdict.alarm { /* … */ }
///     forecaster.update(&x)?;
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Detector<const N: usize> {
    settings: Settings,
    channels: [Channel; N],
    /// Channels that there are.
    outputs: usize,
    /// Samples seen, up to the warm-up.
    seen: u16,
    /// Samples in a row that speak against what the alarm says.
    against: u8,
    alarm: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Channel {
    scale: u32,
    least: u32,
}

impl Channel {
    fn new(scale: u32) -> Self {
        Self { scale, least: (scale / 8).max(LEAST_SCALE) }
    }

    /// Scores a residual, and learns its size.
    fn update(&mut self, residual: u32, rate: u8) -> u32 {
        let residual = residual << SCALE_BITS;
        let score = residual / (self.scale >> SCORE_BITS).max(1);
        // Four times a scale beyond 2^29 is more than any residual.
        let clipped = residual.min(self.scale.min(1 << 29) << 2);
        let change = (clipped as i32).wrapping_sub(self.scale as i32) >> rate.min(12);
        // `clamp` would want to be sure that its ends are in order.
        self.scale = self.scale.wrapping_add_signed(change).max(self.least).min(MOST_SCALE - 1);
        score
    }
}

impl<const N: usize> Detector<N> {
    /// With the settings of the model's blob, and the scales that its calibration found.
    ///
    /// # Errors
    /// [`Error::Header`] if the blob has no settings (`gatelet quantize --anomaly` stores them),
    /// [`Error::Memory`] if `N` is less than the model's outputs.
    pub fn new(model: &Model<'_>) -> Result<Self, Error> {
        let Some((settings, scales)) = model.anomaly() else {
            return Err(Error::Header { field: "anomaly" });
        };
        Self::with(settings, scales)
    }

    /// With these settings; `scales` are the usual residuals of the outputs to start with, in units
    /// of the input with 15 fractional bits. Out of their ranges, both are brought into them.
    ///
    /// # Errors
    /// [`Error::Memory`] if `N` is less than there are scales.
    pub fn with(
        settings: Settings,
        scales: impl ExactSizeIterator<Item = u32>,
    ) -> Result<Self, Error> {
        let outputs = scales.len();
        if outputs > N {
            return Err(Error::Memory { needed: outputs, given: N });
        }
        let mut channels = [Channel::default(); N];
        for (channel, scale) in channels.iter_mut().zip(scales) {
            *channel = Channel::new(scale.clamp(LEAST_SCALE, MOST_SCALE - 1));
        }
        Ok(Self { settings, channels, outputs, seen: 0, against: 0, alarm: false })
    }

    /// Judges the sample `x` that `forecaster` is about to take.
    pub fn update<const M: usize>(
        &mut self,
        forecaster: &Forecaster<'_, '_, M>,
        x: &[i16],
    ) -> Verdict {
        self.judge(forecaster.expected(), x)
    }

    /// Judges a sample by what was expected, both in units of the inputs.
    fn judge(&mut self, expected: &[i16], x: &[i16]) -> Verdict {
        if self.seen < self.settings.warmup {
            self.seen += 1;
            return Verdict { score: None, alarm: self.alarm };
        }
        let mut score = None;
        let samples = x.iter().zip(expected).take(self.outputs);
        for (channel, (x, expected)) in self.channels.iter_mut().zip(samples) {
            if *x != MISSING {
                let residual = i32::from(*x).wrapping_sub(i32::from(*expected)).unsigned_abs();
                let found = channel.update(residual, self.settings.rate);
                score = score.max(Some(found.min(u16::MAX.into()) as u16));
            }
        }
        if let Some(score) = score {
            self.count(score >= self.settings.threshold);
        }
        Verdict { score, alarm: self.alarm }
    }

    fn count(&mut self, is_anomaly: bool) {
        if is_anomaly == self.alarm {
            self.against = 0;
            return;
        }
        self.against = self.against.saturating_add(1);
        let enough = if self.alarm { self.settings.clear } else { self.settings.raise };
        if self.against >= enough {
            self.alarm = is_anomaly;
            self.against = 0;
        }
    }

    /// The usual residual of every output now, as [`with`](Self::with) takes them.
    pub fn scales(&self) -> impl ExactSizeIterator<Item = u32> {
        self.channels.iter().take(self.outputs).map(|channel| channel.scale)
    }

    /// The settings.
    pub fn settings(&self) -> Settings {
        self.settings
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    const SETTINGS: Settings =
        Settings { threshold: 5 << 8, warmup: 0, rate: 5, raise: 2, clear: 3 };

    fn detector(settings: Settings, scale: f64) -> Detector<1> {
        let scale = (scale * f64::from(LEAST_SCALE)) as u32;
        Detector::with(settings, [scale].into_iter()).unwrap()
    }

    /// Residuals that look random: uniform in ±`limit`, so 0.5 `limit` on average.
    fn noise(limit: i16) -> impl Iterator<Item = i16> {
        let mut state = 1u32;
        core::iter::repeat_with(move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((i64::from(state) * i64::from(2 * i32::from(limit) + 1)) >> 32) as i16 - limit
        })
    }

    fn scale(detector: &Detector<1>) -> f64 {
        f64::from(detector.scales().next().unwrap()) / f64::from(LEAST_SCALE)
    }

    /// The formulas of the module, in floats.
    #[test]
    fn it_follows_the_float_reference() {
        let mut detector = detector(SETTINGS, 300.0);
        let mut exact = 300.0f64;
        for (n, x) in noise(1000).take(5000).enumerate() {
            // Every 50th is wild.
            let x = if n % 50 == 49 { 30_000 } else { x };
            let residual = f64::from(x).abs();
            let verdict = detector.judge(&[0], &[x]);
            let score = f64::from(verdict.score.unwrap()) / 256.0;
            assert!((score - residual / exact).abs() <= 0.02 + 0.01 * score, "{n}: {score}");
            exact += (residual.min(4.0 * exact) - exact) / 32.0;
            assert!((scale(&detector) - exact).abs() < 0.01 * exact, "{n}");
        }
    }

    #[test]
    fn it_learns_another_scale() {
        let mut detector = detector(SETTINGS, 10.0);
        noise(2000).take(300).for_each(|x| _ = detector.judge(&[0], &[x]));
        assert!((800.0..1200.0).contains(&scale(&detector)), "{}", scale(&detector));
        noise(20).take(400).for_each(|x| _ = detector.judge(&[0], &[x]));
        assert!((8.0..12.0).contains(&scale(&detector)), "{}", scale(&detector));
    }

    #[test]
    fn one_spike_is_no_alarm_and_moves_little() {
        let mut detector = detector(SETTINGS, 100.0);
        let verdict = detector.judge(&[-32_767], &[32_767]);
        assert_eq!(verdict, Verdict { score: Some(u16::MAX), alarm: false });
        assert!(scale(&detector) < 110.0);
    }

    #[test]
    fn alarms_come_and_go_after_so_many_in_a_row() {
        let mut detector = detector(SETTINGS, 100.0);
        let high = 5000;
        let alarms: Vec<bool> = [0, high, 0, high, high, high, 0, 0, high, 0, MISSING, 0, 0, 0]
            .iter()
            .map(|x| detector.judge(&[0], &[*x]).alarm)
            .collect();
        let expected = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0].map(|on| on == 1);
        assert_eq!(alarms, expected);
    }

    #[test]
    fn what_stands_still_keeps_a_scale() {
        let mut detector = detector(SETTINGS, 80.0);
        (0..10_000).for_each(|_| _ = detector.judge(&[7], &[7]));
        assert_eq!(scale(&detector), 10.0);
        let mut finest = Detector::<1>::with(SETTINGS, [0].into_iter()).unwrap();
        (0..10_000).for_each(|_| _ = finest.judge(&[7], &[7]));
        assert_eq!(scale(&finest), 1.0);
    }

    #[test]
    fn the_largest_and_the_least_saturate() {
        for rate in [0, 1, 12, 255] {
            let settings = Settings { rate, ..SETTINGS };
            let mut detector = Detector::<1>::with(settings, [u32::MAX].into_iter()).unwrap();
            for x in [32_767, -32_767, 0].into_iter().cycle().take(1000) {
                detector.judge(&[-32_767], &[x]).score.unwrap();
                let scale = detector.scales().next().unwrap();
                assert!((LEAST_SCALE..MOST_SCALE).contains(&scale));
            }
        }
    }

    #[test]
    fn nothing_is_judged_before_its_time() {
        let mut detector = detector(Settings { warmup: 3, ..SETTINGS }, 1.0);
        for _ in 0..3 {
            assert_eq!(detector.judge(&[0], &[30_000]), Verdict::default());
        }
        assert!(detector.judge(&[0], &[30_000]).score.is_some());
        assert_eq!(detector.judge(&[0], &[MISSING]).score, None);
    }
}
