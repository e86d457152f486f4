//! Blobs that are not what they should be: every one is refused, with the right reason.

#[path = "common/blobs.rs"]
mod blobs;

use blobs::{data, golden_blobs, refusal, sealed, seeds, with_model};
use gatelet::blob::format::{self, extra, header, layer};
use gatelet::{Error, Model, Stream};
use rayon::prelude::*;

/// Writes a field and seals the blob again, so that the CRC does not save the reader.
fn forged(blob: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut forged = blob.to_vec();
    forged[at..][..bytes.len()].copy_from_slice(bytes);
    sealed(forged)
}

fn sample() -> Vec<u8> {
    golden_blobs().remove(0).1
}

/// One of the small blobs that fuzzing starts from.
fn seed(name: &str) -> Vec<u8> {
    seeds().into_iter().find(|(seed, _)| seed == name).expect("a seed of this name").1
}

/// Where the parameters or rows of the first layer are.
fn rows_of_first(blob: &[u8]) -> usize {
    let at = header::BYTES + layer::ROWS;
    u32::from_le_bytes(blob[at..at + 4].try_into().unwrap()) as usize
}

/// The parameter is a size that everything else depends on.
#[test]
fn impossible_numbers_of_cells_are_refused() {
    let blob = seed("lstm-peepholes-projection");
    let at = rows_of_first(&blob) + format::parameter::SIZE;
    for cells in [0u16, 0x8001, 0xffff, 4096] {
        let found = refusal(&forged(&blob, at, &cells.to_le_bytes()));
        assert_eq!(found, Some(Error::Layer { layer: 0, field: "rows" }), "{cells} cells");
    }
}

#[test]
fn impossible_factors_are_refused() {
    let factors = format::parameter::FACTORS;
    for (name, bad) in [
        // No epsilon, one that leaves no room for the variance.
        ("norm", [0, 0]),
        ("norm", [1, 1 << 30]),
        // Factors above 1.
        ("fastrnn", [(1 << 29) + 1, 0]),
        ("fastrnn", [0, (1 << 31) + 1]),
        ("fastgrnn", [(1 << 29) + 1, 0]),
        ("fastgrnn", [0, (1 << 29) + 1]),
    ] {
        let blob = seed(name);
        let bytes = bad.map(u32::to_le_bytes).concat();
        let found = refusal(&forged(&blob, rows_of_first(&blob) + factors, &bytes));
        assert_eq!(found, Some(Error::Layer { layer: 0, field: "rows" }), "{name}: {bad:x?}");
    }
    for (name, most) in [
        ("norm", [0, 1 << 30]),
        ("norm", [1, 0]),
        ("fastrnn", [1 << 29, 1 << 31]),
        ("fastgrnn", [1 << 29, 1 << 29]),
    ] {
        let blob = seed(name);
        let bytes = most.map(u32::to_le_bytes).concat();
        let found = refusal(&forged(&blob, rows_of_first(&blob) + factors, &bytes));
        assert_eq!(found, None, "{name}: {most:x?}");
    }
}

#[test]
fn every_one_bit_flip_is_refused() {
    for (name, blob) in golden_blobs() {
        assert_eq!(refusal(&blob), None, "{name}");
        (0..blob.len()).into_par_iter().for_each(|at| {
            let mut flipped = blob.clone();
            for bit in 0..8 {
                flipped[at] ^= 1 << bit;
                assert!(refusal(&flipped).is_some(), "{name}: bit {bit} of byte {at}");
                flipped[at] ^= 1 << bit;
            }
        });
    }
}

#[test]
fn every_truncation_is_refused() {
    for (name, blob) in golden_blobs() {
        for length in 0..blob.len() {
            assert!(refusal(&blob[..length]).is_some(), "{name}: {length} bytes");
        }
        let longer = [&blob[..], &[0]].concat();
        assert!(matches!(refusal(&longer), Some(Error::Length { .. })), "{name}");
    }
}

/// Which CRC-32 does not promise: it finds bursts, and any three bits.
#[test]
fn every_swap_of_two_bytes_is_refused() {
    let blobs = golden_blobs();
    let (name, blob) = blobs.iter().min_by_key(|(_, blob)| blob.len()).unwrap();
    (0..blob.len()).into_par_iter().for_each(|a| {
        let mut swapped = blob.clone();
        for b in a + 1..blob.len() {
            if blob[a] != blob[b] {
                swapped.swap(a, b);
                assert!(refusal(&swapped).is_some(), "{name}: bytes {a} and {b}");
                swapped.swap(a, b);
            }
        }
    });
}

/// Blobs of every minor version load, and answer what their self-test says where they carry one.
#[test]
fn golden_blobs_load_for_ever() {
    let mut versions = std::collections::BTreeSet::new();
    for (name, bytes) in golden_blobs() {
        with_model(&bytes, |model| {
            let model = model.unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut memory = vec![0; model.memory_words()];
            assert_eq!(model.self_test(&mut memory), Ok(()), "{name}");
        });
        versions.insert(u16::from_le_bytes([bytes[header::MINOR], bytes[header::MINOR + 1]]));
    }
    assert!(versions.contains(&0) && versions.contains(&format::MINOR), "{versions:?}");
}

/// A self-test whose steps are not what its length says.
#[test]
fn self_tests_that_do_not_fit_are_refused() {
    let blob = std::fs::read(data("blobs/small_gru_int8_plain.gate")).unwrap();
    let (_, at) = section(&blob, extra::SELF_TEST);
    for steps in [0u16, 1, 99, 0x8000, 0xffff] {
        let field = Some(Error::Header { field: "selftest" });
        assert_eq!(refusal(&forged(&blob, at + 4, &steps.to_le_bytes())), field, "{steps} steps");
    }
}

#[test]
fn an_unaligned_blob_is_refused() {
    let blob = sample();
    let mut shifted = vec![0u128; blob.len() / 16 + 2];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut shifted);
    bytes[4..][..blob.len()].copy_from_slice(&blob);
    assert_eq!(Model::from_bytes(&bytes[4..][..blob.len()]).unwrap_err(), Error::Alignment);
}

#[test]
fn header_fields_are_refused_by_name() {
    let blob = sample();
    let refused = |at, bytes: &[u8]| refusal(&forged(&blob, at, bytes));
    let field = |field| Some(Error::Header { field });
    assert_eq!(refused(header::MAGIC, b"GATO"), Some(Error::Magic));
    assert_eq!(refused(header::MAJOR, &[2, 0]), Some(Error::Version { major: 2 }));
    assert_eq!(refused(header::MAJOR, &[0, 0]), Some(Error::Version { major: 0 }));
    assert_eq!(refused(header::MINOR, &[7, 0]), None, "a later minor version is readable");
    assert!(matches!(refused(header::LENGTH, &[255; 4]), Some(Error::Length { .. })));
    assert_eq!(refused(header::LAYERS, &[0, 0]), field("layers"));
    assert!(refused(header::LAYERS, &[255, 255]).is_some());
    for packing in 0..=255 {
        let expected = if packing < 4 { None } else { field("packing") };
        assert_eq!(refused(header::PACKING, &[packing]), expected, "packing {packing}");
    }
    for flags in 0..=255 {
        // Bit 1 says something only of an answer that bit 0 promises.
        let expected = if matches!(flags, 0 | 1 | 3) { None } else { field("flags") };
        assert_eq!(refused(header::FLAGS, &[flags]), expected, "flags {flags}");
    }
    assert_eq!(refused(header::STEPS, &[1]), field("steps"));
    assert_eq!(refused(header::ENCODER, &[1]), field("encoder"));
    assert_eq!(refused(header::RESERVED, &[1]), field("reserved"));
    assert_eq!(refused(header::BYTES - 1, &[1]), field("reserved"));
    assert_eq!(refused(header::OUTPUT_SCALE, &f32::NAN.to_le_bytes()), field("output_scale"));
    assert_eq!(refused(header::OUTPUT_SCALE, &(-1f32).to_le_bytes()), field("output_scale"));
    for (at, name) in [
        (header::NORMALIZATION, "normalization"),
        (header::LABELS, "labels"),
        (header::METADATA, "metadata"),
    ] {
        for offset in [1u32, 8, 33, 0x7fff_fff0, 0xffff_fff0, blob.len() as u32 / 16 * 16] {
            assert_eq!(refused(at, &offset.to_le_bytes()), field(name), "offset {offset}");
        }
    }
}

#[test]
fn layer_fields_are_refused_by_name() {
    let blob = sample();
    let refused = |at: usize, bytes: &[u8]| refusal(&forged(&blob, header::BYTES + at, bytes));
    let field = |field| Some(Error::Layer { layer: 0, field });
    assert_eq!(refused(layer::KIND, &[99]), field("kind"));
    assert_eq!(refused(layer::VARIANT, &[99]), field("kind"));
    assert_eq!(refused(layer::WEIGHTS, &[0]), field("weights"));
    assert_eq!(refused(layer::SHIFT, &[17]), field("shift"));
    assert_eq!(refused(layer::SCALE, &f32::INFINITY.to_le_bytes()), field("scale"));
    assert_eq!(refused(layer::SCALE, &0f32.to_le_bytes()), field("scale"));
    // CVE-2022-21741: a zero dimension that something divides by.
    assert_eq!(refused(layer::INPUTS, &[0, 0]), field("inputs"));
    assert_eq!(refused(layer::UNITS, &[0, 0]), field("units"));
    // CVE-2022-23558: products of sizes that overflow at load.
    assert!(refused(layer::UNITS, &[255, 255]).is_some());
    assert!(refused(layer::INPUTS, &0x8000u16.to_le_bytes()).is_some());
    assert!(refused(layer::UNITS, &0x8000u16.to_le_bytes()).is_some());
    // CVE-2020-15211, CVE-2020-15212: offsets of −1 and beyond the end.
    for (at, name) in [(layer::ROWS, "rows"), (layer::DATA, "data")] {
        for offset in [0u32, 1, 16, 0xffff_fff0, u32::MAX, blob.len() as u32 / 16 * 16] {
            assert_eq!(refused(at, &offset.to_le_bytes()), field(name), "offset {offset:#x}");
        }
    }
}

/// A length of text that wraps 32 bits once its own four bytes are added.
#[test]
fn text_longer_than_the_blob_is_refused() {
    let blob = sample();
    for (field, name) in [(header::LABELS, "labels"), (header::METADATA, "metadata")] {
        let at = u32::from_le_bytes(blob[field..field + 4].try_into().unwrap()) as usize;
        for length in [blob.len() as u32, 0x7fff_ffff, 0xffff_fffc, u32::MAX] {
            let forged = forged(&blob, at, &length.to_le_bytes());
            assert_eq!(refusal(&forged), Some(Error::Header { field: name }), "{length:#x}");
        }
    }
}

#[test]
fn directories_that_lie_are_refused() {
    let blob = sample();
    // In the place of the metadata: what it says is not needed to run.
    let at = u32::from_le_bytes(blob[header::METADATA..][..4].try_into().unwrap());
    let refused = |offset: u32, directory: &[u32]| {
        let directory: Vec<u8> = directory.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut bytes = forged(&blob, header::METADATA, &[0; 4]);
        bytes[at as usize..][..directory.len()].copy_from_slice(&directory);
        refusal(&forged(&bytes, header::EXTRAS, &offset.to_le_bytes()))
    };
    let invalid = Some(Error::Header { field: "extras" });
    assert_eq!(refused(at, &[0]), None, "an empty directory");
    assert_eq!(refused(at, &[1, 0, at]), invalid, "no kind is 0");
    assert_eq!(refused(at, &[1, 0xffff, at]), invalid, "an unknown kind");
    for count in [1 << 16, 0x1fff_ffff, 0x2000_0000, u32::MAX] {
        assert_eq!(refused(at, &[count]), invalid, "{count} entries");
    }
    for offset in [1, 8, 32, 0xffff_fff0, blob.len() as u32 / 16 * 16] {
        assert_eq!(refused(offset, &[0]), invalid, "a directory at {offset}");
    }
}

/// Where a further section's entry of the directory lies, and where its length.
fn section(blob: &[u8], kind: u32) -> (usize, usize) {
    let word = |at: usize| u32::from_le_bytes(blob[at..][..4].try_into().unwrap());
    let directory = word(header::EXTRAS) as usize;
    let entries = (0..word(directory) as usize).map(|k| directory + 4 + extra::BYTES * k);
    let entry = { entries }.find(|at| word(*at) == kind).expect("the section is there");
    (entry, word(entry + 4) as usize)
}

fn forecaster() -> Vec<u8> {
    golden_blobs().into_iter().find(|(name, _)| name.starts_with("household")).unwrap().1
}

#[test]
fn scalings_of_outputs_that_cannot_scale_are_refused() {
    let blob = forecaster();
    let (_, at) = section(&blob, extra::OUTPUTS);
    assert_eq!(blob[at..][..4], 16u32.to_le_bytes(), "two outputs");
    let invalid = Some(Error::Header { field: "outputs" });
    let refused =
        |offset: usize, value: f32| refusal(&forged(&blob, at + 4 + offset, &value.to_le_bytes()));
    for mean in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(refused(0, mean), invalid, "mean {mean}");
    }
    for step in [0.0, -1.0, 1e-40, f32::NAN, f32::INFINITY] {
        assert_eq!(refused(12, step), invalid, "step {step}");
    }
    assert_eq!(refused(8, -1e30), None, "any finite mean will do");
    for length in [0u32, 8, 15] {
        assert_eq!(refusal(&forged(&blob, at, &length.to_le_bytes())), invalid, "{length} bytes");
    }
}

#[test]
fn anomaly_settings_out_of_range_are_refused() {
    use format::anomaly;
    let blob = forecaster();
    let (_, at) = section(&blob, extra::ANOMALY);
    let invalid = Some(Error::Header { field: "anomaly" });
    let refused = |offset: usize, bytes: &[u8]| refusal(&forged(&blob, at + 4 + offset, bytes));
    assert_eq!(refused(anomaly::THRESHOLD, &[0, 0]), invalid);
    for threshold in [[0, 1], [1, 0], [1, 1]] {
        assert_eq!(refused(anomaly::THRESHOLD, &threshold), None, "threshold {threshold:?}");
    }
    assert_eq!(refused(anomaly::WARMUP, &[255, 255]), None, "any warm-up will do");
    for rate in [0, 13, 255] {
        assert_eq!(refused(anomaly::RATE, &[rate]), invalid, "rate {rate}");
    }
    assert_eq!(refused(anomaly::RAISE, &[0]), invalid);
    assert_eq!(refused(anomaly::CLEAR, &[0]), invalid);
    assert_eq!(refused(anomaly::RESERVED, &[1]), invalid);
    for rate in [1, 12] {
        assert_eq!(refused(anomaly::RATE, &[rate]), None, "rate {rate}");
    }
    for scale in [1u32 << 15, (1 << 31) - 1] {
        assert_eq!(refused(anomaly::SCALES + 4, &scale.to_le_bytes()), None, "scale {scale}");
    }
    for scale in [0, (1 << 15) - 1, 1 << 31, u32::MAX] {
        assert_eq!(refused(anomaly::SCALES + 4, &scale.to_le_bytes()), invalid, "scale {scale}");
    }
    for length in [0u32, 7, 8, 12, 15] {
        assert_eq!(refusal(&forged(&blob, at, &length.to_le_bytes())), invalid, "{length} bytes");
    }
}

/// A front-end whose features are not the model's inputs, a trigger of other outputs.
#[test]
fn settings_of_another_model_are_refused() {
    for name in ["spotter-bands", "spotter-mfcc"] {
        let blob = seed(name);
        assert_eq!(refusal(&blob), None, "{name}");
        // As many rows and weights, padded.
        let inputs = blob[header::BYTES + layer::INPUTS] - 1;
        let forged = self::forged(&blob, header::BYTES + layer::INPUTS, &[inputs]);
        assert_eq!(refusal(&forged), Some(Error::Header { field: "audio" }), "{name}");
        let head = header::BYTES + layer::BYTES;
        let forged = self::forged(&blob, head + layer::UNITS, &[3]);
        assert_eq!(refusal(&forged), Some(Error::Header { field: "trigger" }), "{name}");
    }
}

/// A vocabulary is for a model that takes tokens.
#[test]
fn a_vocabulary_of_no_tokens_is_refused() {
    let blob = seed("forecaster");
    let (entry, at) = section(&blob, extra::OUTPUTS);
    let vocabulary = [&[0, 0][..], &[0xff; 8], &[0, 0]].concat();
    let forged = forged(&blob, at, &[&12u32.to_le_bytes()[..], &vocabulary].concat());
    let forged = self::forged(&forged, entry, &extra::VOCABULARY.to_le_bytes());
    assert_eq!(refusal(&forged), Some(Error::Header { field: "vocabulary" }));
}

/// Kernels multiply by them as if they were not negative.
#[test]
fn negative_multipliers_are_refused() {
    let blob = sample();
    let rows = rows_of_first(&blob);
    for byte in [5, 7] {
        let forged = forged(&blob, rows + 8 * 100 + byte, &[0x80]);
        assert_eq!(refusal(&forged), Some(Error::Layer { layer: 0, field: "rows" }));
        let largest = self::forged(&blob, rows + 8 * 100 + byte - 1, &i16::MAX.to_le_bytes());
        assert_eq!(refusal(&largest), None);
    }
}

#[test]
fn layers_that_do_not_fit_each_other_are_refused() {
    let blob = sample();
    let second = header::BYTES + layer::BYTES;
    let refused = |at: usize, bytes: &[u8]| refusal(&forged(&blob, second + at, bytes));
    let inputs =
        u16::from_le_bytes([blob[second + layer::INPUTS], blob[second + layer::INPUTS + 1]]);
    let fewer = (inputs - 1).to_le_bytes();
    assert_eq!(refused(layer::INPUTS, &fewer), Some(Error::Layer { layer: 1, field: "inputs" }));
}

/// CVE-2021-37688 (missing optional parts) and the 8-byte file.
#[test]
fn scraps_are_refused() {
    assert!(refusal(&[]).is_some());
    assert_eq!(refusal(b"TFL3\x1c\0\0\0"), Some(Error::Magic));
    // Nothing shorter than a header and a CRC is looked into, whatever length it claims.
    let least = header::BYTES + format::CRC_BYTES;
    let too_short = |found| Some(Error::Length { expected: least as u32, found });
    assert_eq!(refusal(b"GATE\x01\0\0\0"), too_short(8));
    assert_eq!(refusal(&sealed(b"GATE\x01\0\0\0____".to_vec())), too_short(12));
    let mut almost = vec![0; least - 1];
    almost[..8].copy_from_slice(b"GATE\x01\0\0\0");
    almost[header::LENGTH] = least as u8 - 1;
    assert_eq!(refusal(&almost), too_short(least as u32 - 1));
    let mut header_only = vec![0; least];
    header_only[..8].copy_from_slice(b"GATE\x01\0\0\0");
    let length = header_only.len() as u32;
    header_only[header::LENGTH..][..4].copy_from_slice(&length.to_le_bytes());
    // With no layers, and with one that is not there.
    let layers = Some(Error::Header { field: "layers" });
    header_only[header::OUTPUT_SCALE..][..4].copy_from_slice(&1f32.to_le_bytes());
    assert_eq!(refusal(&sealed(header_only.clone())), layers);
    header_only[header::LAYERS] = 1;
    assert_eq!(refusal(&sealed(header_only)), layers);
}

/// Every field of every record, set to every value of one byte: refused or usable, never a panic.
#[test]
fn whatever_passes_can_be_stepped() {
    for (name, blob) in golden_blobs().into_iter().chain(seeds()) {
        let layers = blob[header::LAYERS] as usize;
        let rows = rows_of_first(&blob);
        for at in (0..header::BYTES + layers * layer::BYTES).chain(rows..rows + 16) {
            for value in 0..=255 {
                with_model(&forged(&blob, at, &[value]), |model| {
                    let Ok(model) = model else { return };
                    let mut memory = vec![0; model.memory_words()];
                    let mut stream = Stream::new(model, &mut memory).unwrap();
                    let x = vec![i16::MIN; model.inputs()];
                    let outputs = stream.step(&x).unwrap().len();
                    assert_eq!(outputs, model.outputs(), "{name}: byte {at} = {value}");
                });
            }
        }
    }
}
