//! Two slots for models in flash: a device takes a new model over the air, and whenever the power
//! fails it comes back with the old model or with the new one, whole.
//!
//! A slot holds a blob from its start, and in its last page a log of records:
//!
//! | record | written | meaning |
//! |---|---|---|
//! | written | after the blob arrived and was checked | the slot holds a model, on trial |
//! | confirmed | after its self-test passed | it may run without another test |
//! | rejected | after its self-test failed | it never runs again |
//!
//! An update goes to the slot that does not run. Its log is erased before anything else, so until the
//! first record is whole the slot counts as empty. The newest model that is not rejected runs. A
//! record that a power cut tore fails its CRC and counts as not there; the next goes behind it.
//!
//! MCUboot marks its slots in much the same way; that a later record makes an earlier one obsolete,
//! and nothing is ever changed in place, is littlefs's rule.
//!
//! ```
//! use gatelet::Model;
//! use gatelet::storage::{MappedFlash, Slots};
//!
//! fn update<F: MappedFlash>(flash: [F; 2], arriving: &[&[u8]]) -> Result<(), F::Error> {
//!     let mut memory = [0; 512];
//!     let (mut slots, _) = Slots::boot(flash, |bytes| Model::from_bytes(bytes), &mut memory)?;
//!     let (running, mut update) = slots.update()?;
//!     for chunk in arriving {
//!         // `running` can go on between the chunks.
//!         if update.write(chunk).is_err() { return Ok(()) }
//!     }
//!     if update.finish().is_ok() {
//!         slots.switch(&mut memory)?; // Tests the new model; now, or after a reset.
//!     }
//!     Ok(())
//! }
//! ```

use embedded_storage::nor_flash::NorFlash;

use crate::error::Error;
use crate::model::Model;

/// Flash that the core also reads as memory.
///
/// Each slot is one of these: a partition of its own, so that one can be written while the model in
/// the other runs.
pub trait MappedFlash: NorFlash {
    /// All bytes of the partition, from an address that is a multiple of 16.
    fn bytes(&self) -> &[u8];
}

impl<F: MappedFlash> MappedFlash for &mut F {
    fn bytes(&self) -> &[u8] {
        (**self).bytes()
    }
}

/// How a blob is read: [`Model::from_bytes`], or a function that asks for a signature.
pub type Check = for<'a> fn(&'a [u8]) -> Result<Model<'a>, Error>;

/// What [`Slots::boot`] and [`Slots::switch`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Boot {
    /// No slot holds a model that can run.
    Empty,
    /// The model was confirmed earlier.
    Confirmed,
    /// A new model passed its self-test, and runs.
    Updated,
    /// A new model failed its self-test, for this reason. The one before it runs, if there is one:
    /// see [`Slots::model`].
    RolledBack(Error),
}

/// Why an update was refused. The running model goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum UpdateError<E> {
    /// The flash failed.
    Flash(E),
    /// The blob is longer than the slot holds.
    Full {
        /// Bytes that a blob may have.
        capacity: usize,
    },
    /// The blob is not one, or is an older version than the model that runs.
    Model(Error),
}

/// Bytes from one record to the next: as long as the widest word that flash is written in.
const RECORD: usize = 32;
/// What the CRC of a record covers: mark, sequence, length.
const COVERED: usize = 12;
const CRC: crc::Crc<u32, crc::NoTable> = crc::Crc::<u32, crc::NoTable>::new(&crc::CRC_32_ISO_HDLC);

const WRITTEN: u32 = u32::from_le_bytes(*b"WRIT");
const CONFIRMED: u32 = u32::from_le_bytes(*b"CONF");
const REJECTED: u32 = u32::from_le_bytes(*b"REJE");

#[derive(Clone, Copy)]
struct Record {
    mark: u32,
    /// Counts updates: the same in all records about a model.
    sequence: u32,
    /// Bytes of the blob.
    length: u32,
}

impl Record {
    fn encode(&self) -> [u8; RECORD] {
        let mut bytes = [0xff; RECORD];
        let fields = [self.mark, self.sequence, self.length].map(u32::to_le_bytes);
        let crc = CRC.checksum(fields.as_flattened()).to_le_bytes();
        for (byte, value) in bytes.iter_mut().zip(fields.as_flattened().iter().chain(&crc)) {
            *byte = *value;
        }
        bytes
    }

    fn decode(bytes: &[u8; RECORD]) -> Option<Self> {
        let ([mark, sequence, length, crc, ..], _) = bytes.as_chunks() else { return None };
        let (covered, _) = bytes.split_at(COVERED);
        (u32::from_le_bytes(*crc) == CRC.checksum(covered)).then_some(Self {
            mark: u32::from_le_bytes(*mark),
            sequence: u32::from_le_bytes(*sequence),
            length: u32::from_le_bytes(*length),
        })
    }
}

/// What a slot's log says.
#[derive(Clone, Copy, Default)]
struct Log {
    /// The blob in the slot, if one was written whole.
    written: Option<Record>,
    confirmed: bool,
    rejected: bool,
    /// Records that the log has room for, from this one on.
    free: usize,
}

impl Log {
    fn read<F: MappedFlash>(flash: &F) -> Self {
        let (_, page) = flash.bytes().split_at(capacity(flash));
        let mut log = Self::default();
        for (index, bytes) in page.as_chunks().0.iter().enumerate() {
            if bytes.iter().any(|byte| *byte != 0xff) {
                log.free = index + 1;
            }
            let Some(record) = Record::decode(bytes) else { continue };
            let of_this = log.written.is_some_and(|blob| blob.sequence == record.sequence);
            match record.mark {
                WRITTEN => log = Self { written: Some(record), free: log.free, ..Self::default() },
                CONFIRMED if of_this => log.confirmed = true,
                REJECTED if of_this => log.rejected = true,
                _ => {}
            }
        }
        log
    }

    /// Of the blob in the slot; 0 if it is empty.
    fn sequence(&self) -> u32 {
        self.written.map_or(0, |record| record.sequence)
    }

    /// Adds a record. A log that power cuts filled takes no more: what it would have said is found
    /// out again at the next boot.
    fn append<F: MappedFlash>(&self, flash: &mut F, record: Record) -> Result<(), F::Error> {
        let at = capacity(flash) + RECORD * self.free;
        if at + RECORD > flash.bytes().len() {
            return Ok(());
        }
        flash.write(at as u32, &record.encode())
    }
}

/// Bytes of a slot that can hold a blob: all but the page of the log.
fn capacity<F: MappedFlash>(flash: &F) -> usize {
    flash.bytes().len().saturating_sub(F::ERASE_SIZE)
}

/// Two slots, one of which runs.
pub struct Slots<F> {
    flash: [F; 2],
    check: Check,
    running: Option<usize>,
}

impl<F: MappedFlash> Slots<F> {
    /// Takes two partitions of two pages or more, and decides which model runs, as
    /// [`switch`](Self::switch) does.
    ///
    /// # Errors
    /// Those of the flash.
    pub fn boot(flash: [F; 2], check: Check, memory: &mut [u32]) -> Result<(Self, Boot), F::Error> {
        const {
            assert!(RECORD.is_multiple_of(F::WRITE_SIZE), "words of more than 32 bytes");
            assert!(F::ERASE_SIZE.is_multiple_of(RECORD), "pages of less than 32 bytes");
        }
        let mut slots = Self { flash, check, running: None };
        let boot = slots.switch(memory)?;
        Ok((slots, boot))
    }

    /// Decides which model runs: the newest that is whole and not rejected. One on trial does its
    /// [self-test](Model::self_test) in `memory` first.
    ///
    /// # Errors
    /// Those of the flash.
    pub fn switch(&mut self, memory: &mut [u32]) -> Result<Boot, F::Error> {
        self.running = None;
        let mut rejected = None;
        let logs = self.flash.each_ref().map(Log::read);
        let [a, b] = logs.map(|log| log.written.map(|record| record.sequence));
        // No record is less than any.
        let newest = usize::from(b > a);
        for slot in [newest, 1 - newest] {
            let (Some(log), Some(flash)) = (logs.get(slot), self.flash.get_mut(slot)) else {
                break;
            };
            let Some(record) = log.written.filter(|_| !log.rejected) else { continue };
            let Ok(model) = blob(flash, record).and_then(self.check) else { continue };
            let tested = if log.confirmed { None } else { Some(model.self_test(memory)) };
            let boot = match tested {
                None => Boot::Confirmed,
                Some(Ok(())) => {
                    log.append(flash, Record { mark: CONFIRMED, ..record })?;
                    Boot::Updated
                }
                Some(Err(reason)) => {
                    log.append(flash, Record { mark: REJECTED, ..record })?;
                    rejected = Some(Boot::RolledBack(reason));
                    continue;
                }
            };
            self.running = Some(slot);
            return Ok(rejected.unwrap_or(boot));
        }
        Ok(rejected.unwrap_or(Boot::Empty))
    }

    /// The model that runs. Reads all of the blob: keep it.
    pub fn model(&self) -> Option<Model<'_>> {
        self.flash.get(self.running?).and_then(|flash| model(flash, self.check))
    }

    /// Starts an update in the slot that does not run. The model that runs goes on beside it.
    ///
    /// # Errors
    /// Those of the flash.
    pub fn update(&mut self) -> Result<(Option<Model<'_>>, Update<'_, F>), F::Error> {
        let [a, b] = self.flash.each_ref().map(|flash| Log::read(flash).sequence());
        let sequence = a.max(b).wrapping_add(1);
        let [a, b] = &mut self.flash;
        let (running, spare) = match self.running {
            Some(0) => (model(a, self.check), b),
            Some(_) => (model(b, self.check), a),
            // Nothing runs, so nothing is lost.
            None => (None, a),
        };
        let log = capacity(spare) as u32;
        spare.erase(log, log + F::ERASE_SIZE as u32)?;
        let update = Update {
            flash: spare,
            check: self.check,
            least_version: running.and_then(|model| model.version()),
            sequence,
            length: 0,
            tail: [0xff; RECORD],
        };
        Ok((running, update))
    }
}

/// The blob that a record is about.
fn blob<F: MappedFlash>(flash: &F, record: Record) -> Result<&[u8], Error> {
    let found = record.length;
    let length = (found as usize).min(capacity(flash));
    match flash.bytes().split_at_checked(length) {
        Some((blob, _)) => Ok(blob),
        None => Err(Error::Length { expected: 0, found }),
    }
}

/// The model in a slot.
fn model<F: MappedFlash>(flash: &F, check: Check) -> Option<Model<'_>> {
    blob(flash, Log::read(flash).written?).and_then(check).ok()
}

/// An update on its way. Dropped before [`finish`](Self::finish), it leaves an empty slot.
pub struct Update<'s, F> {
    flash: &'s mut F,
    check: Check,
    /// Of the model that runs, if it is signed.
    least_version: Option<u32>,
    sequence: u32,
    /// Bytes taken so far.
    length: usize,
    /// The last of them, which do not fill a word yet.
    tail: [u8; RECORD],
}

impl<F: MappedFlash> Update<'_, F> {
    /// Takes the next bytes of the blob, as many as happen to have come. Each page is erased when its
    /// first byte is written.
    ///
    /// # Errors
    /// [`UpdateError::Full`], or [`UpdateError::Flash`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), UpdateError<F::Error>> {
        let capacity = capacity(self.flash);
        if bytes.len() > capacity - self.length {
            return Err(UpdateError::Full { capacity });
        }
        for byte in bytes {
            let at = self.length % RECORD;
            if let Some(place) = self.tail.get_mut(at) {
                *place = *byte;
            }
            self.length += 1;
            if at + 1 == RECORD {
                self.flush(self.length - RECORD)?;
            }
        }
        Ok(())
    }

    /// Writes the tail to `at`.
    fn flush(&mut self, at: usize) -> Result<(), UpdateError<F::Error>> {
        let (page, at) = (F::ERASE_SIZE as u32, at as u32);
        if at.is_multiple_of(page) {
            self.flash.erase(at, at + page).map_err(UpdateError::Flash)?;
        }
        self.flash.write(at, &self.tail).map_err(UpdateError::Flash)?;
        self.tail = [0xff; RECORD];
        Ok(())
    }

    /// Checks the blob where it lies now, and puts it on trial: the next [`boot`](Slots::boot) or
    /// [`switch`](Slots::switch) tests it.
    ///
    /// # Errors
    /// [`UpdateError::Model`] if it is refused, or signed as an older version than the model that
    /// runs; [`UpdateError::Flash`].
    pub fn finish(mut self) -> Result<(), UpdateError<F::Error>> {
        let tail = self.length % RECORD;
        if tail > 0 {
            self.flush(self.length - tail)?;
        }
        let record = Record { mark: WRITTEN, sequence: self.sequence, length: self.length as u32 };
        let model = blob(self.flash, record).and_then(self.check).map_err(UpdateError::Model)?;
        if let Some(least) = self.least_version {
            match model.version() {
                None => return Err(UpdateError::Model(Error::Unsigned)),
                Some(found) if found < least => {
                    return Err(UpdateError::Model(Error::Downgrade { least, found }));
                }
                Some(_) => {}
            }
        }
        Log::default().append(self.flash, record).map_err(UpdateError::Flash)
    }
}
