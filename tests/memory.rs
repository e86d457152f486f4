//! Long memories: what an open gate holds, it holds.

mod common;

use common::blob;
use gatelet::{Packing, Stream, WeightType};
use gatelet_cli::data::Sequences;
use gatelet_cli::graph::{Gates, GraphBuilder, Gru, Lstm, Matrix, Op, Output, Reset};

const STEPS: usize = 1_000_000;

/// The state word of unit 0 after the value was written, and after a million steps of noise.
fn before_and_after(op: Op) -> (i32, i32) {
    let values = [[1.0, 0.37], [1.0, -0.81], [0.0, 1.0], [0.0, -1.0]];
    let x = Sequences::new(values.concat(), 4, 2, vec![4]).unwrap();
    let mut builder = GraphBuilder::new(2);
    builder.layer("cell", op).unwrap();
    let graph = builder.finish(Output::EveryStep).unwrap();
    let blob = blob(&graph, &x, WeightType::Int8, Packing::Plain);
    let model = blob.model().unwrap();
    let [_, write, noise @ ..] = values.map(|x| {
        let mut q = [0; 2];
        model.quantize(&x, &mut q);
        q
    });
    let mut memory = vec![0; model.memory_words()];
    let mut stream = Stream::new(model, &mut memory).unwrap();
    stream.step(&write).unwrap();
    let written = stream.state()[0] as i32;
    for step in 0..STEPS {
        stream.step(&noise[step % 2]).unwrap();
    }
    (written, stream.state()[0] as i32)
}

#[test]
fn an_lstm_holds_a_value_for_a_million_steps() {
    // Input 0 opens the door, input 1 is the value behind it. Input gate: shut at −20 unless input 0 opens it; forget gate: open at +20.
    let input = Matrix::new(4, 2, vec![40.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    let recurrent = Matrix::new(4, 1, vec![0.0; 4]);
    let bias = vec![-20.0, 20.0, 0.0, 0.0];
    let (written, held) = before_and_after(Op::Lstm(Lstm::new(input, recurrent, bias)));
    let value = f64::from(written) / f64::from(1 << 20);
    assert!((value - (-0.81f64).tanh()).abs() < 0.01, "{value}");
    let lsb = 1 << (20 - 15);
    assert!((held - written).abs() <= lsb, "{written} became {held}");
}

#[test]
fn a_gru_holds_a_value_for_a_million_steps() {
    // Update gate: h' = z h + (1 − z) n, open at +20 unless input 0 shuts it.
    let input = Matrix::new(3, 2, vec![-40.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    let recurrent = Matrix::new(3, 1, vec![0.0; 3]);
    for reset in [Reset::Before, Reset::After { recurrent_bias: vec![0.0] }] {
        let (input, recurrent) = (input.clone(), recurrent.clone());
        let bias = vec![20.0, 0.0, 0.0];
        let (written, held) =
            before_and_after(Op::Gru(Gru { input, recurrent, bias, gates: Gates::Sigmoid, reset }));
        let value = f64::from(written) / f64::from(1 << 28);
        assert!((value - (-0.81f64).tanh()).abs() < 0.01, "{value}");
        assert_eq!(held, written);
    }
}
