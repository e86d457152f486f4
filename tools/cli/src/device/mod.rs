//! A blob on a board: builds the board's firmware around it, runs that in QEMU on real samples, and
//! compares every output and every state with the host's, bit for bit.

mod board;
mod elf;
mod listen;
mod stack;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use gatelet::{Model, Stream};
use serde::Serialize;

use crate::data::Sequences;
use crate::host;

pub use board::{BOARDS, Board, REAL_BOARDS, repository};
pub use listen::{Heard, listen};
pub use stack::{Depth, stack_of};

/// What a run on a board showed.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the board.
    pub board: &'static str,
    /// Samples that were run.
    pub samples: usize,
    /// True if every output and state of every step equals the host's. An encoder's states are
    /// compared when it has read all.
    pub bit_exact: bool,
    /// Instructions of the costliest step, exact; where sequences are read as a whole, of a step
    /// on average; of an encoder-decoder, of the decoder's steps.
    pub instructions_per_step: u32,
    /// Bytes of the engine's code and tables in flash; the blob is not among them.
    pub engine_text_bytes: u64,
    /// Bytes of the engine's RAM: state and scratch.
    pub ram_bytes: usize,
    /// Most bytes of stack that a step used.
    pub stack_bytes: u32,
    /// Instructions of the cheapest step: less than those of the costliest if the input matters.
    #[serde(skip)]
    pub least_instructions: u32,
    /// First sample and step that differ from the host's.
    #[serde(skip)]
    pub first_difference: Option<(usize, usize)>,
    /// How the engine can come to panic, if it can: names of functions, each calling the next.
    #[serde(skip)]
    pub panic_path: Option<Vec<String>>,
}

/// A quantized sequence.
#[derive(Clone, Debug)]
pub struct Sample {
    /// `[steps][inputs]`.
    pub x: Vec<i16>,
    /// Steps that the encoder of an encoder-decoder reads; of any other model 0.
    pub encoded: usize,
}

impl From<Vec<i16>> for Sample {
    fn from(x: Vec<i16>) -> Self {
        Self { x, encoded: 0 }
    }
}

impl Sample {
    /// All sequences of `x`, which fit the model.
    pub fn all(model: &Model<'_>, x: &Sequences) -> Vec<Self> {
        let one = |sample| Self {
            x: host::quantize(model, x.sample(sample)),
            encoded: x.encoder_steps(sample),
        };
        (0..x.len()).map(one).collect()
    }

    /// Sequences of any inputs that `model` takes, of 20 steps where it allows, the same at every
    /// call. An encoder reads the first half of them.
    pub fn random(model: &Model<'_>, samples: usize) -> Vec<Self> {
        let steps = if model.steps() > 0 { model.steps().min(20) } else { 20 };
        let encoded = if model.encoder() > 0 { steps / 2 } else { 0 };
        let mut all = random(samples, steps * model.inputs());
        if let Ok(tokens @ 1..) = i16::try_from(model.tokens()) {
            all.iter_mut().flatten().for_each(|token| *token = token.rem_euclid(tokens));
        }
        all.into_iter().map(|x| Self { x, encoded }).collect()
    }
}

/// Runs the blob in the file `blob`, which is `model`, on `board`.
///
/// # Errors
/// If the firmware cannot be built or run, or does not answer every step; the message says why.
pub fn run(board: &Board, blob: &Path, model: Model<'_>, samples: &[Sample]) -> Result<Report> {
    let firmware = board.build(blob, model)?;
    let answer = board.run(&firmware, &encode(&model, samples))?;

    let mut memory = vec![0; model.memory_words()];
    let mut stream = Stream::new(model, &mut memory)?;
    let mut report = Report {
        board: board.name,
        samples: samples.len(),
        bit_exact: true,
        instructions_per_step: 0,
        engine_text_bytes: firmware.elf.engine_bytes(),
        ram_bytes: 4 * model.memory_words(),
        stack_bytes: 0,
        least_instructions: u32::MAX,
        first_difference: None,
        panic_path: firmware.elf.panic_path()?,
    };
    let mut rest = &answer[..];
    for (sample, Sample { x, encoded }) in samples.iter().enumerate() {
        stream.reset();
        let steps = x.len() / model.inputs();
        host::encode(&mut stream, &x[..encoded * model.inputs()]);
        for (step, x) in x.chunks_exact(model.inputs()).enumerate().skip(*encoded) {
            stream.advance(x)?;
            // Of a whole sequence there is one record, and its instructions are those of all steps.
            let is_whole = model.steps() > 0;
            if is_whole && step + 1 < steps {
                continue;
            }
            let mut expected: Vec<u8> =
                stream.outputs().iter().flat_map(|y| y.to_le_bytes()).collect();
            expected.extend(stream.state().iter().flat_map(|word| word.to_le_bytes()));
            let record = rest
                .split_at_checked(expected.len())
                .and_then(|(found, rest)| Some((found, rest.split_first_chunk()?)));
            let (found, (cost, behind)) = record.with_context(|| {
                format!("{} answered only up to sample {sample}, step {step}", board.name)
            })?;
            rest = behind;
            if found != expected {
                report.bit_exact = false;
                report.first_difference.get_or_insert((sample, step));
            }
            let [i0, i1, i2, i3, s0, s1, s2, s3] = *cost;
            let instructions = u32::from_le_bytes([i0, i1, i2, i3]);
            let instructions = if is_whole { instructions / steps as u32 } else { instructions };
            report.instructions_per_step = report.instructions_per_step.max(instructions);
            report.least_instructions = report.least_instructions.min(instructions);
            report.stack_bytes = report.stack_bytes.max(u32::from_le_bytes([s0, s1, s2, s3]));
        }
    }
    ensure!(rest.is_empty(), "{} answered more than it was asked", board.name);
    Ok(report)
}

/// Samples of `length` numbers that go everywhere an `i16` can, the same at every call.
pub fn random(samples: usize, length: usize) -> Vec<Vec<i16>> {
    let mut state = 0u64;
    let mut next = || {
        // Knuth's MMIX.
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 48) as i16
    };
    (0..samples).map(|_| (0..length).map(|_| next()).collect()).collect()
}

/// The firmware's input, as `boards/app/src/serve.rs` describes it.
pub(crate) fn encode(model: &Model<'_>, samples: &[Sample]) -> Vec<u8> {
    let mut bytes = (samples.len() as u32).to_le_bytes().to_vec();
    for Sample { x, encoded } in samples {
        bytes.extend((x.len() as u32 / model.inputs() as u32).to_le_bytes());
        if model.encoder() > 0 {
            bytes.extend((*encoded as u32).to_le_bytes());
        }
        bytes.extend(x.iter().flat_map(|x| x.to_le_bytes()));
    }
    bytes
}
