//! A recording through front-end, network and trigger, as the chip hears it.

use anyhow::{Context, Result, ensure};
use gatelet::Model;
use gatelet::audio::Listener;
use gatelet::blob::format::trigger::MAX_WINDOW;
use serde::Serialize;

/// Most outputs that the host listens to.
const MAX_OUTPUTS: usize = 256;

/// A keyword in a recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Seconds from the start to the end of the frame in which it fired.
    pub seconds: f64,
    /// Number of that frame.
    pub frame: u32,
    /// Name of the output, or its number.
    pub label: String,
    /// Number of the output.
    pub output: usize,
    /// Its smoothed probability.
    pub score: f64,
}

/// All that was heard, for a picture.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Features, `[frames][features]`.
    pub features: Vec<i16>,
    /// Outputs, `[frames][outputs]`.
    pub outputs: Vec<i16>,
    /// Events in order.
    pub events: Vec<Event>,
    /// Frames heard.
    pub frames: usize,
    /// Samples heard.
    pub samples: usize,
}

/// Hears chunks of samples until there are no more; says every event as it happens.
///
/// # Errors
/// If the blob does not hear, or a chunk cannot be read.
pub fn listen(
    model: Model<'_>,
    chunks: impl Iterator<Item = Result<Vec<i16>>>,
    mut say: impl FnMut(&Event),
) -> Result<Recording> {
    let settings = model.audio().context(
        "the model has no audio settings: quantize it with --audio SETTINGS.toml to listen",
    )?;
    ensure!(
        model.trigger().is_some(),
        "the model has no trigger settings: quantize it with --trigger SETTINGS.toml to listen"
    );
    let mut memory = vec![0; Listener::<MAX_OUTPUTS, MAX_WINDOW>::words(&model)];
    let mut listener =
        Box::new(Listener::<MAX_OUTPUTS, MAX_WINDOW>::new(model, &mut memory).with_context(
            || format!("a model of {} outputs: `listen` takes {MAX_OUTPUTS}", model.outputs()),
        )?);
    let labels: Vec<&str> = model.labels().collect();
    let mut recording = Recording::default();
    for chunk in chunks {
        let chunk = chunk?;
        recording.samples += chunk.len();
        let mut pcm = &chunk[..];
        while let Some(heard) = listener.next_frame(&mut pcm) {
            recording.features.extend_from_slice(heard.features);
            recording.outputs.extend_from_slice(heard.outputs);
            recording.frames += 1;
            let Some(event) = heard.event else { continue };
            let end = event.frame as usize * settings.hop() + settings.window();
            let event = Event {
                frame: event.frame,
                seconds: end as f64 / f64::from(settings.rate()),
                label: labels.get(event.output).map_or(event.output.to_string(), |l| l.to_string()),
                output: event.output,
                score: f64::from(event.score) / 32768.0,
            };
            say(&event);
            recording.events.push(event);
        }
    }
    Ok(recording)
}
