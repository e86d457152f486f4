//! Sound on its way from the interrupt that samples it to the loop that listens.
//!
//! The interrupt only puts samples into a queue, so none is lost while a step runs, as long as the
//! queue holds the sound of a step. If it does not, the reader is told.

use core::sync::atomic::{AtomicBool, Ordering};

use embedded_io::{ErrorKind, ErrorType, Read};
use heapless::spsc::{Consumer, Producer, Queue};

/// A queue of up to `N - 1` samples.
#[derive(Debug)]
pub struct Sound<const N: usize> {
    queue: Queue<i16, N>,
    overrun: AtomicBool,
}

impl<const N: usize> Sound<N> {
    /// Silence.
    pub const fn new() -> Self {
        Self { queue: Queue::new(), overrun: AtomicBool::new(false) }
    }

    /// The end for the interrupt, and the end for the loop. The loop calls `wait` while there is no
    /// sound, and then looks again: on a Cortex-M, `cortex_m::asm::wfe`, which returns at once if an
    /// interrupt came since it last returned.
    pub fn split<W: FnMut()>(&mut self, wait: W) -> (Recorder<'_>, Playback<'_, W>) {
        let (producer, consumer) = self.queue.split();
        let overrun = &self.overrun;
        (Recorder { producer, overrun }, Playback { consumer, overrun, wait })
    }
}

impl<const N: usize> Default for Sound<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// The end of a [`Sound`] that takes samples.
pub struct Recorder<'s> {
    producer: Producer<'s, i16>,
    overrun: &'s AtomicBool,
}

impl Recorder<'_> {
    /// Takes samples; those that find no room are lost, and [`Playback`] says so.
    pub fn record(&mut self, samples: impl IntoIterator<Item = i16>) {
        for sample in samples {
            if self.producer.enqueue(sample).is_err() {
                self.overrun.store(true, Ordering::Release);
            }
        }
    }
}

/// The end of a [`Sound`] that gives samples: bytes of `i16` as they lie in memory.
pub struct Playback<'s, W> {
    consumer: Consumer<'s, i16>,
    overrun: &'s AtomicBool,
    wait: W,
}

impl<W> ErrorType for Playback<'_, W> {
    type Error = ErrorKind;
}

impl<W: FnMut()> Read for Playback<'_, W> {
    /// Waits for sound.
    ///
    /// # Errors
    /// `OutOfMemory`, once, if samples were lost; all that were waiting then are dropped, so that
    /// what follows is of one piece. `InvalidInput` if there is no room for a whole sample.
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, ErrorKind> {
        let (samples, _) = bytes.as_chunks_mut::<2>();
        if samples.is_empty() {
            return Err(ErrorKind::InvalidInput);
        }
        loop {
            if self.overrun.load(Ordering::Acquire) {
                // No swap: small cores have none. What is lost in between is dropped with the rest.
                self.overrun.store(false, Ordering::Relaxed);
                while self.consumer.dequeue().is_some() {}
                return Err(ErrorKind::OutOfMemory);
            }
            let mut filled = 0;
            for (room, sample) in
                samples.iter_mut().zip(core::iter::from_fn(|| self.consumer.dequeue()))
            {
                *room = sample.to_ne_bytes();
                filled += 2;
            }
            if filled > 0 {
                return Ok(filled);
            }
            (self.wait)();
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use alloc::vec::Vec;
    use std::thread;

    use super::*;

    fn read(
        playback: &mut impl Read<Error = ErrorKind>,
        count: usize,
    ) -> Result<Vec<i16>, ErrorKind> {
        let mut bytes = alloc::vec![0; 2 * count];
        let length = playback.read(&mut bytes)?;
        Ok(bytes[..length].chunks(2).map(|b| i16::from_ne_bytes([b[0], b[1]])).collect())
    }

    #[test]
    fn an_interrupt_loses_nothing_while_the_loop_is_busy() {
        let mut sound = Sound::<64>::new();
        let (mut recorder, mut playback) = sound.split(thread::yield_now);
        thread::scope(|scope| {
            scope.spawn(move || {
                for block in 0..500 {
                    while recorder.producer.len() > 63 - 20 {
                        thread::yield_now();
                    }
                    recorder.record((0..20).map(|k| (block * 20 + k) as i16));
                }
            });
            let mut heard = Vec::new();
            while heard.len() < 10_000 {
                heard.extend(read(&mut playback, 7).unwrap());
            }
            assert!(heard.into_iter().eq(0..10_000));
        });
    }

    #[test]
    fn a_full_queue_is_told_once_and_what_follows_is_of_one_piece() {
        let mut sound = Sound::<8>::new();
        let (mut recorder, mut playback) = sound.split(|| panic!("there is sound"));
        recorder.record(0..9);
        assert_eq!(read(&mut playback, 4), Err(ErrorKind::OutOfMemory));
        recorder.record(20..23);
        assert_eq!(read(&mut playback, 4), Ok(alloc::vec![20, 21, 22]));
        assert_eq!(playback.read(&mut [0]), Err(ErrorKind::InvalidInput));
    }
}
