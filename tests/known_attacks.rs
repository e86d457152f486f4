//! What broke other engines when a model was hostile, one test for each theme.

#[path = "common/blobs.rs"]
mod blobs;

use blobs::{golden_blobs, refusal, sealed, seeds, with_model};
use gatelet::blob::format::{self, extra, header, layer};
use gatelet::{Error, Model, Stream};

/// A blob with an LSTM and a dense layer, and with labels and metadata.
fn sample() -> Vec<u8> {
    golden_blobs().into_iter().find(|(name, _)| name.starts_with("digits_lstm")).unwrap().1
}

/// Writes a field and seals the blob again, so that the CRC does not save the reader.
fn forged(blob: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut forged = blob.to_vec();
    forged[at..][..bytes.len()].copy_from_slice(bytes);
    sealed(forged)
}

fn word(blob: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(blob[at..][..4].try_into().unwrap())
}

/// Where the first two layers' records are.
const RECORDS: [usize; 2] = [header::BYTES, header::BYTES + layer::BYTES];

/// Every field of the header that is an offset, and what the reader calls it.
const SECTIONS: [(usize, &str); 4] = [
    (header::NORMALIZATION, "normalization"),
    (header::LABELS, "labels"),
    (header::METADATA, "metadata"),
    (header::EXTRAS, "extras"),
];

/// CVE-2020-15211: an index of −1 or beyond the end stands for a tensor.
#[test]
fn an_index_of_minus_one_or_beyond_the_end_is_refused() {
    let blob = sample();
    let end = blob.len() as u32;
    for offset in [u32::MAX, u32::MAX - 15, 1 << 31, end, end / 16 * 16, end.next_multiple_of(16)] {
        let bytes = offset.to_le_bytes();
        for (index, record) in RECORDS.into_iter().enumerate() {
            for (field, name) in [(layer::ROWS, "rows"), (layer::DATA, "data")] {
                let refused = Some(Error::Layer { layer: index as u8, field: name });
                assert_eq!(refusal(&forged(&blob, record + field, &bytes)), refused, "{offset:#x}");
            }
        }
        for (field, name) in SECTIONS {
            let refused = Some(Error::Header { field: name });
            assert_eq!(refusal(&forged(&blob, field, &bytes)), refused, "{offset:#x}");
        }
    }
    // An index at run time: a token that the table does not have is token 0.
    let (_, text) = seeds().into_iter().find(|(name, _)| name == "text-int8").unwrap();
    let answer = |token: i16| {
        with_model(&text, |model| {
            let model = model.unwrap();
            let mut memory = vec![0; model.memory_words()];
            Stream::new(model, &mut memory).unwrap().step(&[token]).unwrap().to_vec()
        })
    };
    assert_ne!(answer(6), answer(0));
    for token in [-1, 7, i16::MIN, i16::MAX] {
        assert_eq!(answer(token), answer(0), "token {token}");
    }
}

/// CVE-2020-15212: an index in the model makes the engine write beyond its memory.
#[test]
fn nothing_is_written_beyond_the_memory() {
    const GUARD: u32 = 0xdead_beef;
    let mut stepped = 0;
    for (name, blob) in seeds() {
        for index in 0..usize::from(blob[header::LAYERS]) {
            let record = header::BYTES + index * layer::BYTES;
            for (field, size) in [layer::INPUTS, layer::UNITS]
                .into_iter()
                .flat_map(|field| (1..=12u16).chain([4096, 1 << 15]).map(move |size| (field, size)))
            {
                with_model(&forged(&blob, record + field, &size.to_le_bytes()), |model| {
                    let Ok(model) = model else { return };
                    let words = model.memory_words();
                    let mut memory = vec![GUARD; words + 8];
                    let (own, _) = memory.split_at_mut(words);
                    let mut stream = Stream::new(model, own).unwrap();
                    stream.step(&vec![i16::MAX; model.inputs()]).unwrap();
                    assert_eq!(memory[words..], [GUARD; 8], "{name}: layer {index} of {size}");
                    stepped += 1;
                });
            }
        }
    }
    assert!(stepped > 40, "{stepped} forged blobs passed");
    // Nor does a memory that is too short get a stream.
    with_model(&sample(), |model| {
        let model = model.unwrap();
        let mut memory = vec![0; model.memory_words() - 1];
        let (needed, given) = (model.memory_words(), memory.len());
        let refused = Stream::new(model, &mut memory).err();
        assert_eq!(refused, Some(Error::Memory { needed, given }));
    });
}

/// CVE-2021-37688: an optional part is missing, and what needs it does not look.
#[test]
fn parts_that_are_missing_are_done_without_or_refused() {
    let blob = sample();
    for (field, name) in SECTIONS {
        let found = refusal(&forged(&blob, field, &[0; 4]));
        let needed = name == "normalization";
        assert_eq!(found, needed.then_some(Error::Header { field: name }), "{name}");
    }
    for (field, name) in [(layer::ROWS, "rows"), (layer::DATA, "data")] {
        let refused = Some(Error::Layer { layer: 0, field: name });
        assert_eq!(refusal(&forged(&blob, RECORDS[0] + field, &[0; 4])), refused);
    }
    let bare = [header::LABELS, header::METADATA, header::EXTRAS]
        .into_iter()
        .fold(blob, |blob, field| forged(&blob, field, &[0; 4]));
    with_model(&bare, |model| {
        let model = model.unwrap();
        let mut memory = vec![0; model.memory_words()];
        assert_eq!(model.self_test(&mut memory), Ok(()));
        assert_eq!((model.labels().count(), model.metadata(), model.version()), (0, "", None));
        assert!(model.vocabulary().is_none() && model.audio().is_none());
        assert!(model.trigger().is_none() && model.anomaly().is_none());
        let mut values = [f32::NAN];
        model.dequantize(&[2], &mut values);
        assert_eq!(values, [2.0 * model.output_scale()]);
    });
}

/// CVE-2022-21741: a dimension or stride of zero that something is divided by.
#[test]
fn a_zero_divides_nothing() {
    for (name, blob) in seeds() {
        for index in 0..usize::from(blob[header::LAYERS]) {
            let record = header::BYTES + index * layer::BYTES;
            for field in [layer::INPUTS, layer::UNITS] {
                assert!(
                    matches!(
                        refusal(&forged(&blob, record + field, &[0, 0])),
                        Some(Error::Layer { layer, .. }) if usize::from(layer) == index
                    ),
                    "{name}: layer {index}"
                );
            }
        }
        assert!(refusal(&forged(&blob, header::LAYERS, &[0, 0])).is_some(), "{name}");
        assert!(refusal(&forged(&blob, header::OUTPUT_SCALE, &[0; 4])).is_some(), "{name}");
        let normalization = word(&blob, header::NORMALIZATION) as usize;
        let refused = Some(Error::Header { field: "normalization" });
        assert_eq!(refusal(&forged(&blob, normalization + 4, &[0; 4])), refused, "{name}");
    }
    // Every field of the front-end's settings: rate, window, hop, transform, bands.
    for name in ["spotter-bands", "spotter-mfcc"] {
        let (_, blob) = seeds().into_iter().find(|(seed, _)| seed == name).unwrap();
        let settings = section(&blob, extra::AUDIO);
        for field in (0..format::audio::COEFFICIENTS).step_by(2).skip(1) {
            let refused = Some(Error::Header { field: "audio" });
            assert_eq!(
                refusal(&forged(&blob, settings + field, &[0, 0])),
                refused,
                "{name} {field}"
            );
        }
    }
}

/// Where the content of a further section is.
fn section(blob: &[u8], kind: u32) -> usize {
    let directory = word(blob, header::EXTRAS) as usize;
    let entries = (0..word(blob, directory) as usize).map(|k| directory + 4 + extra::BYTES * k);
    let entry = { entries }.find(|at| word(blob, *at) == kind).expect("the section is there");
    word(blob, entry + 4) as usize + 4
}

/// CVE-2022-23558: products of sizes that wrap when memory for them is reckoned.
#[test]
fn products_of_sizes_that_overflow_are_refused() {
    for (name, blob) in seeds() {
        for index in 0..usize::from(blob[header::LAYERS]) {
            let record = header::BYTES + index * layer::BYTES;
            let huge = [0xff, 0xff, 0xff, 0xff];
            assert!(refusal(&forged(&blob, record + layer::INPUTS, &huge)).is_some(), "{name}");
            let widest = [0x00, 0x80, 0x00, 0x80];
            assert!(refusal(&forged(&blob, record + layer::INPUTS, &widest)).is_some(), "{name}");
        }
        // Lengths and counts that wrap 32 bits once something is added or multiplied.
        let directory = word(&blob, header::EXTRAS) as usize;
        if directory > 0 {
            for count in [1 << 29, (1 << 29) + 1, 1 << 31, u32::MAX] {
                let refused = Some(Error::Header { field: "extras" });
                let found = refusal(&forged(&blob, directory, &count.to_le_bytes()));
                assert_eq!(found, refused, "{name}: {count} sections");
            }
        }
    }
}

#[test]
fn a_file_of_eight_bytes_is_refused() {
    assert_eq!(refusal(b"TFL3\x1c\0\0\0"), Some(Error::Magic));
    assert!(matches!(refusal(b"GATE\x01\0\0\0"), Some(Error::Length { found: 8, .. })));
    for length in 0..header::BYTES + format::CRC_BYTES {
        assert!(refusal(&sample()[..length]).is_some(), "{length} bytes");
    }
}

/// Tensors at addresses that the core cannot load words from.
#[test]
fn misaligned_tensors_are_refused() {
    let blob = sample();
    for by in [1, 2, 4, 8] {
        let moved = |at: usize| (word(&blob, at) + by).to_le_bytes();
        for (index, record) in RECORDS.into_iter().enumerate() {
            for (field, name) in [(layer::ROWS, "rows"), (layer::DATA, "data")] {
                let refused = Some(Error::Layer { layer: index as u8, field: name });
                let at = record + field;
                assert_eq!(refusal(&forged(&blob, at, &moved(at))), refused, "moved by {by}");
            }
        }
        for (field, name) in SECTIONS.into_iter().filter(|(at, _)| word(&blob, *at) > 0) {
            let refused = Some(Error::Header { field: name });
            assert_eq!(refusal(&forged(&blob, field, &moved(field))), refused, "moved by {by}");
        }
        // The whole blob.
        let mut words = vec![0u128; blob.len() / 16 + 2];
        let room: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        let copy = &mut room[by as usize..][..blob.len()];
        copy.copy_from_slice(&blob);
        assert_eq!(Model::from_bytes(copy).err(), Some(Error::Alignment), "moved by {by}");
    }
}
