//! Settings of the keyword trigger, as people write them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use gatelet::blob::format::trigger as field;
use gatelet::decode::trigger;
use serde::Deserialize;

/// When a score is an event, as in a TOML file:
///
/// ```toml
/// window = 6              # frames that a score is the mean of
/// threshold = 0.6         # score of an event
/// hysteresis = 0.2        # how far the score falls before the same keyword can fire again
/// refractory = 20         # frames without events after one
/// none = ["none"]         # labels that are no keywords
/// [thresholds]            # of single keywords
/// five = 0.7
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trigger {
    window: u16,
    threshold: f64,
    hysteresis: f64,
    refractory: u16,
    none: Vec<String>,
    thresholds: BTreeMap<String, f64>,
}

impl Default for Trigger {
    fn default() -> Self {
        Self {
            window: 6,
            threshold: 0.6,
            hysteresis: 0.2,
            refractory: 20,
            none: Vec::new(),
            thresholds: BTreeMap::new(),
        }
    }
}

impl Trigger {
    /// Reads a TOML file; what it does not say keeps its default.
    ///
    /// # Errors
    /// If it is missing or says something else than settings.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))
    }

    /// The section of a blob whose outputs have these labels.
    ///
    /// # Errors
    /// If a setting is out of its range, or names what is no label.
    pub fn section(&self, labels: &[String]) -> Result<Vec<u8>> {
        ensure!(!labels.is_empty(), "a trigger needs the names of the outputs: add --labels FILE");
        for name in self.none.iter().chain(self.thresholds.keys()) {
            ensure!(labels.contains(name), "the trigger names `{name}`, which is no label");
        }
        ensure!(
            (1..=field::MAX_WINDOW as u16).contains(&self.window),
            "a window of {} frames: it must be 1 to {}",
            self.window,
            field::MAX_WINDOW
        );
        let q15 = |name: &str, share: f64| -> Result<u16> {
            ensure!((0.0..=1.0).contains(&share), "{name} of {share}: it must be 0 to 1");
            Ok(libm::round(share * 32768.0) as u16)
        };
        let mut section = Vec::new();
        section.extend(self.window.to_le_bytes());
        section.extend(self.refractory.to_le_bytes());
        section.extend(q15("a hysteresis", self.hysteresis)?.to_le_bytes());
        for label in labels {
            let threshold = match self.thresholds.get(label).unwrap_or(&self.threshold) {
                _ if self.none.contains(label) => 0,
                share => q15("a threshold", *share)?.max(1),
            };
            section.extend(threshold.to_le_bytes());
        }
        trigger::Settings::from_bytes(&section).context("the trigger refuses the settings")?;
        Ok(section)
    }
}
