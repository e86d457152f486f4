//! A PyTorch state dict from anywhere: a graph, or a reason.
#![no_main]

use std::path::Path;

use gatelet_cli::import::from_bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The name tells the format; there is nothing beside it.
    let _ = from_bytes(Path::new("/nowhere/model.safetensors"), bytes.to_vec());
});
