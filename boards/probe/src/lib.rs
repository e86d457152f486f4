//! What the boards on a debug probe share: a log and panics, which `probe-rs run` shows.
#![no_std]

use core::convert::Infallible;

use embedded_io::{ErrorType, Write};
use panic_rtt_target as _;
use rtt_target::{rprint, rtt_init_print};

/// The log. Lines that no probe fetches in time are lost, and nothing waits for them.
#[derive(Clone, Copy, Debug)]
pub struct Log(());

impl Log {
    /// Starts the log; to be called once.
    pub fn new() -> Self {
        rtt_init_print!();
        Self(())
    }
}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

impl ErrorType for Log {
    type Error = Infallible;
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        rprint!("{}", core::str::from_utf8(bytes).unwrap_or("?"));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
