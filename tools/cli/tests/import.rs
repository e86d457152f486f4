//! Every model file of `tests/data/import` against what its framework answered.

use std::fs;
use std::path::{Path, PathBuf};

use gatelet_cli::data::Dataset;
use gatelet_cli::graph::{Graph, Output};
use gatelet_cli::import::import;
use gatelet_cli::npz::Npz;
use gatelet_cli::reference::forward;

/// Frameworks compute in float32.
const TOLERANCE: f64 = 1e-5;

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/import").join(file)
}

/// The outputs that count, sample after sample.
fn outputs(graph: &Graph, x: &Path) -> Vec<f64> {
    let responses = forward(graph, &Dataset::read(x).unwrap().x);
    let all = responses.iter().map(|response| match graph.output {
        Output::Last => response.last(graph.outputs()),
        Output::EveryStep => &response.outputs,
    });
    all.collect::<Vec<_>>().concat()
}

fn assert_answers(model: &Path, x: &Path, expected: &str) {
    let graph = import(model).unwrap();
    let expected = Npz::open(x).unwrap().array(expected).unwrap().unwrap().into_f32();
    let outputs = outputs(&graph, x);
    assert_eq!(outputs.len(), expected.len(), "{}", model.display());
    let worst =
        outputs.iter().zip(&expected).map(|(a, &b)| (a - f64::from(b)).abs()).fold(0.0, f64::max);
    assert!(worst < TOLERANCE, "{}: {worst}", model.display());
}

#[test]
fn keras_models_answer_as_keras_did() {
    let names = [
        "rnn_tanh",
        "rnn_relu",
        "lstm",
        "gru_reset_after",
        "gru_reset_before",
        "lstm_2layer",
        "mixed_3layer",
        "lstm_only",
        "lstm_every_step",
        "gru_time_distributed",
        "functional",
    ];
    for name in names {
        for file in [".keras", ".h5", "_keras2.h5"] {
            assert_answers(&data(&format!("{name}{file}")), &data(&format!("{name}.npz")), "y");
        }
    }
}
