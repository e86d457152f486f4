//! Blobs that are committed, and blobs forged from them: needs nothing but the engine.
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use gatelet::{Error, Model};

/// A file of `tests/data`.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The fuzzer's corpus of blobs.
pub(crate) fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/fuzz/corpus/blob")
}

/// Bytes of noise behind the blob in a file of the fuzzer's corpus.
pub(crate) const NOISE: usize = 8;

/// Blobs by name, those of which the name is wanted.
fn read(folder: PathBuf, wanted: impl Fn(&Path) -> bool) -> Vec<(String, Vec<u8>)> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut blobs: Vec<_> = paths
        .filter(|path| wanted(path))
        .map(|path| (name(&path), std::fs::read(path).unwrap()))
        .collect();
    blobs.sort();
    blobs
}

/// The blobs of formats 1.0 and 1.1 that every later reader must load.
pub(crate) fn golden_blobs() -> Vec<(String, Vec<u8>)> {
    let blobs = read(data("blobs"), |path| path.extension().is_some_and(|e| e == "gate"));
    assert!(blobs.len() >= 5, "golden blobs are missing");
    blobs
}

/// The small blobs that fuzzing starts from, one for each kind of layer and section, as
/// `tests/seeds.rs` makes them.
pub(crate) fn seeds() -> Vec<(String, Vec<u8>)> {
    let is_seed = |path: &Path| path.extension().is_some_and(|e| e == "seed");
    let mut seeds = read(corpus(), is_seed);
    assert!(seeds.len() >= 19, "seeds are missing");
    for (_, bytes) in &mut seeds {
        bytes.truncate(bytes.len() - NOISE);
    }
    seeds
}

/// The blob with the CRC that its bytes ask for.
pub(crate) fn sealed(mut blob: Vec<u8>) -> Vec<u8> {
    let end = blob.len() - gatelet::blob::format::CRC_BYTES;
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&blob[..end]);
    blob[end..].copy_from_slice(&crc.to_le_bytes());
    blob
}

/// What the engine makes of a copy at an address that it takes.
pub(crate) fn with_model<R>(bytes: &[u8], then: impl FnOnce(Result<Model<'_>, Error>) -> R) -> R {
    let mut words = vec![0u128; bytes.len().div_ceil(16)];
    let copy = &mut bytemuck::cast_slice_mut(&mut words)[..bytes.len()];
    copy.copy_from_slice(bytes);
    then(Model::from_bytes(copy))
}

/// Why the engine refuses it, if it does.
pub(crate) fn refusal(bytes: &[u8]) -> Option<Error> {
    with_model(bytes, |model| model.err())
}
