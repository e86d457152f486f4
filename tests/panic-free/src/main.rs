//! Loads a blob and does all that can be done with it. The panic handler calls a function that does
//! not exist, so this links only where the optimizer found every panic unreachable.
#![no_std]
#![no_main]

use core::panic::PanicInfo;
use core::slice;

use gatelet::audio::Listener;
use gatelet::decode::{Detector, Forecaster, Sampler, largest};
use gatelet::{Model, Stream};

unsafe extern "C" {
    fn a_panic_is_reachable() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: never linked.
    unsafe { a_panic_is_reachable() }
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
    forecasts: *mut i16,
) -> usize {
    // SAFETY: as the caller promises.
    let blob = unsafe { slice::from_raw_parts(blob, bytes) };
    // SAFETY: as the caller promises.
    let memory = unsafe { slice::from_raw_parts_mut(memory, words) };
    let (memory, spare) = memory.split_at_mut(words / 2);
    // SAFETY: as the caller promises.
    let forecasts = unsafe { slice::from_raw_parts_mut(forecasts, halves) };
    // SAFETY: as the caller promises.
    let x = unsafe { slice::from_raw_parts(x, halves) };
    let Ok(model) = Model::from_bytes(blob) else { return 1 };
    let tested = model.self_test(memory).is_ok() as usize;
    let Ok(mut stream) = Stream::new(model, memory) else { return 2 };
    let Ok(y) = stream.step(x) else { return 3 };
    #[cfg(feature = "planted")]
    let first = y[0] as usize;
    #[cfg(not(feature = "planted"))]
    let first = y.first().map_or(0, |y| *y as usize);
    let _ = stream.run(x);
    let _ = stream.set_state(0, x, &[]);
    let _ = stream.read(blob);
    let _ = stream.encode(x);
    stream.hand_over();
    let _ = stream.prompt(blob);
    let mut sampler = Sampler::new(model.output_scale(), 0.7, 1);
    let token = stream.generate(|logits| sampler.pick(logits)).or(stream.generate(largest));
    let character = |token| model.vocabulary().and_then(|v| v.character(token));
    let first = first + token.and_then(character).map_or(0, |c| c as usize);
    let named = model.labels().count() + model.metadata().len();
    stream.reset();
    let seen = tested + first + named + stream.layer_output(0).len() + stream.state().len();
    let forecast = forecast(stream, x, spare, forecasts);
    let Ok(mut listener) = Listener::<11, 8>::new(model, memory) else { return 4 };
    let (mut pcm, mut events) = (x, 0);
    while let Some(heard) = listener.next_frame(&mut pcm) {
        events += heard.event.map_or(0, |event| event.output);
    }
    listener.reset();
    seen + events + forecast
}

fn forecast(stream: Stream<'_, '_>, x: &[i16], spare: &mut [u32], forecasts: &mut [i16]) -> usize {
    let model = stream.model();
    let Ok(mut forecaster) = Forecaster::<8>::new(stream) else { return 0 };
    let mut sample = [0; 8];
    forecaster.quantize(&[f32::NAN; 8], &mut sample);
    let verdict = Detector::<8>::new(&model).map(|mut detector| detector.update(&forecaster, x));
    let score = verdict.map_or(0, |verdict| verdict.score.unwrap_or(0));
    let _ = forecaster.update(x);
    let _ = forecaster.update(&sample);
    let _ = forecaster.ahead(x, spare, forecasts);
    let ahead = forecasts.iter().chain(forecaster.forecast()).fold(0, |sum, y| sum ^ *y);
    forecaster.reset();
    usize::from(score) + ahead as usize + forecaster.expected().len()
}
