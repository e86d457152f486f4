//! Runs a network on the samples of a stream of bytes and answers with all that it computed.
//!
//! Both streams are little-endian and without padding:
//!
//! | input | |
//! |---|---|
//! | `samples: u32` | then for each sample |
//! | `steps: u32` | and of an encoder-decoder `encoded: u32`, how many of them its encoder reads; then for each step |
//! | `x: [i16; INPUTS]` | the quantized features |
//!
//! | output | for each step of each sample but those of an encoder; of a network that reads whole sequences for the last |
//! |---|---|
//! | `y: [i16; OUTPUTS]` | the answers to all steps so far, where whole sequences have them |
//! | `state: [u32; _]` | the state after the step, as long as the model says |
//! | `instructions: u32`, `stack: u32` | see [`Cost`] |
//!
//! Every sample starts from the zero state. Nothing is buffered, so RAM stays small. All boards are
//! little-endian, so numbers go out as they lie in memory.

use embedded_io::{Read, Write};

/// A network as `gatelet::include_model!` defines it.
pub trait Network<const INPUTS: usize, const OUTPUTS: usize> {
    /// Whether it reads whole sequences: its answer to a step says nothing of the steps after it.
    const WHOLE: bool;
    /// Whether it is an encoder-decoder; what the others advance is then the decoder.
    const ENCODES: bool;
    /// One step that needs no answer.
    fn advance(&mut self, x: &[i16; INPUTS]);
    /// All answers so far, or the one.
    fn outputs(&mut self) -> &[i16];
    /// One step.
    fn step(&mut self, x: &[i16; INPUTS]) -> &[i16; OUTPUTS];
    /// One step of the encoder.
    fn encode(&mut self, x: &[i16; INPUTS]);
    /// Starts the decoder from where the encoder is.
    fn hand_over(&mut self);
    /// What is remembered.
    fn state(&self) -> &[u32];
    /// Back to the zero state.
    fn reset(&mut self);
}

/// What a step cost on the board.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Cost {
    /// Instructions executed, the final return left out.
    pub instructions: u32,
    /// Bytes of stack used.
    pub stack: u32,
}

/// What can measure a step on a board.
pub trait Meter {
    /// Lets `net` do a step and says what it cost.
    fn step<'n, const INPUTS: usize, const OUTPUTS: usize, N: Network<INPUTS, OUTPUTS>>(
        &self,
        net: &'n mut N,
        x: &[i16; INPUTS],
    ) -> (&'n [i16; OUTPUTS], Cost);

    /// Runs anything and says what it cost; the stack is all that is in use, from its start on.
    fn measure(&self, run: &mut impl FnMut()) -> Cost;
}

/// What ended a service early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The input ended in the middle, or could not be read.
    Input,
    /// The output could not be written.
    Output,
}

/// Runs `net` on every sample of `input`, measuring every step.
///
/// # Errors
/// If the input does not follow the format or the output is refused.
pub fn serve<const INPUTS: usize, const OUTPUTS: usize, N: Network<INPUTS, OUTPUTS>>(
    net: &mut N,
    meter: &impl Meter,
    input: &mut impl Read,
    output: &mut impl Write,
) -> Result<(), Error> {
    for _sample in 0..read(input)? {
        net.reset();
        let steps = read(input)?;
        let encoded = if N::ENCODES { read(input)? } else { 0 };
        for step in 0..steps {
            let mut x = [0i16; INPUTS];
            input.read_exact(bytemuck::cast_slice_mut(&mut x)).map_err(|_| Error::Input)?;
            if step < encoded {
                net.encode(&x);
                if step + 1 == encoded {
                    net.hand_over();
                }
                continue;
            }
            if N::WHOLE && step + 1 < steps {
                net.advance(&x);
                continue;
            }
            let (y, cost) = meter.step(net, &x);
            let mut put = |bytes: &[u8]| output.write_all(bytes).map_err(|_| Error::Output);
            #[cfg(feature = "defmt")]
            defmt::info!("sample {}, step {}: {} for {}", _sample, step, y.as_slice(), cost);
            if N::WHOLE {
                put(bytemuck::cast_slice(net.outputs()))?;
            } else {
                put(bytemuck::cast_slice(y))?;
            }
            put(bytemuck::cast_slice(net.state()))?;
            put(&cost.instructions.to_le_bytes())?;
            put(&cost.stack.to_le_bytes())?;
        }
    }
    output.flush().map_err(|_| Error::Output)
}

pub(crate) fn read(input: &mut impl Read) -> Result<u32, Error> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes).map_err(|_| Error::Input)?;
    Ok(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// Two inputs, one output: their running sum. An encoder-decoder starts from the product of what
    /// its encoder saw.
    #[derive(Default)]
    struct Sum<const ENCODES: bool> {
        encoded: u32,
        sum: [u32; 1],
        y: [i16; 1],
    }

    impl<const ENCODES: bool> Network<2, 1> for Sum<ENCODES> {
        const WHOLE: bool = false;
        const ENCODES: bool = ENCODES;
        fn encode(&mut self, x: &[i16; 2]) {
            self.encoded = self.encoded.max(1) * x[0] as u32 * x[1] as u32;
        }
        fn hand_over(&mut self) {
            self.sum = [self.encoded];
        }
        fn advance(&mut self, x: &[i16; 2]) {
            self.step(x);
        }
        fn outputs(&mut self) -> &[i16] {
            &self.y
        }
        fn step(&mut self, x: &[i16; 2]) -> &[i16; 1] {
            self.y = [x[0] + x[1]];
            self.sum[0] = self.sum[0].wrapping_add_signed(self.y[0].into());
            &self.y
        }
        fn state(&self) -> &[u32] {
            &self.sum
        }
        fn reset(&mut self) {
            *self = Self::default();
        }
    }

    struct Sundial;

    impl Meter for Sundial {
        fn step<'n, const INPUTS: usize, const OUTPUTS: usize, N: Network<INPUTS, OUTPUTS>>(
            &self,
            net: &'n mut N,
            x: &[i16; INPUTS],
        ) -> (&'n [i16; OUTPUTS], Cost) {
            (net.step(x), Cost { instructions: 7, stack: 8 })
        }
        fn measure(&self, run: &mut impl FnMut()) -> Cost {
            run();
            Cost { instructions: 7, stack: 8 }
        }
    }

    fn answer(mut input: &[u8]) -> Result<Vec<u8>, Error> {
        let mut output = Vec::new();
        serve(&mut Sum::<false>::default(), &Sundial, &mut input, &mut output).map(|()| output)
    }

    /// Two samples, of two steps and one.
    const INPUT: [u8; 24] =
        [2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 2, 0, 3, 0, 4, 1, 1, 0, 0, 0, 0xFF, 0xFF, 0xFE, 0xFF];

    #[test]
    fn every_step_is_answered_and_every_sample_starts_afresh() {
        let expected: [[u8; 14]; 3] = [
            [3, 0, 3, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0],
            [7, 1, 10, 1, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0],
            [0xFD, 0xFF, 0xFD, 0xFF, 0xFF, 0xFF, 7, 0, 0, 0, 8, 0, 0, 0],
        ];
        assert_eq!(answer(&INPUT).unwrap(), expected.concat());
    }

    #[test]
    fn an_encoder_is_not_answered_but_starts_the_decoder() {
        // Three steps, of which the encoder reads two; then one without any.
        let steps = [3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 3, 0, 4, 0, 5, 0, 1, 0, 1, 0];
        let input = [&[2, 0, 0, 0], &steps[..], &[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0]].concat();
        let mut output = Vec::new();
        serve(&mut Sum::<true>::default(), &Sundial, &mut &input[..], &mut output).unwrap();
        let cost = [7, 0, 0, 0, 8, 0, 0, 0];
        let expected = [&[2, 0, 122, 0, 0, 0], &cost[..], &[2, 0, 2, 0, 0, 0], &cost].concat();
        assert_eq!(output, expected);
        let truncated = serve(&mut Sum::<true>::default(), &Sundial, &mut &input[..8], &mut output);
        assert_eq!(truncated, Err(Error::Input));
    }

    /// A [`Sum`] that answers to whole sequences, with the inputs' sums of all steps.
    #[derive(Default)]
    struct Sums {
        steps: Vec<i16>,
        y: [i16; 1],
    }

    impl Network<2, 1> for Sums {
        const WHOLE: bool = true;
        const ENCODES: bool = false;
        fn encode(&mut self, _: &[i16; 2]) {}
        fn hand_over(&mut self) {}
        fn advance(&mut self, x: &[i16; 2]) {
            self.steps.push(x[0] + x[1]);
        }
        fn outputs(&mut self) -> &[i16] {
            &self.steps
        }
        fn step(&mut self, x: &[i16; 2]) -> &[i16; 1] {
            self.advance(x);
            self.y = [self.steps.iter().sum()];
            &self.y
        }
        fn state(&self) -> &[u32] {
            &[]
        }
        fn reset(&mut self) {
            *self = Self::default();
        }
    }

    #[test]
    fn whole_sequences_are_answered_once() {
        let mut output = Vec::new();
        serve(&mut Sums::default(), &Sundial, &mut &INPUT[..], &mut output).unwrap();
        let cost = [7, 0, 0, 0, 8, 0, 0, 0];
        let expected = [&[3, 0, 7, 1], &cost[..], &[0xFD, 0xFF], &cost].concat();
        assert_eq!(output, expected);
    }

    #[test]
    fn truncated_input_is_an_error() {
        for length in 0..INPUT.len() {
            assert_eq!(answer(&INPUT[..length]), Err(Error::Input), "{length} bytes");
        }
    }
}
