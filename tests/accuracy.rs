//! What quantization costs on real data: the committed float models, quantized here and now.

mod common;

use std::path::Path;

use common::data;
use gatelet::{Packing, WeightType};
use gatelet_cli::calibrate::calibrate;
use gatelet_cli::data::Dataset;
use gatelet_cli::evaluate::{Evaluation, evaluate};
use gatelet_cli::host::Blob;
use gatelet_cli::import::import;
use gatelet_cli::pack::{Notes, pack};
use gatelet_cli::quantize::quantize;
use gatelet_fsdd::Digits;
use indicatif::ProgressBar;

fn quantized(model: &Path, calibration: &Dataset, weights: WeightType) -> Blob {
    let graph = import(model).unwrap();
    let mut ranges = calibrate(&graph, &calibration.x, &ProgressBar::hidden());
    // The longest of the vowels' test utterances, which are read as a whole, is longer.
    ranges.steps = ranges.steps.max(29);
    let quantized = quantize(&graph, &ranges, weights).unwrap();
    Blob::new(&pack(&quantized, Packing::Plain, &Notes::default()).unwrap())
}

fn evaluation(
    model: &Path,
    calibration: &Dataset,
    test: &Dataset,
    weights: WeightType,
) -> Evaluation {
    let blob = quantized(model, calibration, weights);
    let graph = import(model).unwrap();
    let result = evaluate(&blob, test, Some(&graph), &ProgressBar::hidden()).unwrap();
    println!("{} {weights:?}: {result:?}", model.display());
    result
}

/// Answers lost by the integer model.
fn lost(result: &Evaluation) -> f64 {
    let share = result.float_accuracy.unwrap() - result.accuracy.unwrap();
    share * result.samples as f64
}

#[test]
fn vowels_lose_one_utterance_of_370_or_none() {
    let train = Dataset::read(&data("vowels/train.npz")).unwrap();
    let test = Dataset::read(&data("vowels/test.npz")).unwrap();
    for (cell, most) in [("lstm", 1.0), ("gru", 1.0), ("rnn", 1.0), ("bigru", 1.0)] {
        let model = data(&format!("vowels/{cell}.keras"));
        let int8 = evaluation(&model, &train, &test, WeightType::Int8);
        assert_eq!(int8.samples, 370);
        assert!(lost(&int8) <= most + 0.01, "{cell}: {int8:?}");
        let int16 = evaluation(&model, &train, &test, WeightType::Int16);
        assert!(lost(&int16).abs() <= 0.01 && int16.sqnr_db.unwrap() >= 60.0, "{cell}: {int16:?}");
    }
}

/// The smallest keyword models published, EdgeML's of 5.5 KB, are such cells.
#[test]
fn a_fastgrnn_of_low_rank_keeps_its_answers_in_a_small_blob() {
    let train = Dataset::read(&data("vowels/train.npz")).unwrap();
    let test = Dataset::read(&data("vowels/test.npz")).unwrap();
    let model = data("vowels/fastgrnn.safetensors");
    let int8 = evaluation(&model, &train, &test, WeightType::Int8);
    assert!(int8.float_accuracy.unwrap() >= 0.96, "{int8:?}");
    assert!(lost(&int8) <= 1.01, "{int8:?}");
    assert!(int8.blob_bytes <= 5500, "{int8:?}");
    let int16 = evaluation(&model, &train, &test, WeightType::Int16);
    assert!(lost(&int16).abs() <= 0.01 && int16.sqnr_db.unwrap() >= 60.0, "{int16:?}");
}

#[test]
fn motions_lose_one_of_40_or_none() {
    let train = Dataset::read(&data("motions/train.npz")).unwrap();
    let test = Dataset::read(&data("motions/test.npz")).unwrap();
    let model = data("motions/rnn.keras");
    let int8 = evaluation(&model, &train, &test, WeightType::Int8);
    assert_eq!(int8.samples, 40);
    assert!(lost(&int8) <= 1.01, "{int8:?}");
    let int16 = evaluation(&model, &train, &test, WeightType::Int16);
    assert!(lost(&int16).abs() <= 0.01, "{int16:?}");
}

#[test]
fn activities_lose_nothing_at_50_000_steps() {
    let calibration = Dataset::read(&data("hapt/calib.npz")).unwrap();
    let test = Dataset::read(&data("hapt/test.npz")).unwrap();
    for (cell, points) in [("lstm", 0.1), ("gru", 0.1), ("rnn", 0.5)] {
        let model = data(&format!("hapt/{cell}.keras"));
        let int8 = evaluation(&model, &calibration, &test, WeightType::Int8);
        let cost = 100.0 * (int8.float_accuracy.unwrap() - int8.accuracy.unwrap());
        assert!(cost <= points, "{cell}: {cost} points, {int8:?}");
    }
}

#[test]
fn digits_lose_at_most_one_recording_of_300() {
    let Some(recordings) = gatelet_fsdd::recordings() else {
        println!("not run: ../shared/data/fsdd is absent");
        assert!(std::env::var_os("CI").is_none(), "CI has the recordings and must test them");
        return;
    };
    let digits = Digits::read(&recordings).unwrap();
    for cell in ["lstm", "gru"] {
        let model = data(&format!("digits/{cell}.keras"));
        let int8 = evaluation(&model, &digits.calibration, &digits.test, WeightType::Int8);
        assert_eq!(int8.samples, 300);
        assert!(int8.float_accuracy.unwrap() >= 0.99, "{cell}: {int8:?}");
        assert!(lost(&int8) <= 1.01, "{cell}: {int8:?}");
        let int16 = evaluation(&model, &digits.calibration, &digits.test, WeightType::Int16);
        assert!(int16.sqnr_db.unwrap() >= 60.0, "{cell}: {int16:?}");
    }
    for cell in ["rnn", "rnn_relu"] {
        let model = data(&format!("digits/{cell}.keras"));
        let int8 = evaluation(&model, &digits.calibration, &digits.test, WeightType::Int8);
        assert!(lost(&int8) <= 1.01, "{cell}: {int8:?}");
    }
    let lstm = quantized(&data("digits/lstm.keras"), &digits.calibration, WeightType::Int8);
    let model = data("digits/lstm.keras");
    let int4 = evaluation(&model, &digits.calibration, &digits.test, WeightType::Int4);
    assert!(lost(&int4) <= 3.01, "{int4:?}");
    assert!(int4.blob_bytes * 10 <= lstm.bytes().len() * 6, "{} bytes", int4.blob_bytes);
    assert!(lstm.bytes().len() <= 24_500 * 1024 / 1000, "{} bytes", lstm.bytes().len());
    assert_eq!(import(&data("digits/lstm.keras")).unwrap().parameters(), 22_410);
}

#[test]
fn the_same_network_in_every_format_gives_the_same_blob() {
    // The digits network takes 20 features: any data of that width calibrates all alike.
    let x = common::Random(9).sequences(8, 64, 20);
    let calibration = Dataset { x, y: None };
    let blobs: Vec<Vec<u8>> = ["keras", "h5", "safetensors", "onnx"]
        .iter()
        .map(|format| {
            let model = data(&format!("digits/lstm.{format}"));
            quantized(&model, &calibration, WeightType::Int8).bytes().to_vec()
        })
        .collect();
    assert!(blobs[0] == blobs[1], "Keras 3 and legacy HDF5");
    assert!(blobs[0] == blobs[2], "Keras and PyTorch names");
    assert!(blobs[0] == blobs[3], "Keras and ONNX");
}

#[test]
fn a_bidirectional_network_gives_the_same_blob_too() {
    let x = common::Random(9).sequences(8, 20, 3);
    let calibration = Dataset { x, y: None };
    let formats = [".keras", ".h5", "_keras2.h5", ".safetensors", "_keras2.onnx", "_loop.onnx"];
    let blobs = formats.map(|format| {
        let model = data(&format!("import/both_stacked{format}"));
        quantized(&model, &calibration, WeightType::Int8).bytes().to_vec()
    });
    for (format, blob) in formats.iter().zip(&blobs) {
        assert!(*blob == blobs[0], "{format}");
    }
}
