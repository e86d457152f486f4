//! A `.keras` archive from anywhere. What is no archive becomes one, so that no checksum is in the
//! way: a length (u16) and as many bytes of `config.json`, the rest `model.weights.h5`.
#![no_main]

use std::io::{Cursor, Write};
use std::path::Path;

use gatelet_cli::import::from_bytes;
use libfuzzer_sys::fuzz_target;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fuzz_target!(|bytes: &[u8]| {
    let archive = match bytes {
        [b'P', b'K', ..] => bytes.to_vec(),
        [low, high, rest @ ..] => {
            let length = usize::from(u16::from_le_bytes([*low, *high]));
            archive(rest.split_at(length.min(rest.len())))
        }
        _ => return,
    };
    let _ = from_bytes(Path::new("/nowhere/model.keras"), archive);
});

fn archive((config, weights): (&[u8], &[u8])) -> Vec<u8> {
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in [("config.json", config), ("model.weights.h5", weights)] {
        zip.start_file(name, stored).expect("in memory");
        zip.write_all(bytes).expect("in memory");
    }
    zip.finish().expect("in memory").into_inner()
}
