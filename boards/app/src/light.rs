//! A lamp on a pin.

use embedded_hal::digital::{OutputPin, PinState};

/// An LED that is lit by one of the two levels.
#[derive(Debug)]
pub struct Light<P> {
    pin: P,
    lit: PinState,
}

impl<P: OutputPin> Light<P> {
    /// A lamp that `lit` lights, dark at first.
    ///
    /// # Errors
    /// The pin's.
    pub fn new(pin: P, lit: PinState) -> Result<Self, P::Error> {
        let mut light = Self { pin, lit };
        light.set(false)?;
        Ok(light)
    }

    /// Lights it, or puts it out.
    ///
    /// # Errors
    /// The pin's.
    pub fn set(&mut self, on: bool) -> Result<(), P::Error> {
        self.pin.set_state(if on { self.lit } else { !self.lit })
    }
}
