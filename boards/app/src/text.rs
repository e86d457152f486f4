//! Answers lines of text with a model that reads text: what a serial console would be for.
//!
//! For every line of UTF-8 comes one line: from a model that answers once, the label and the outputs in
//! integers; from one that answers at every step, 200 characters that continue the line, sampled at a
//! temperature of 0.7; from an encoder-decoder, the names of the likeliest tokens and behind `#` a
//! checksum of all outputs on the way.

use core::fmt::{self, Write as _};

use embedded_io::{Read, Write};
use gatelet::Stream;
use gatelet::decode::{Sampler, largest};

use crate::Error;

/// How a text is continued.
const LENGTH: usize = 200;
const TEMPERATURE: f32 = 0.7;
const SEED: u64 = 1;
/// Longest line, in bytes.
const LINE: usize = 2048;

/// Answers every line of `input`; the last may lack its line break.
///
/// # Errors
/// If the input or output fails, a line is longer than 2,048 bytes, or the model reads no text.
pub fn answer(
    stream: &mut Stream<'_, '_>,
    input: &mut impl Read,
    output: &mut impl Write,
) -> Result<(), Error> {
    let mut line = [0; LINE];
    while let Some(text) = read_line(input, &mut line)? {
        stream.reset();
        let mut out = Writer(output);
        if stream.model().encoder() > 0 {
            transform(stream, text, &mut out)?;
        } else if stream.model().answers_last() {
            classify(stream, text, &mut out)?;
        } else {
            continue_text(stream, text, &mut out)?;
        }
        writeln!(out).map_err(|_| Error::Output)?;
    }
    output.flush().map_err(|_| Error::Output)
}

fn classify(
    stream: &mut Stream<'_, '_>,
    text: &[u8],
    out: &mut impl fmt::Write,
) -> Result<(), Error> {
    let model = stream.model();
    let outputs = stream.read(text).map_err(|_| Error::Input)?;
    let best = largest(outputs);
    let written = match model.labels().nth(best as usize) {
        Some(label) => write!(out, "{label}"),
        None => write!(out, "{best}"),
    };
    let written = written.and_then(|()| outputs.iter().try_for_each(|y| write!(out, " {y}")));
    written.map_err(|_| Error::Output)
}

fn transform(
    stream: &mut Stream<'_, '_>,
    text: &[u8],
    out: &mut impl fmt::Write,
) -> Result<(), Error> {
    let model = stream.model();
    let mut sum = 0u32;
    stream.prompt(text).map_err(|_| Error::Input)?;
    for _ in 0..LENGTH {
        let pick = |logits: &[i16]| {
            for logit in logits {
                // The order counts.
                sum = sum.rotate_left(5) ^ u32::from(*logit as u16);
            }
            largest(logits)
        };
        let Some(token) = stream.generate(pick) else { break };
        let written = match model.labels().nth(token as usize) {
            Some(label) => write!(out, "{label} "),
            None => write!(out, "{token} "),
        };
        written.map_err(|_| Error::Output)?;
    }
    write!(out, "#{sum:08x}").map_err(|_| Error::Output)
}

fn continue_text(
    stream: &mut Stream<'_, '_>,
    prompt: &[u8],
    out: &mut impl fmt::Write,
) -> Result<(), Error> {
    let model = stream.model();
    let vocabulary = model.vocabulary().ok_or(Error::Input)?;
    let mut sampler = Sampler::new(model.output_scale(), TEMPERATURE, SEED);
    stream.prompt(prompt).map_err(|_| Error::Input)?;
    for _ in 0..LENGTH {
        let Some(token) = stream.generate(|logits| sampler.pick(logits)) else { break };
        let character = vocabulary.character(token).unwrap_or(char::REPLACEMENT_CHARACTER);
        out.write_char(character).map_err(|_| Error::Output)?;
    }
    Ok(())
}

/// The next line, without its end; `None` behind the last.
fn read_line<'l>(
    input: &mut impl Read,
    line: &'l mut [u8; LINE],
) -> Result<Option<&'l [u8]>, Error> {
    let mut length = 0;
    loop {
        let mut byte = [0];
        match input.read(&mut byte).map_err(|_| Error::Input)? {
            0 if length == 0 => return Ok(None),
            0 => break,
            _ if byte == *b"\n" => break,
            _ => {
                *line.get_mut(length).ok_or(Error::Input)? = byte[0];
                length += 1;
            }
        }
    }
    Ok(line.get(..length))
}

/// Formatted text into a stream of bytes.
struct Writer<'o, W>(&'o mut W);

impl<W: Write> fmt::Write for Writer<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_all(text.as_bytes()).map_err(|_| fmt::Error)
    }
}
