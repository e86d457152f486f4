//! Layers that run backwards and beside each other: the passes of the engine are, bit for bit, what
//! its layers give one by one, and follow the float network.

mod common;

use common::{Random, cells};
use gatelet::{Error, Packing, Stream, WeightType};
use gatelet_cli::calibrate::calibrate;
use gatelet_cli::data::Sequences;
use gatelet_cli::graph::{Activation, Dense, Direction, Graph, GraphBuilder, Op, Output};
use gatelet_cli::host::{self, Blob};
use gatelet_cli::pack::{Notes, pack};
use gatelet_cli::quantize::{Layer, Quantized, quantize};
use gatelet_cli::sqnr::Recording;
use indicatif::ProgressBar;

const STEPS: usize = 13;

/// Two bidirectional layers of cell `cell`, other sizes in each direction, and a head if `classes`.
fn graph(cell: usize, output: Output, classes: usize, random: &mut Random) -> Graph {
    let mut op = |inputs, units| cells(inputs, units, random).swap_remove(cell);
    let (a, b) = (op(5, 8), op(5, 6));
    let (c, d, e) = (op(14, 7), op(14, 4), op(14, 5));
    let mut builder = GraphBuilder::new(5);
    builder.layer("a", a).unwrap();
    builder.beside("b", b, Direction::Reverse).unwrap();
    builder.directed("c", c, Direction::Reverse).unwrap();
    builder.beside("d", d, Direction::Forward).unwrap();
    builder.beside("e", e, Direction::Reverse).unwrap();
    if classes > 0 {
        let (weights, bias) = (random.matrix(classes, 16), random.vector(classes));
        let activation = Activation::Softmax;
        builder.layer("head", Op::Dense(Dense { weights, bias, activation })).unwrap();
    }
    builder.finish(output).unwrap()
}

fn quantized(graph: &Graph, x: &Sequences) -> Quantized {
    quantize(graph, &calibrate(graph, x, &ProgressBar::hidden()), WeightType::Int8).unwrap()
}

fn blob(quantized: &Quantized) -> Blob {
    Blob::new(&pack(quantized, Packing::Dsp, &Notes::default()).unwrap())
}

type Rows = Vec<Vec<i16>>;

/// One layer over `input`, as a model of its own that streams forward.
fn alone(layer: &Layer, input: &Rows) -> Rows {
    let layer = Layer { reverse: false, beside: false, ..layer.clone() };
    let model = Quantized {
        normalization: vec![(0.0, 1.0); layer.inputs],
        layers: vec![layer],
        encoder: 0,
        output: Output::EveryStep,
        output_scaling: None,
        steps: 0,
    };
    let blob = blob(&model);
    let model = blob.model().unwrap();
    let mut memory = vec![0; model.memory_words()];
    let mut stream = Stream::new(model, &mut memory).unwrap();
    input.iter().map(|x| stream.step(x).unwrap().to_vec()).collect()
}

/// The answers of a model, layer by layer.
fn layer_by_layer(quantized: &Quantized, input: &Rows) -> Vec<i16> {
    let layers = &quantized.layers;
    let is_recurrent = |layer: &Layer| !layer.rows[0].h.weights.is_empty();
    let (mut given, mut rows) = (Rows::new(), input.clone());
    for (index, layer) in layers.iter().enumerate() {
        if !layer.beside {
            given = std::mem::take(&mut rows);
        }
        let turn = |mut rows: Rows| {
            if layer.reverse {
                rows.reverse();
            }
            rows
        };
        let mut outputs = turn(alone(layer, &turn(given.clone())));
        let mut behind = layers[index + 1..].iter().skip_while(|layer| layer.beside);
        if quantized.output.is_once() && !behind.any(is_recurrent) {
            let is_final = quantized.output == Output::Last;
            let at = if layer.reverse && is_final { 0 } else { outputs.len() - 1 };
            outputs = vec![outputs.swap_remove(at)];
        }
        rows.resize(outputs.len(), Vec::new());
        rows.iter_mut().zip(outputs).for_each(|(row, output)| row.extend(output));
    }
    rows.concat()
}

#[test]
fn passes_are_the_layers_one_by_one() {
    let mut random = Random(7);
    for cell in 0..5 {
        for output in [Output::Last, Output::AtLast, Output::EveryStep] {
            for classes in [0, 3] {
                let graph = graph(cell, output, classes, &mut random);
                let x = random.sequences(6, STEPS, 5);
                let quantized = quantized(&graph, &x);
                let blob = blob(&quantized);
                let model = blob.model().unwrap();
                assert_eq!(model.steps(), STEPS);
                let mut memory = vec![0xdead_beef; model.memory_words()];
                for steps in [1, 2, STEPS - 1, STEPS] {
                    let input = host::quantize(&model, &x.sample(0)[..steps * 5]);
                    let mut stream = Stream::new(model, &mut memory).unwrap();
                    let last = stream.run(&input).unwrap().to_vec();
                    let rows = input.chunks_exact(5).map(<[i16]>::to_vec).collect();
                    let expected = layer_by_layer(&quantized, &rows);
                    let name = format!("cell {cell}, {output:?}, {classes} classes, {steps} steps");
                    assert_eq!(stream.outputs(), expected, "{name}");
                    assert_eq!(last, expected[expected.len() - model.outputs()..], "{name}");
                }
            }
        }
    }
}

#[test]
fn integers_follow_the_float_network() {
    let mut random = Random(8);
    for cell in 0..5 {
        for output in [Output::Last, Output::AtLast, Output::EveryStep] {
            let graph = graph(cell, output, 3, &mut random);
            let x = random.sequences(20, STEPS, 5);
            let quantized = quantized(&graph, &x);
            let blob = blob(&quantized);
            let noise = Recording::new(&graph, x).layers(&blob.model().unwrap());
            for (layer, noise) in graph.layers.iter().zip(noise) {
                let (name, db) = (&layer.name, noise.db());
                assert!(noise.is_something() && db > 30.0, "cell {cell}, {output:?}, {name}: {db}");
            }
        }
    }
}

fn lstm(output: Output) -> (Blob, Vec<i16>) {
    let mut random = Random(9);
    let graph = graph(0, output, 3, &mut random);
    let x = random.sequences(6, STEPS, 5);
    let blob = blob(&quantized(&graph, &x));
    let input = host::quantize(&blob.model().unwrap(), x.sample(0));
    (blob, input)
}

#[test]
fn a_sequence_may_be_cut_saved_restored_and_go_on_after_an_answer() {
    let (blob, input) = lstm(Output::Last);
    let model = blob.model().unwrap();
    let words = model.memory_words();
    let (mut a, mut b, mut c) = (vec![0; words], vec![0; words], vec![7; words]);
    let expected = Stream::new(model, &mut a).unwrap().run(&input).unwrap().to_vec();
    for split in 0..=STEPS {
        let mut first = Stream::new(model, &mut b).unwrap();
        first.run(&input[..5 * split]).unwrap();
        let mut second = Stream::new(model, &mut c).unwrap();
        second.restore(first.state()).unwrap();
        assert_eq!(second.run(&input[5 * split..]).unwrap(), expected, "split after {split}");
        for x in input[5 * split..].chunks_exact(5) {
            first.step(x).unwrap();
        }
        assert_eq!(first.output(), expected, "answers after step {split}");
    }
}

#[test]
fn a_step_too_many_is_refused_and_changes_nothing() {
    let (blob, input) = lstm(Output::EveryStep);
    let model = blob.model().unwrap();
    let mut memory = vec![0; model.memory_words()];
    let mut stream = Stream::new(model, &mut memory).unwrap();
    let expected = stream.run(&input).unwrap().to_vec();
    let refused = Error::Steps { most: STEPS };
    assert_eq!(stream.step(&[1; 5]).unwrap_err(), refused);
    assert_eq!(stream.advance(&[1; 5]).unwrap_err(), refused);
    assert_eq!(stream.output(), expected);
    stream.reset();
    assert_eq!(stream.run(&[0; 5 * (STEPS + 1)]).unwrap_err(), refused);
    assert!(stream.outputs().is_empty(), "no step, no answer to one");
    assert_eq!(stream.run(&input).unwrap(), expected);
    // Every pass starts from zero.
    assert_eq!(stream.set_state(0, &[0; 8], &[0; 8]), Err(Error::State { layer: 0 }));
}

/// The count of steps is part of a state, and may come back damaged.
#[test]
fn a_damaged_state_gives_some_answer() {
    let (blob, input) = lstm(Output::EveryStep);
    let model = blob.model().unwrap();
    let mut memory = vec![0; model.memory_words()];
    let mut stream = Stream::new(model, &mut memory).unwrap();
    for word in [0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 5] {
        let state = vec![word; stream.state().len()];
        stream.restore(&state).unwrap();
        assert!(stream.outputs().len() <= 3 * STEPS);
        stream.reset();
        stream.run(&input).unwrap();
    }
}

#[test]
fn the_bound_is_the_longest_calibration_sequence_unless_told() {
    let mut random = Random(10);
    let graph = graph(1, Output::Last, 2, &mut random);
    let values = (0..4 * 9 * 5).map(|_| random.real(1.0) as f32).collect();
    let x = Sequences::new(values, 9, 5, vec![3, 6, 5, 2]).unwrap();
    let mut seen = calibrate(&graph, &x, &ProgressBar::hidden());
    for steps in [6, 40] {
        let quantized = quantize(&graph, &seen, WeightType::Int8).unwrap();
        assert_eq!(blob(&quantized).model().unwrap().steps(), steps);
        seen.steps = 40;
    }
    seen.steps = 1 << 16;
    let refusal = quantize(&graph, &seen, WeightType::Int8).unwrap_err().to_string();
    assert!(refusal.contains("65536 steps are too long"), "{refusal}");
}
