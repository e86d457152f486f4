//! Encoder-decoders: against Keras' layers, blobs that lie about one, and a trained one that spells
//! English words as phonemes, on the host and on a board.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{data, on_board, on_host, sealed};
use gatelet::blob::format::{extra, header, layer};
use gatelet::{Error, Model, Packing, Stream, WeightType};
use gatelet_cli::calibrate::calibrate;
use gatelet_cli::data::{Dataset, Sequences};
use gatelet_cli::device::{Board, Sample, run};
use gatelet_cli::evaluate::evaluate;
use gatelet_cli::graph::Graph;
use gatelet_cli::host::{self, Blob};
use gatelet_cli::import::import;
use gatelet_cli::npz::Npz;
use gatelet_cli::pack::{Notes, pack};
use gatelet_cli::quantize::quantize;
use gatelet_cli::reference;
use gatelet_cli::self_test;
use gatelet_cli::text::{Generation, generate};
use gatelet_cli::vocabulary::Vocabulary;
use indicatif::ProgressBar;

/// A fixture: its network, its data, and what Keras answered.
fn fixture(cell: &str) -> (Graph, Dataset, Vec<f64>) {
    let graph = import(&data(&format!("import/seq2seq_{cell}.safetensors"))).unwrap();
    let file = data(&format!("import/seq2seq_{cell}.npz"));
    let y = Npz::open(&file).unwrap().array("y").unwrap().unwrap().into_f64();
    let x = Dataset { x: sequences(&file), y: None };
    (graph, x, y)
}

/// `x` alone: `y` is no target but Keras' answer.
fn sequences(file: &Path) -> Sequences {
    let mut npz = Npz::open(file).unwrap();
    let mut array = |name: &str| npz.array(name).unwrap().unwrap();
    let x = array("x");
    let (samples, steps) = (x.shape[0], x.shape[1]);
    let mut counts = |name: &str| -> Vec<usize> {
        let counts = array(name).into_i64().unwrap();
        counts.into_iter().map(|n| usize::try_from(n).unwrap()).collect()
    };
    let (lengths, encoder) = (counts("lengths"), counts("encoder"));
    assert_eq!(samples, lengths.len());
    let x = Sequences::new(x.into_f32(), steps, 1, lengths).unwrap();
    x.encoded(encoder).unwrap()
}

fn largest_difference(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn float_and_integers_answer_as_keras_did() {
    for cell in ["lstm", "gru"] {
        let (graph, Dataset { x, .. }, expected) = fixture(cell);
        assert_eq!(graph.encoder, 3);
        let float = reference::answers(&graph, &x).concat();
        assert!(largest_difference(&float, &expected) < 1e-5, "{cell}");
        let peak = expected.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
        for (weights, tolerance) in
            [(WeightType::Int16, 2e-3), (WeightType::Int8, 0.05), (WeightType::Int4, 0.5)]
        {
            for packing in [Packing::Plain, Packing::Dsp, Packing::Helium, Packing::Columns] {
                let blob = common::blob(&graph, &x, weights, packing);
                let model = blob.model().unwrap();
                assert_eq!(model.encoder(), 3);
                let raw = host::run(&model, &x, &ProgressBar::hidden()).concat();
                let difference = largest_difference(&host::dequantize(&model, &raw), &expected);
                println!("{cell} {weights:?} {packing:?}: {:.5} of the peak", difference / peak);
                assert!(difference < tolerance * peak, "{cell} {weights:?} {packing:?}");
            }
        }
    }
}

#[test]
fn the_decoder_goes_on_where_the_encoder_ended() {
    let (graph, Dataset { x, .. }, _) = fixture("lstm");
    let blob = common::blob(&graph, &x, WeightType::Int8, Packing::Plain);
    let model = blob.model().unwrap();
    let mut memory = vec![0; model.memory_words()];
    let mut stream = Stream::new(model, &mut memory).unwrap();
    stream.encode(&[3]).unwrap();
    let encoded: Vec<Vec<u32>> = (0..3).map(|k| stream.layer_state(k).to_vec()).collect();
    assert!((3..6).all(|k| stream.layer_state(k).iter().all(|word| *word == 0)));
    stream.hand_over();
    // Encoder: embedding, two LSTMs; decoder: the same and a head.
    assert_eq!(stream.layer_state(4), encoded[1]);
    assert_eq!(stream.layer_state(5), encoded[2]);
    stream.step(&[2]).unwrap();
    assert!(
        (0..3).all(|k| stream.layer_state(k) == encoded[k]),
        "the decoder leaves the encoder alone"
    );
    assert_eq!(stream.encode(&[]), Err(Error::Shape { expected: 1, found: 0 }));
    // A model without an encoder has nothing to encode.
    let plain = Blob::new(&common::golden_blobs().remove(0).1);
    let model = plain.model().unwrap();
    let mut memory = vec![0; model.memory_words()];
    let mut stream = Stream::new(model, &mut memory).unwrap();
    assert_eq!(stream.encode(&vec![0; model.inputs()]), Err(Error::Encoder));
}

#[test]
fn a_self_test_runs_encoder_and_decoder() {
    let (graph, Dataset { x, .. }, _) = fixture("gru");
    let seen = calibrate(&graph, &x, &ProgressBar::hidden());
    let quantized = quantize(&graph, &seen, WeightType::Int8).unwrap();
    let plain = Blob::new(&pack(&quantized, Packing::Plain, &Notes::default()).unwrap());
    let section = self_test::section(&plain.model().unwrap(), &x);
    let extras = BTreeMap::from([(extra::SELF_TEST, section)]);
    let notes = Notes { extras, ..Notes::default() };
    let tested = |altered: Option<usize>| {
        let mut quantized = quantized.clone();
        if let Some(layer) = altered {
            quantized.layers[layer].rows[0].bias += 1 << 14;
        }
        let blob = Blob::new(&pack(&quantized, Packing::Plain, &notes).unwrap());
        let model = blob.model().unwrap();
        model.self_test(&mut vec![0; model.memory_words()])
    };
    assert_eq!(tested(None), Ok(()));
    for layer in [1, 2, 4, 5, 6] {
        assert_eq!(tested(Some(layer)), Err(Error::SelfTest), "layer {layer}");
    }
}

#[test]
fn encoders_that_cannot_be_are_refused() {
    let (graph, Dataset { x, .. }, _) = fixture("gru");
    let blob = common::blob(&graph, &x, WeightType::Int8, Packing::Plain);
    let forged = |changes: &[(usize, &[u8])]| {
        let mut forged = blob.bytes().to_vec();
        for (at, bytes) in changes {
            forged[*at..][..bytes.len()].copy_from_slice(bytes);
        }
        Blob::new(&sealed(forged)).model().err()
    };
    let encoder = |layers: u16| forged(&[(header::ENCODER, &layers.to_le_bytes())]);
    let invalid = Some(Error::Header { field: "encoder" });
    assert_eq!(encoder(3), None);
    // Without a boundary there the second embedding is out of place.
    let misplaced = Some(Error::Layer { layer: 3, field: "kind" });
    assert_eq!([encoder(0), encoder(2), encoder(7), encoder(u16::MAX)], [misplaced; 4]);
    // Another unit of the state, a decoder that answers once.
    let scale = header::BYTES + 4 * layer::BYTES + layer::SCALE;
    assert_eq!(forged(&[(scale, &1.0f32.to_le_bytes())]), invalid);
    assert_eq!(forged(&[(header::FLAGS, &[1])]), invalid);
}

#[test]
fn data_that_is_not_for_an_encoder_decoder_is_refused() {
    let (graph, Dataset { x, .. }, _) = fixture("gru");
    let blob = common::blob(&graph, &x, WeightType::Int8, Packing::Plain);
    let model = blob.model().unwrap();
    let plain = Dataset::read(&data("import/tokens.npz")).unwrap().x;
    let message =
        |model: &Model<'_>, x: &Sequences| format!("{:#}", host::expect_fit(model, x).unwrap_err());
    assert!(message(&model, &plain).contains("needs an array `encoder`"));
    let tokens = import(&data("import/tokens.keras")).unwrap();
    let other = common::blob(&tokens, &plain, WeightType::Int8, Packing::Plain);
    assert!(message(&other.model().unwrap(), &x).contains("no encoder-decoder"));
    for counts in [vec![1], vec![0; 4], vec![10; 4]] {
        assert!(plain.clone().encoded(counts).is_err());
    }
}

/// The folder with the model that `tools/train/g2p.py` makes; `None` where it cannot be had.
fn g2p() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("target/g2p");
    if !folder.join("g2p.safetensors").exists() {
        let made = Command::new("python3").arg(root.join("tools/train/g2p.py")).status();
        if !made.is_ok_and(|status| status.success()) {
            println!("not run: `python3 tools/train/g2p.py` could not fetch its packages with pip");
            assert!(std::env::var_os("CI").is_none(), "CI has Python and pip and must test this");
            return None;
        }
    }
    Some(folder)
}

fn speller(folder: &Path, weights: WeightType) -> (Graph, Blob) {
    let graph = import(&folder.join("g2p.safetensors")).unwrap();
    let calibration = Dataset::read(&folder.join("calib.npz")).unwrap();
    let seen = calibrate(&graph, &calibration.x, &ProgressBar::hidden());
    let quantized = quantize(&graph, &seen, weights).unwrap();
    let labels = std::fs::read_to_string(folder.join("phonemes.txt")).unwrap();
    let labels: Vec<String> = labels.lines().map(str::to_owned).collect();
    let vocabulary = Vocabulary::read(&folder.join("letters.txt")).unwrap();
    let section = vocabulary.section(29, graph.outputs(), &labels).unwrap();
    let extras = BTreeMap::from([(extra::VOCABULARY, section)]);
    let blob = pack(&quantized, Packing::Dsp, &Notes { labels, extras, ..Notes::default() });
    (graph, Blob::new(&blob.unwrap()))
}

#[test]
fn words_are_spelled_as_the_float_model_spells_them() {
    let Some(folder) = g2p() else { return };
    let test = Dataset::read(&folder.join("test.npz")).unwrap();
    let (graph, blob) = speller(&folder, WeightType::Int8);
    let int8 = evaluate(&blob, &test, Some(&graph), &ProgressBar::hidden()).unwrap();
    let (_, narrow) = speller(&folder, WeightType::Int4);
    let int4 = evaluate(&narrow, &test, None, &ProgressBar::hidden()).unwrap();
    println!("{int8:?}\n{int4:?}");
    let (exact, error_rate) = (int8.float_exact.unwrap(), int8.float_error_rate.unwrap());
    assert!(exact > 0.6 && error_rate < 0.12, "the float model was better: {exact}, {error_rate}");
    for (result, bytes, points) in [(int8, 900_000, 0.3), (int4, 500_000, 1.0)] {
        assert!(result.blob_bytes <= bytes, "{result:?}");
        let lost = 100.0 * (exact - result.exact.unwrap());
        let more = 100.0 * (result.error_rate.unwrap() - error_rate);
        assert!(lost <= points && more <= points, "{lost} and {more} points");
    }

    let model = blob.model().unwrap();
    let say = |word: &str| {
        let how = Generation { length: 30, temperature: None, seed: 1 };
        generate(&model, word.as_bytes(), how).unwrap()
    };
    assert_eq!(say("network"), "N EH1 T W ER2 K");
    // The board says the same, and computes the same to the last bit on the way.
    let input = b"network\nmicrocontroller\nrust\nzzz\nna\xffve\n";
    let expected = on_host(&blob, input);
    let found = on_board("cortex-m7", "text", "g2p", &blob, input);
    assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(&expected));
    assert!(expected.starts_with(b"N EH1 T W ER2 K #"));

    // As `gatelet device` does: every output, and every state of encoder and decoder, of 4 bits too.
    let path = folder.join("int4.gate");
    std::fs::write(&path, narrow.bytes()).unwrap();
    let model = narrow.model().unwrap();
    let samples = Sample::all(&model, &test.x.spread(5));
    assert!(samples.iter().all(|sample| sample.encoded > 0));
    let report = run(&Board::named("cortex-m7").unwrap(), &path, model, &samples).unwrap();
    println!("{report:?}");
    assert_eq!((report.first_difference, report.panic_path), (None, None));
    assert_eq!(report.least_instructions, report.instructions_per_step);
}
