//! Forecasts the samples of a stream of bytes, judges them, and looks ahead at every step.
//!
//! Both streams are little-endian and without padding:
//!
//! | input | |
//! |---|---|
//! | `samples: u32` | then for each |
//! | `x: [i16; INPUTS]` | the quantized features, −32768 where one is missing |
//!
//! | output | for each sample |
//! |---|---|
//! | `score: u16`, `alarm: u16` | 0 without a score, or a detector; 1 while the alarm is on |
//! | `y: [[i16; OUTPUTS]; 24]` | forecasts of the next steps, each fed back for the one after it |

use embedded_io::{Read, Write};
use gatelet::decode::{Detector, Forecaster};

use crate::serve::{Error, read};

/// Steps ahead.
const HORIZON: usize = 24;

/// Forecasts all of `input`. `N` is at least the model's inputs; `spare` is as long as the model's
/// memory.
///
/// # Errors
/// If the input does not follow the format or the output is refused.
pub fn forecast<const N: usize>(
    forecaster: &mut Forecaster<'_, '_, N>,
    spare: &mut [u32],
    input: &mut impl Read,
    output: &mut impl Write,
) -> Result<(), Error> {
    let model = forecaster.model();
    // A blob without settings has no detector.
    let mut detector = Detector::<N>::new(&model).ok();
    let (mut x, mut ahead) = ([0i16; N], [[0i16; N]; HORIZON]);
    let x = x.get_mut(..model.inputs()).ok_or(Error::Input)?;
    let ahead = ahead.as_flattened_mut().get_mut(..HORIZON * model.outputs());
    let ahead = ahead.ok_or(Error::Input)?;
    for _sample in 0..read(input)? {
        input.read_exact(bytemuck::cast_slice_mut(x)).map_err(|_| Error::Input)?;
        let verdict = detector.as_mut().map(|detector| detector.update(forecaster, x));
        forecaster.update(x).map_err(|_| Error::Input)?;
        forecaster.ahead(&[], spare, ahead).map_err(|_| Error::Input)?;
        let verdict = verdict.unwrap_or_default();
        #[cfg(feature = "defmt")]
        defmt::info!("sample {}: {}, then {}", _sample, verdict, forecaster.forecast());
        let mut put = |bytes: &[u8]| output.write_all(bytes).map_err(|_| Error::Output);
        put(&verdict.score.unwrap_or(0).to_le_bytes())?;
        put(&u16::from(verdict.alarm).to_le_bytes())?;
        put(bytemuck::cast_slice(ahead))?;
    }
    output.flush().map_err(|_| Error::Output)
}
