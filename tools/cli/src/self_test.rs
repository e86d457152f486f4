//! What a blob carries to prove itself on a device: a known input, and what the host made of it.

use gatelet::{Model, Stream};

use crate::data::Sequences;
use crate::host;

/// Bytes of input, about: enough to reach every weight, too few to matter in flash.
const INPUT_BYTES: usize = 256;

/// The content of the section, from the first steps of the calibration data.
///
/// # Panics
/// If the sequences do not have the model's features.
pub fn section(model: &Model<'_>, x: &Sequences) -> Vec<u8> {
    let inputs = model.inputs();
    let input = host::quantize(model, x.sample(0));
    let mut steps = (INPUT_BYTES / (2 * inputs)).clamp(1, input.len() / inputs);
    if model.steps() > 0 {
        steps = steps.min(model.steps());
    }
    let input = &input[..steps * inputs];
    let mut memory = vec![0; model.memory_words()];
    let mut stream = Stream::new(*model, &mut memory).expect("the words it asked for");
    if model.encoder() > 0 {
        host::encode(&mut stream, input);
    }
    let output = stream.run(input).expect("whole steps");
    let numbers = [steps as i16].into_iter().chain(input.iter().chain(output).copied());
    numbers.flat_map(i16::to_le_bytes).collect()
}
