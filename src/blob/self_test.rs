//! The self-test section: a known input, and the output that the model must give for it.

use super::{Blob, format::extra};
use crate::error::Error;

/// Numbers `i16`, little-endian.
type Numbers<'a> = &'a [[u8; 2]];

impl<'a> Blob<'a> {
    /// Steps of input, one after the other, and the output after the last; `None` if the blob has no
    /// self-test.
    pub(crate) const fn self_test(&self) -> Option<(Numbers<'a>, Numbers<'a>)> {
        let Some(section) = self.extra(extra::SELF_TEST) else { return None };
        let (numbers, _) = section.as_chunks();
        let Some((steps, numbers)) = numbers.split_first() else { return None };
        let Some(first) = self.layer(0) else { return None };
        let steps = u16::from_le_bytes(*steps) as usize;
        let Some(length) = steps.checked_mul(first.width()) else { return None };
        numbers.split_at_checked(length)
    }

    /// A self-test has as many numbers as its steps and the model's shape say.
    pub(super) const fn check_self_test(&self) -> Result<(), Error> {
        let Some(section) = self.extra(extra::SELF_TEST) else { return Ok(()) };
        match self.self_test() {
            Some((x, y))
                if !x.is_empty()
                    && y.len() == self.outputs()
                    && section.len().is_multiple_of(size_of::<i16>()) =>
            {
                Ok(())
            }
            _ => Err(Error::Header { field: "selftest" }),
        }
    }
}
