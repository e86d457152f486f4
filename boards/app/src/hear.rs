//! Hears the samples of a stream of bytes and answers with all that was heard in them.
//!
//! Both streams are little-endian and without padding:
//!
//! | input | |
//! |---|---|
//! | `samples: u32` | then |
//! | `pcm: [i16]` | so many |
//!
//! | output | for each frame |
//! |---|---|
//! | `features: [i16; _]`, `outputs: [i16; OUTPUTS]` | as many as the model says |
//! | `event: u16` | 1 + the output that fired, or 0 |
//! | `instructions: u32`, `stack: u32` | see [`Cost`]; of all chunks since the last frame |

use embedded_io::{Read, Write};
use gatelet::audio::Listener;

use crate::serve::{Cost, Error, Meter, read};

/// Samples that a driver hands over at once, say a half of its buffer.
const CHUNK: usize = 80;

/// Hears all of `input`, measuring every frame.
///
/// # Errors
/// If the input does not follow the format or the output is refused.
pub fn hear<const OUTPUTS: usize, const WINDOW: usize>(
    listener: &mut Listener<'_, '_, OUTPUTS, WINDOW>,
    meter: &impl Meter,
    input: &mut impl Read,
    output: &mut impl Write,
) -> Result<(), Error> {
    let mut left = read(input)? as usize;
    let mut cost = Cost { instructions: 0, stack: 0 };
    while left > 0 {
        let mut chunk = [0i16; CHUNK];
        let (chunk, _) = chunk.split_at_mut(left.min(CHUNK));
        input.read_exact(bytemuck::cast_slice_mut(chunk)).map_err(|_| Error::Input)?;
        left -= chunk.len();
        let mut pcm = &*chunk;
        loop {
            let mut frame = None;
            let used = meter.measure(&mut || {
                frame = listener.next_frame(&mut pcm).map(|heard| heard.event);
            });
            cost.instructions += used.instructions;
            cost.stack = cost.stack.max(used.stack);
            let Some(event) = frame else { break };
            let mut put = |bytes: &[u8]| output.write_all(bytes).map_err(|_| Error::Output);
            put(bytemuck::cast_slice(listener.frontend().features()))?;
            let stream = listener.stream();
            put(bytemuck::cast_slice(stream.layer_output(stream.model().depth() - 1)))?;
            put(&event.map_or(0, |event| event.output as u16 + 1).to_le_bytes())?;
            put(&cost.instructions.to_le_bytes())?;
            put(&cost.stack.to_le_bytes())?;
            cost = Cost { instructions: 0, stack: 0 };
        }
    }
    output.flush().map_err(|_| Error::Output)
}
