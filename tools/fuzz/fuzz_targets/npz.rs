//! A data file from anywhere. What is no archive becomes the array `x` of one, so that no checksum is
//! in the way.
#![no_main]

use std::io::{Cursor, Write};
use std::path::Path;

use gatelet_cli::data::Dataset;
use gatelet_cli::npz::Npz;
use libfuzzer_sys::fuzz_target;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fuzz_target!(|bytes: &[u8]| {
    let archive = if bytes.starts_with(b"PK") { bytes.to_vec() } else { archive(bytes) };
    if let Ok(mut npz) = Npz::new(Path::new("data.npz"), Cursor::new(archive)) {
        let _ = Dataset::from_npz(&mut npz);
    }
});

fn archive(x: &[u8]) -> Vec<u8> {
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("x.npy", stored).expect("in memory");
    zip.write_all(x).expect("in memory");
    zip.finish().expect("in memory").into_inner()
}
