//! A recording from anywhere: samples, or a reason.
#![no_main]

use gatelet_cli::audio::read_wav;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = read_wav(bytes, 8000);
});
