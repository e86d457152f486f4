//! What a model tells of itself is what its blob says, field by field.

#[path = "common/blobs.rs"]
mod blobs;

use blobs::{golden_blobs, sealed, seeds, with_model};
use gatelet::blob::format::{extra, header, layer};
use gatelet::{Packing, Stream, WeightType};

fn half(blob: &[u8], at: usize) -> usize {
    u16::from_le_bytes(blob[at..][..2].try_into().unwrap()).into()
}

fn word(blob: &[u8], at: usize) -> usize {
    u32::from_le_bytes(blob[at..][..4].try_into().unwrap()) as usize
}

fn float(blob: &[u8], at: usize) -> f32 {
    f32::from_bits(word(blob, at) as u32)
}

/// The content of a section that starts with its length.
fn sized(blob: &[u8], at: usize) -> &[u8] {
    if at == 0 { &[] } else { &blob[at + 4..][..word(blob, at)] }
}

/// The content of a further section.
fn section(blob: &[u8], kind: u32) -> Option<&[u8]> {
    let directory = word(blob, header::EXTRAS);
    let count = if directory == 0 { 0 } else { word(blob, directory) };
    let mut entries = (0..count).map(|k| directory + 4 + extra::BYTES * k);
    let entry = entries.find(|at| word(blob, *at) == kind as usize)?;
    Some(sized(blob, word(blob, entry + 4)))
}

fn scaling(records: &[u8], index: usize) -> (f32, f32) {
    (float(records, 8 * index), float(records, 8 * index + 4))
}

#[test]
fn a_model_says_what_its_blob_says() {
    for (name, blob) in golden_blobs().into_iter().chain(seeds()) {
        with_model(&blob, |model| {
            let model = model.unwrap_or_else(|error| panic!("{name}: {error}"));
            let depth = half(&blob, header::LAYERS);
            assert_eq!(model.depth(), depth, "{name}");
            assert!(model.layer(depth).is_none(), "{name}");
            let packings = [Packing::Plain, Packing::Dsp, Packing::Helium, Packing::Columns];
            assert_eq!(model.packing(), packings[usize::from(blob[header::PACKING])], "{name}");
            assert_eq!(model.answers_last(), blob[header::FLAGS] & 1 != 0, "{name}");
            assert_eq!(model.answers_at_last(), blob[header::FLAGS] & 2 != 0, "{name}");
            assert_eq!(model.steps(), half(&blob, header::STEPS), "{name}");
            assert_eq!(model.encoder(), half(&blob, header::ENCODER), "{name}");
            assert_eq!(model.output_scale(), float(&blob, header::OUTPUT_SCALE), "{name}");

            for index in 0..depth {
                let (at, of) = (header::BYTES + index * layer::BYTES, model.layer(index).unwrap());
                let variant = blob[at + layer::VARIANT];
                assert_eq!(of.kind().code(), (blob[at + layer::KIND], variant & 0x3f), "{name}");
                assert_eq!(of.is_reverse(), variant & 0x80 != 0, "{name}");
                assert_eq!(of.is_beside(), variant & 0x40 != 0, "{name}");
                let types = [WeightType::Int8, WeightType::Int16, WeightType::Int4];
                let weights = types[usize::from(blob[at + layer::WEIGHTS]) - 1];
                assert_eq!(of.weight_type(), weights, "{name}");
                assert_eq!(of.inputs(), half(&blob, at + layer::INPUTS), "{name}");
                assert_eq!(of.units(), half(&blob, at + layer::UNITS), "{name}");
                assert_eq!(of.scale(), float(&blob, at + layer::SCALE), "{name}");
            }

            let normalization = &blob[word(&blob, header::NORMALIZATION)..];
            for index in 0..model.inputs() {
                let expected = Some(scaling(normalization, index));
                assert_eq!(model.normalization(index), expected, "{name}");
            }
            assert_eq!(model.normalization(model.inputs()), None, "{name}");
            for index in 0..model.outputs() {
                let expected = match section(&blob, extra::OUTPUTS) {
                    Some(records) => scaling(records, index),
                    None => (0.0, model.output_scale()),
                };
                assert_eq!(model.output_scaling(index), Some(expected), "{name}");
            }
            assert_eq!(model.output_scaling(model.outputs()), None, "{name}");

            let text =
                |field| String::from_utf8(sized(&blob, word(&blob, field)).to_vec()).unwrap();
            assert_eq!(model.metadata(), text(header::METADATA), "{name}");
            let labels: Vec<_> = model.labels().collect();
            assert_eq!(labels, text(header::LABELS).lines().collect::<Vec<_>>(), "{name}");
            let has = |kind| section(&blob, kind).is_some();
            assert_eq!(model.vocabulary().is_some(), has(extra::VOCABULARY), "{name}");
            assert_eq!(model.audio().is_some(), has(extra::AUDIO), "{name}");
            assert_eq!(model.trigger().is_some(), has(extra::TRIGGER), "{name}");
            assert_eq!(model.anomaly().is_some(), has(extra::ANOMALY), "{name}");
            let version = section(&blob, extra::SIGNATURE).map(|section| word(section, 0) as u32);
            assert_eq!(model.version(), version, "{name}");
        });
    }
}

/// A self-test that expects another answer fails, at any of its outputs, and one that was right passes.
#[test]
fn a_self_test_compares_every_output() {
    let (_, blob) = seeds().into_iter().find(|(name, _)| name == "forecaster").unwrap();
    let section = section(&blob, extra::SELF_TEST).unwrap();
    let at = section.as_ptr().addr() - blob.as_ptr().addr();
    let (steps, inputs, outputs) = (half(section, 0), 2, 2);
    assert_eq!(section.len(), 2 + 2 * (steps * inputs + outputs));
    let result = |blob: &[u8]| {
        with_model(blob, |model| {
            let model = model.unwrap();
            model.self_test(&mut vec![0; model.memory_words()])
        })
    };
    assert_eq!(result(&blob), Ok(()));
    for output in 0..outputs {
        let mut forged = blob.clone();
        forged[at + section.len() - 2 * (output + 1)] ^= 1;
        assert_eq!(result(&sealed(forged)), Err(gatelet::Error::SelfTest), "output {output}");
    }
}

/// Ed25519 over all bytes before the signature; the key is the one that `tests/seeds.rs` signs with.
#[test]
fn a_signature_is_of_all_that_is_before_it() {
    use ed25519_dalek::{Signer, SigningKey};
    use gatelet::{Error, Model};

    let (_, blob) = seeds().into_iter().find(|(name, _)| name == "forecaster-signed").unwrap();
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = key.verifying_key().to_bytes();
    let end = blob.len() - 4 - 64;
    assert_eq!(blob[end..][..64], key.sign(&blob[..end]).to_bytes());

    let verified = |blob: &[u8], least| {
        let mut words = vec![0u128; blob.len().div_ceil(16)];
        let copy = &mut bytemuck::cast_slice_mut(&mut words)[..blob.len()];
        copy.copy_from_slice(blob);
        Model::from_signed_bytes(copy, &public, least).map(|model| model.version())
    };
    for least in [0, 3] {
        assert_eq!(verified(&blob, least), Ok(Some(3)));
    }
    assert_eq!(verified(&blob, 4), Err(Error::Downgrade { least: 4, found: 3 }));
    // Bytes that nothing else checks: a mean, the version, either end of the signature.
    let mean = word(&blob, header::NORMALIZATION);
    for at in [mean, end - 4, end, end + 63] {
        let mut forged = blob.clone();
        forged[at] ^= 1;
        assert_eq!(verified(&sealed(forged), 0), Err(Error::Signature), "byte {at}");
    }
    let (_, unsigned) = seeds().into_iter().find(|(name, _)| name == "forecaster").unwrap();
    assert_eq!(verified(&unsigned, 0), Err(Error::Unsigned));
    // Bytes behind a signature would escape it; nor may it be shorter.
    let section = section(&blob, extra::SIGNATURE).unwrap();
    let at = section.as_ptr().addr() - blob.as_ptr().addr() - 4;
    let refused = Err(Error::Header { field: "signature" });
    for (length, more) in [(68u32, 16), (84, 16), (52, 0), (0, 0)] {
        let mut forged = blob[..blob.len() - 4].to_vec();
        forged[at..][..4].copy_from_slice(&length.to_le_bytes());
        forged.resize(forged.len() + more + 4, 0);
        let length = (forged.len() as u32).to_le_bytes();
        forged[header::LENGTH..][..4].copy_from_slice(&length);
        assert_eq!(verified(&sealed(forged), 0), refused, "{more} more");
    }
}

/// Any stream of a model has the words that the model asks for, and a shorter memory is refused.
#[test]
fn every_seed_steps_in_the_words_it_asks_for() {
    for (name, blob) in seeds() {
        with_model(&blob, |model| {
            let model = model.unwrap();
            let words = model.memory_words();
            assert!(Stream::new(model, &mut vec![0; words - 1]).is_err(), "{name}");
            let mut memory = vec![0; words];
            let mut stream = Stream::new(model, &mut memory).unwrap();
            let y = stream.step(&vec![1; model.inputs()]).unwrap();
            assert_eq!(y.len(), model.outputs(), "{name}");
        });
    }
}
