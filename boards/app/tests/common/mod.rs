//! A small model, and blobs of it.

use std::collections::BTreeMap;

use gatelet::{Packing, WeightType};
use gatelet_cli::calibrate::calibrate;
use gatelet_cli::data::Sequences;
use gatelet_cli::graph::{
    Activation, Dense, Graph, GraphBuilder, Matrix, Op, Output, Rnn, RnnActivation,
};
use gatelet_cli::host::Blob;
use gatelet_cli::pack::{Notes, pack};
use gatelet_cli::quantize::quantize;
use indicatif::ProgressBar;

/// Two outputs, the second of which is likely when `input · x`, of which `memory` stays from step to
/// step, is above `threshold`.
pub(crate) fn detector(input: &[f64], memory: f64, threshold: f64) -> Graph {
    let matrix = |rows, cols, values: &[f64]| Matrix::new(rows, cols, values.to_vec());
    let mut builder = GraphBuilder::new(input.len());
    let body = Rnn {
        input: matrix(1, input.len(), input),
        recurrent: matrix(1, 1, &[memory]),
        bias: vec![0.0],
        activation: RnnActivation::Relu,
    };
    builder.layer("body", Op::Rnn(body)).unwrap();
    let head = Dense {
        weights: matrix(2, 1, &[-10.0 / threshold, 10.0 / threshold]),
        bias: vec![10.0, -10.0],
        activation: Activation::Softmax,
    };
    builder.layer("head", Op::Dense(head)).unwrap();
    builder.finish(Output::EveryStep).unwrap()
}

/// The blob of `graph`, calibrated on one sequence of `[steps][inputs]`.
pub(crate) fn blob(
    graph: &Graph,
    x: Vec<f32>,
    labels: [&str; 2],
    step: Option<f32>,
    extras: BTreeMap<u32, Vec<u8>>,
) -> Blob {
    let steps = x.len() / graph.inputs();
    let x = Sequences::new(x, steps, graph.inputs(), vec![steps]).unwrap();
    let mut seen = calibrate(graph, &x, &ProgressBar::hidden());
    seen.input_step = step;
    let quantized = quantize(graph, &seen, WeightType::Int8).unwrap();
    let labels = labels.map(str::to_owned).to_vec();
    let notes = Notes { labels, extras, ..Notes::default() };
    Blob::new(&pack(&quantized, Packing::Plain, &notes).unwrap())
}
