//! An update over the air while the model runs, in two partitions of RAM that behave like flash.

use core::convert::Infallible;

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use gatelet::storage::{Boot, MappedFlash, Slots};
use gatelet::{Model, Stream};

/// NOR flash in RAM: a page is erased to ones, a word is written once.
#[repr(C, align(16))]
pub struct RamFlash<const BYTES: usize, const PAGE: usize> {
    bytes: [u8; BYTES],
    /// Pages erased so far.
    pub erased: u32,
}

impl<const BYTES: usize, const PAGE: usize> RamFlash<BYTES, PAGE> {
    /// Erased.
    pub const fn new() -> Self {
        Self::holding([0xff; BYTES])
    }

    /// Holding `bytes`.
    pub const fn holding(bytes: [u8; BYTES]) -> Self {
        Self { bytes, erased: 0 }
    }
}

impl<const BYTES: usize, const PAGE: usize> Default for RamFlash<BYTES, PAGE> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const BYTES: usize, const PAGE: usize> ErrorType for RamFlash<BYTES, PAGE> {
    type Error = Infallible;
}

impl<const BYTES: usize, const PAGE: usize> ReadNorFlash for RamFlash<BYTES, PAGE> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        BYTES
    }
}

impl<const BYTES: usize, const PAGE: usize> NorFlash for RamFlash<BYTES, PAGE> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Infallible> {
        self.bytes[from as usize..to as usize].fill(0xff);
        self.erased += (to - from) / PAGE as u32;
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Infallible> {
        let place = &mut self.bytes[offset as usize..][..bytes.len()];
        assert!(place.iter().all(|byte| *byte == 0xff), "written twice");
        place.copy_from_slice(bytes);
        Ok(())
    }
}

impl<const BYTES: usize, const PAGE: usize> MappedFlash for RamFlash<BYTES, PAGE> {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// How the demonstration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Steps that the old model made during the update.
    pub steps: usize,
    /// Largest output of the new model after a step.
    pub answer: usize,
    /// Pages erased in each slot.
    pub erased: [u32; 2],
}

/// Bytes of a packet.
const PACKET: usize = 1000;
/// Most features of a model here.
const INPUTS: usize = 64;

/// Installs `old` and runs it, a step for each packet of `new` that arrives; then switches to `new`.
/// `show` is told how much has arrived and what the old model answers. The memories are for the model
/// that runs and for the test of the new one.
///
/// # Errors
/// What went otherwise than it should, in words.
pub fn update_while_running<const BYTES: usize, const PAGE: usize>(
    mut flash: [&mut RamFlash<BYTES, PAGE>; 2],
    [old, new]: [&[u8]; 2],
    (running, testing): (&mut [u32], &mut [u32]),
    mut show: impl FnMut(usize, usize),
) -> Result<Ended, &'static str> {
    let partitions = flash.each_mut().map(|flash| &mut **flash);
    let (mut slots, boot) =
        Slots::boot(partitions, |bytes| Model::from_bytes(bytes), testing).unwrap();
    require(boot == Boot::Empty, "something ran on empty flash")?;
    let (_, mut update) = slots.update().unwrap();
    update.write(old).and_then(|()| update.finish()).map_err(|_| "the old model was refused")?;
    require(slots.switch(testing) == Ok(Boot::Updated), "the old model failed its test")?;

    let x = [1234; INPUTS];
    let (model, mut update) = slots.update().unwrap();
    let model = model.ok_or("the old model does not run")?;
    let x_old = x.get(..model.inputs()).ok_or("too many features")?;
    let mut stream = Stream::new(model, running).map_err(|_| "too little memory")?;
    let (mut arrived, mut steps) = (0, 0);
    for packet in new.chunks(PACKET) {
        let y = stream.step(x_old).map_err(|_| "a step failed")?;
        update.write(packet).map_err(|_| "a packet was refused")?;
        (arrived, steps) = (arrived + packet.len(), steps + 1);
        show(arrived, largest(y));
    }
    update.finish().map_err(|_| "the new model was refused")?;
    require(slots.switch(testing) == Ok(Boot::Updated), "the new model failed its test")?;

    let model = slots.model().ok_or("the new model does not run")?;
    let x_new = x.get(..model.inputs()).ok_or("too many features")?;
    let mut stream = Stream::new(model, running).map_err(|_| "too little memory")?;
    let answer = largest(stream.step(x_new).map_err(|_| "a step failed")?);
    Ok(Ended { steps, answer, erased: flash.map(|flash| flash.erased) })
}

fn require(condition: bool, otherwise: &'static str) -> Result<(), &'static str> {
    if condition { Ok(()) } else { Err(otherwise) }
}

fn largest(y: &[i16]) -> usize {
    (0..y.len()).max_by_key(|&k| y[k]).unwrap_or(0)
}
