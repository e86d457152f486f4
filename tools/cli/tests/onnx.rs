//! ONNX files of `tests/data/import` against what onnxruntime answered.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use gatelet_cli::data::Dataset;
use gatelet_cli::graph::Graph;
use gatelet_cli::import::import;
use gatelet_cli::npz::Npz;
use gatelet_cli::reference::answers;
use tempfile::TempDir;
use zip::ZipArchive;

/// onnxruntime computes in float32.
const TOLERANCE: f64 = 1e-5;

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/import").join(file)
}

/// The largest difference of `graph`'s outputs from `expected` in the file.
fn error(graph: &Graph, file: &Path, expected: &str) -> f64 {
    let outputs = answers(graph, &Dataset::read(file).unwrap().x).concat();
    let expected = Npz::open(file).unwrap().array(expected).unwrap().unwrap().into_f32();
    assert_eq!(outputs.len(), expected.len(), "{}", file.display());
    let errors = outputs.iter().zip(&expected).map(|(a, &b)| (a - f64::from(b)).abs());
    errors.fold(0.0, f64::max)
}

#[track_caller]
fn assert_answers(model: &str, file: &str, expected: &str) {
    let graph = import(&data(model)).unwrap_or_else(|e| panic!("{e:#}"));
    let worst = error(&graph, &data(file), expected);
    assert!(worst < TOLERANCE, "{model}: {worst}");
}

#[test]
fn what_keras_exports_answers_as_keras_did() {
    for name in
        ["lstm", "lstm_2layer", "lstm_every_step", "lstm_only", "folded", "lengths", "norm_onnx"]
    {
        assert_answers(&format!("{name}.onnx"), &format!("{name}.npz"), "y");
    }
    let directed = ["both_only", "both_summed", "both_stacked"];
    for name in ["lstm", "gru_reset_after", "gru_time_distributed"].into_iter().chain(directed) {
        assert_answers(&format!("{name}_keras2.onnx"), &format!("{name}.npz"), "y");
    }
}

/// Layers that Keras 3 exports as loops, and what else is in these models.
const LOOPS: [&str; 13] = [
    "rnn_tanh",
    "rnn_relu",
    "gru_reset_after",
    "gru_reset_before",
    "hard_sigmoid",
    "mixed_3layer",
    "both_only",
    "both_summed",
    "both_stacked",
    "backwards",
    "cells",
    "functional",
    "both_functional",
];

#[test]
fn loops_answer_as_keras_did() {
    for name in LOOPS {
        assert_answers(&format!("{name}_loop.onnx"), &format!("{name}.npz"), "y");
    }
}

/// Whatever such a loop computes: another is refused, or answered as it does.
#[test]
fn changed_loops_are_refused_or_answer_as_in_onnxruntime() {
    let mut accepted = 0;
    let count = each_network("onnx_loops.zip", |k, model, file| match import(model) {
        Ok(graph) => {
            let error = error(&graph, file, "y");
            assert!(error < TOLERANCE, "{k}: {error}");
            accepted += 1;
        }
        Err(refusal) => {
            let sentence = format!("{refusal:#}");
            assert!(sentence.contains("(Loop): gatelet takes a loop that is"), "{k}: {sentence}");
        }
    });
    println!("{accepted} of {count} accepted");
    assert!((5..count - 10).contains(&accepted), "{accepted} of {count} accepted");
}

#[test]
fn what_pytorch_exports_answers_as_pytorch_would() {
    for name in ["rnn_tanh", "rnn_relu", "lstm", "gru", "lstm_2layer", "gru_3layer"] {
        let x = format!("torch_{name}.npz");
        assert_answers(&format!("torch_{name}_script.onnx"), &x, "y");
        // The newer exporter has no nn.RNN; its nn.LSTM keeps the weights beside the model.
        if !name.starts_with("rnn") {
            assert_answers(&format!("torch_{name}_dynamo.onnx"), &x, "y_steps");
        }
    }
    for style in ["script", "dynamo"] {
        assert_answers(&format!("torch_lstm_only_{style}.onnx"), "torch_lstm_only.npz", "h");
    }
}

#[test]
fn onnx_gives_the_same_network_as_the_file_it_was_exported_from() {
    let layers = |file: &str| {
        let graph = import(&data(file)).unwrap();
        (graph.layers.into_iter().map(|layer| layer.op).collect::<Vec<_>>(), graph.output)
    };
    // Whose numbers are rounded elsewhere: slopes, and the mean of two directions.
    let rounded = ["hard_sigmoid", "both_functional"];
    for name in LOOPS.into_iter().filter(|name| !rounded.contains(name)) {
        assert!(layers(&format!("{name}.keras")) == layers(&format!("{name}_loop.onnx")), "{name}");
    }
    for name in ["lstm", "lstm_2layer", "lstm_every_step", "lstm_only"] {
        assert!(layers(&format!("{name}.keras")) == layers(&format!("{name}.onnx")), "{name}");
    }
    let names = ["lstm", "gru_reset_after", "gru_time_distributed", "both_only", "both_stacked"];
    for name in names {
        let (h5, onnx) = (format!("{name}_keras2.h5"), format!("{name}_keras2.onnx"));
        assert!(layers(&h5) == layers(&onnx), "{name}");
    }
}

#[test]
fn random_networks_answer_as_in_onnxruntime() {
    random_networks("onnx_random.zip");
}

#[test]
fn hard_sigmoids_and_peepholes_answer_as_in_onnxruntime() {
    random_networks("onnx_variants.zip");
}

#[test]
fn random_networks_of_all_directions_answer_as_in_onnxruntime() {
    random_networks("onnx_directed.zip");
}

#[test]
fn networks_with_batches_first_answer_as_in_onnxruntime() {
    random_networks("onnx_layout.zip");
}

fn random_networks(archive: &str) {
    let mut worst: f64 = 0.0;
    let count = each_network(archive, |k, model, file| {
        let graph = import(model).unwrap_or_else(|e| panic!("{k}: {e:#}"));
        let error = error(&graph, file, "y");
        assert!(error < TOLERANCE, "{k}: {error}");
        worst = worst.max(error);
    });
    println!("{count} networks, largest difference {worst:.1e}");
}

/// Calls `f` with each model of the archive and the file of its answers; returns how many there are.
fn each_network(archive: &str, mut f: impl FnMut(usize, &Path, &Path)) -> usize {
    let mut archive = ZipArchive::new(File::open(data(archive)).unwrap()).unwrap();
    let folder = TempDir::new().unwrap();
    let count = archive.len() / 2;
    for k in 0..count {
        let mut unpack = |name: String| {
            let mut bytes = Vec::new();
            archive.by_name(&name).unwrap().read_to_end(&mut bytes).unwrap();
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let (model, file) = (unpack(format!("{k}.onnx")), unpack(format!("{k}.npz")));
        f(k, &model, &file);
    }
    count
}
