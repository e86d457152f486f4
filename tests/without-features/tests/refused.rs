//! A blob that needs what this build of the engine left out is refused by the feature's name. The
//! workspace's tests cannot show it: they build the engine with all features.

use std::path::Path;

use gatelet::{Error, Model};

/// Blobs below the repository's root, and the features that they need and this build lacks: the first
/// that the reader comes to.
const REFUSED: [(&str, &str); 12] = [
    ("tests/data/blobs/hapt_rnn_int16.gate", "rnn"),
    ("tests/data/blobs/vowels_gru_int8_plain.gate", "gru"),
    ("tests/data/blobs/vowels_lstm_int4.gate", "int4"),
    ("tests/data/blobs/digits_lstm_int8_dsp.gate", "packings"),
    ("tests/data/blobs/hapt_lstm_int8_helium.gate", "packings"),
    ("tests/data/blobs/tokens_lstm_int8_dsp.gate", "embedding"),
    ("tools/fuzz/corpus/blob/lstm-hard.seed", "variants"),
    ("tools/fuzz/corpus/blob/lstm-peepholes-projection.seed", "variants"),
    ("tools/fuzz/corpus/blob/norm.seed", "layer-norm"),
    ("tools/fuzz/corpus/blob/fastrnn.seed", "fast"),
    ("tools/fuzz/corpus/blob/fastgrnn.seed", "fast"),
    ("tools/fuzz/corpus/blob/both-last.seed", "bidirectional"),
];

#[repr(C, align(16))]
struct Aligned([u8; 65536]);

#[test]
fn what_was_left_out_is_refused_by_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (name, needed) in REFUSED {
        let mut bytes = std::fs::read(root.join(name)).unwrap();
        if name.ends_with(".seed") {
            bytes.truncate(bytes.len() - 8); // The fuzzer's noise.
        }
        let mut aligned = Box::new(Aligned([0; 65536]));
        aligned.0[..bytes.len()].copy_from_slice(&bytes);
        match Model::from_bytes(&aligned.0[..bytes.len()]) {
            Err(Error::Feature { feature, .. }) => assert_eq!(feature, needed, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}
