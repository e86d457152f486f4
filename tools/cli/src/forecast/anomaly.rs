//! The settings of an anomaly detector, and what calibration says of usual residuals.

use anyhow::{Context, Result, bail, ensure};
use gatelet::decode::anomaly::{LEAST_SCALE, MOST_SCALE, SCORE_BITS, Settings};
use gatelet::{Model, Stream};

use super::Online;
use crate::data::Sequences;
use crate::host;

/// Reads settings such as `threshold=8,raise=2`; what is not named is as by default.
///
/// # Errors
/// If a name is not known or a number out of its range.
pub fn parse(text: &str) -> Result<Settings> {
    let mut settings =
        Settings { threshold: 8 << SCORE_BITS, warmup: 24, rate: 6, raise: 1, clear: 3 };
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) =
            part.split_once('=').with_context(|| format!("`{part}` is not NAME=NUMBER"))?;
        let number: f64 =
            value.parse().ok().with_context(|| format!("`{value}` is no number, in `{part}`"))?;
        let whole = |least: f64, most: f64| {
            let fits = number.fract() == 0.0 && (least..=most).contains(&number);
            ensure!(fits, "`{name}` is {number}; it must be a whole number, {least} to {most}");
            Ok(number)
        };
        match name {
            "threshold" => {
                let units = number * f64::from(1u32 << SCORE_BITS);
                ensure!(
                    (1.0..=f64::from(u16::MAX)).contains(&units),
                    "`threshold` is {number}; it must be above 0 and below 256"
                );
                settings.threshold = units as u16;
            }
            "warmup" => settings.warmup = whole(0.0, 65_535.0)? as u16,
            "rate" => settings.rate = whole(1.0, 12.0)? as u8,
            "raise" => settings.raise = whole(1.0, 255.0)? as u8,
            "clear" => settings.clear = whole(1.0, 255.0)? as u8,
            _ => bail!("`{name}` is not known; there are threshold, warmup, rate, raise and clear"),
        }
    }
    Ok(settings)
}

/// The `anomaly` section of a blob: the settings, and for every output the scale at which the
/// detector's running mean would stay on `x`.
///
/// # Errors
/// If the model is no forecaster, or `x` too short to see a residual.
pub fn section(model: Model<'_>, x: &Sequences, settings: Settings) -> Result<Vec<u8>> {
    super::expect_forecaster(&model)?;
    let mut residuals = vec![Vec::new(); model.outputs()];
    let mut memory = vec![0; model.memory_words()];
    for sample in 0..x.len() {
        let mut online = Online::new(Stream::new(model, &mut memory)?)?;
        let input = host::quantize(&model, x.sample(sample));
        for (step, x) in input.chunks_exact(model.inputs()).enumerate() {
            // The first step is a guess, whatever the warm-up.
            if step > usize::from(settings.warmup) {
                let both = x.iter().zip(online.expected());
                for (residuals, (x, expected)) in residuals.iter_mut().zip(both) {
                    residuals.push((i32::from(*x) - i32::from(*expected)).unsigned_abs());
                }
            }
            online.update(x)?;
        }
    }
    let mut bytes = settings.threshold.to_le_bytes().to_vec();
    bytes.extend(settings.warmup.to_le_bytes());
    bytes.extend([settings.rate, settings.raise, settings.clear, 0]);
    for residuals in residuals {
        ensure!(
            !residuals.is_empty(),
            "the calibration data has no sequence longer than the {} steps of the anomaly detector's warmup: \
             give longer ones, or a shorter warmup",
            settings.warmup
        );
        let scale = (settled(&residuals) * f64::from(LEAST_SCALE)) as u32;
        bytes.extend(scale.clamp(LEAST_SCALE, MOST_SCALE - 1).to_le_bytes());
    }
    Ok(bytes)
}

/// The mean of residuals clipped at four times itself.
fn settled(residuals: &[u32]) -> f64 {
    let clipped_at = |most: f64| {
        let clipped = residuals.iter().map(|r| f64::from(*r).min(most));
        clipped.sum::<f64>() / residuals.len() as f64
    };
    // It comes down from the plain mean, by less each time.
    (0..100).fold(clipped_at(f64::INFINITY), |scale, _| clipped_at(4.0 * scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wild_residuals_do_not_make_the_scale() {
        assert_eq!(settled(&[10, 10, 10, 10]), 10.0);
        let mut residuals = vec![10; 99];
        residuals.push(60_000);
        // s = (99 · 10 + 4 s) / 100
        assert!((settled(&residuals) - 10.3125).abs() < 1e-6, "{}", settled(&residuals));
        assert_eq!(settled(&[0, 0]), 0.0);
    }

    #[test]
    fn settings_have_names_and_ranges() {
        let settings = parse("threshold=2.5, raise=4,rate=12").unwrap();
        assert_eq!((settings.threshold, settings.raise, settings.rate), (640, 4, 12));
        assert_eq!(settings.clear, parse("").unwrap().clear);
        for (text, part) in [
            ("speed=1", "`speed` is not known"),
            ("raise", "not NAME=NUMBER"),
            ("raise=x", "`x` is no number"),
            ("raise=0", "whole number, 1 to 255"),
            ("raise=1.5", "whole number"),
            ("rate=13", "1 to 12"),
            ("threshold=0", "above 0 and below 256"),
            ("threshold=NaN", "above 0 and below 256"),
            ("threshold=256", "above 0 and below 256"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
