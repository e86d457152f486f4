//! Loading and stepping every kind of blob.

use std::path::Path;

use gatelet::{LayerKind, Model, Stream};

/// Files of a folder of the repository, by name.
fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .map(|path| {
            (path.file_name().unwrap().to_string_lossy().into(), std::fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// Reads a copy at an address that the engine takes.
fn with_model<R>(bytes: &[u8], then: impl FnOnce(Result<Model<'_>, gatelet::Error>) -> R) -> R {
    let mut room = vec![0; bytes.len() + 15];
    let at = room.as_ptr().addr().wrapping_neg() % 16;
    let copy = &mut room[at..][..bytes.len()];
    copy.copy_from_slice(bytes);
    then(Model::from_bytes(copy))
}

/// Steps twice; FNV-1a over the outputs of all layers.
fn answer(model: Model<'_>) -> u64 {
    let mut memory = vec![0; model.memory_words()];
    let mut stream = Stream::new(model, &mut memory).unwrap();
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut add = |values: &[i16]| {
        for byte in values.iter().flat_map(|value| value.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    let is_token = model.layer(0).is_some_and(|layer| layer.kind() == LayerKind::Embedding);
    let mut random = 1u32;
    for _ in 0..2 {
        let mut x = vec![0; model.inputs()];
        for x in &mut x {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *x = if is_token { 1 } else { (random >> 16) as i16 };
        }
        add(stream.step(&x).unwrap());
        for index in 0..model.depth() {
            add(stream.layer_output(index));
        }
    }
    let state = stream.state().to_vec();
    stream.restore(&state).unwrap();
    add(stream.output());
    assert_eq!(model.self_test(&mut memory), Ok(()));
    hash
}

/// What x86-64 says: every machine says it.
const ANSWERS: [(&str, u64); 6] = [
    ("hapt_lstm_int8_helium.gate", 0x3164_67cf_83eb_6c30),
    ("hapt_rnn_int16.gate", 0xb655_4ab5_95e9_153b),
    ("household_lstm_int8_dsp.gate", 0x0fa6_06f7_d454_0779),
    ("small_gru_int8_plain.gate", 0xc16f_03dd_fb80_f353),
    ("vowels_gru_int8_plain.gate", 0xd508_5f46_85b1_4e31),
    ("vowels_lstm_int4.gate", 0xa331_ad7b_7bd1_6ab2),
];

#[test]
fn golden_blobs_answer_as_ever() {
    let files = files("tests/data/blobs");
    for (name, expected) in ANSWERS {
        let (_, bytes) = files.iter().find(|(file, _)| file == name).expect("a golden blob");
        let found = with_model(bytes, |model| answer(model.unwrap()));
        assert_eq!(found, expected, "{name}: {found:#x}");
    }
}

/// Miri takes its time: every so many.
const SOME: usize = if cfg!(miri) { 15 } else { 1 };

/// The fuzzer's corpus: every cell, weight type and packing, and much that is refused.
#[test]
fn the_fuzzers_corpus_is_harmless() {
    let mut loaded = 0;
    for (_, bytes) in files("tools/fuzz/corpus/blob").into_iter().step_by(SOME) {
        let blob = &bytes[..bytes.len().saturating_sub(8)];
        loaded += with_model(blob, |model| u32::from(model.map(answer).is_ok()));
    }
    assert!(loaded >= 4, "{loaded}");
}

#[test]
fn truncated_and_flipped_blobs_are_refused() {
    let files = files("tests/data/blobs");
    let (_, bytes) = files.iter().min_by_key(|(_, bytes)| bytes.len()).unwrap();
    for length in (0..60).step_by(7).chain([100, bytes.len() - 1]) {
        with_model(&bytes[..length], |model| assert!(model.is_err(), "{length}"));
    }
    for at in (0..bytes.len()).step_by(1021) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x80;
        with_model(&flipped, |model| assert!(model.is_err(), "{at}"));
    }
}
