//! What a device does with a blob, each thing a function of its own, so that its stack can be told.
#![no_std]
#![no_main]

use core::panic::PanicInfo;
use core::slice;

use gatelet::{Model, Stream};

unsafe extern "C" {
    fn a_panic_is_reachable() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: never linked.
    unsafe { a_panic_is_reachable() }
}

#[unsafe(no_mangle)]
#[inline(never)]
fn load(blob: &[u8]) -> Option<Model<'_>> {
    Model::from_bytes(blob).ok()
}

#[unsafe(no_mangle)]
#[inline(never)]
fn start<'a, 'm>(model: &Model<'a>, memory: &'m mut [u32]) -> Option<Stream<'a, 'm>> {
    Stream::new(*model, memory).ok()
}

#[unsafe(no_mangle)]
#[inline(never)]
fn step<'m>(stream: &'m mut Stream<'_, '_>, x: &[i16]) -> &'m [i16] {
    stream.step(x).unwrap_or(&[])
}

/// The linker's entry point; nothing calls it.
///
/// # Safety
/// Pointers and lengths describe slices.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _start(
    blob: *const u8,
    bytes: usize,
    memory: *mut u32,
    words: usize,
    x: *const i16,
    halves: usize,
) -> usize {
    // SAFETY: as the caller promises.
    let blob = unsafe { slice::from_raw_parts(blob, bytes) };
    // SAFETY: as the caller promises.
    let memory = unsafe { slice::from_raw_parts_mut(memory, words) };
    // SAFETY: as the caller promises.
    let x = unsafe { slice::from_raw_parts(x, halves) };
    let Some(model) = load(blob) else { return 1 };
    let Some(mut stream) = start(&model, memory) else { return 2 };
    step(&mut stream, x).len()
}
