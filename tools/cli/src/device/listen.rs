//! A recording on a board: front-end, network and trigger, compared with the host's bit for bit.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use gatelet::Model;
use serde::Serialize;

use super::Board;
use crate::audio;

/// What a board heard.
#[derive(Clone, Debug, Serialize)]
pub struct Heard {
    /// Name of the board.
    pub board: &'static str,
    /// Frames of the recording.
    pub frames: usize,
    /// True if features, outputs and events of every frame equal the host's.
    pub bit_exact: bool,
    /// Events, which are the host's if that is so.
    pub events: Vec<audio::Event>,
    /// Instructions of the costliest frame, from samples to decision.
    pub instructions_per_frame: u32,
    /// Instructions of a second of sound, at that cost.
    pub instructions_per_second: u64,
    /// Bytes of the whole firmware in flash, blob and test rig included.
    pub flash_bytes: u64,
    /// Bytes of the whole firmware in RAM: static variables and the stack at its deepest.
    pub ram_bytes: u64,
    /// First frame that differs from the host's.
    #[serde(skip)]
    pub first_difference: Option<usize>,
    /// How the engine can come to panic, if it can: names of functions, each calling the next.
    #[serde(skip)]
    pub panic_path: Option<Vec<String>>,
}

/// Lets `board` hear `pcm` with the blob in the file `blob`, which is `model`.
///
/// # Errors
/// If the model does not hear, or the firmware cannot be built or run; the message says why.
pub fn listen(board: &Board, blob: &Path, model: Model<'_>, pcm: &[i16]) -> Result<Heard> {
    let host = audio::listen(model, std::iter::once(Ok(pcm.to_vec())), |_| {})?;
    let firmware = board.build_listener(blob, model)?;
    let mut input = (pcm.len() as u32).to_le_bytes().to_vec();
    input.extend(pcm.iter().flat_map(|sample| sample.to_le_bytes()));
    let answer = board.run(&firmware, &input)?;

    let settings = model.audio().context("the model has no audio settings")?;
    let mut heard = Heard {
        board: board.name,
        frames: host.frames,
        bit_exact: true,
        events: host.events.clone(),
        instructions_per_frame: 0,
        instructions_per_second: 0,
        flash_bytes: firmware.elf.flash,
        ram_bytes: 0,
        first_difference: None,
        panic_path: firmware.elf.panic_path()?,
    };
    let mut events = host.events.iter().peekable();
    let record = 2 * (model.inputs() + model.outputs() + 1);
    let mut records = answer.chunks_exact(record + 8);
    let features = host.features.chunks_exact(model.inputs());
    let outputs = host.outputs.chunks_exact(model.outputs());
    for (frame, (features, outputs)) in features.zip(outputs).enumerate() {
        let event = events.next_if(|event| event.frame as usize == frame);
        let event = event.map_or(0, |event| event.output as i16 + 1);
        let expected: Vec<u8> = features
            .iter()
            .chain(outputs)
            .chain([&event])
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let (found, cost) = records
            .next()
            .and_then(|found| found.split_at_checked(record))
            .and_then(|(found, cost)| Some((found, <[u8; 8]>::try_from(cost).ok()?)))
            .with_context(|| format!("{} answered only up to frame {frame}", board.name))?;
        if found != expected {
            heard.bit_exact = false;
            heard.first_difference.get_or_insert(frame);
        }
        let [i0, i1, i2, i3, s0, s1, s2, s3] = cost;
        let instructions = u32::from_le_bytes([i0, i1, i2, i3]);
        heard.instructions_per_frame = heard.instructions_per_frame.max(instructions);
        let stack = u64::from(u32::from_le_bytes([s0, s1, s2, s3]));
        heard.ram_bytes = heard.ram_bytes.max(firmware.elf.statics + stack);
    }
    ensure!(records.next().is_none(), "{} answered more than it was asked", board.name);
    let frames_per_second = f64::from(settings.rate()) / settings.hop() as f64;
    heard.instructions_per_second =
        (f64::from(heard.instructions_per_frame) * frames_per_second) as u64;
    Ok(heard)
}
