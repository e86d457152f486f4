//! QEMU's own standard streams, by semihosting.

use embedded_io::{ErrorKind, ErrorType, Read, Write};
use semihosting::io::{self, Read as _, Write as _};

/// Standard input and output of the emulator.
pub(crate) struct Console<T>(pub(crate) T);

impl<T> ErrorType for Console<T> {
    type Error = ErrorKind;
}

impl Read for Console<io::Stdin> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, ErrorKind> {
        self.0.read(bytes).map_err(|_| ErrorKind::Other)
    }
}

impl Write for Console<io::Stdout> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        if cfg!(feature = "defmt") {
            return Ok(bytes.len()); // The log has the stream for itself.
        }
        self.0.write(bytes).map_err(|_| ErrorKind::Other)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}
