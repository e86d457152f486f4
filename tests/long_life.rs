//! Ten million steps: the state is what it must be, and no further from float64 than at the start.

mod common;

use common::{Random, blob, cells};
use gatelet::{Model, Packing, Stream, WeightType};
use gatelet_cli::device::{BOARDS, Board, run};
use gatelet_cli::graph::{GraphBuilder, Gru, Op, Output, Reset};
use gatelet_cli::host::Blob;
use rayon::prelude::*;

const STEPS: usize = 10_000_000;
const INPUTS: usize = 2;
const UNITS: usize = 4;

/// A GRU, and a blob of it that answers with its hidden state.
fn gru() -> (Gru, Blob) {
    let mut random = Random(11);
    let Op::Gru(gru) = cells(INPUTS, UNITS, &mut random).swap_remove(2) else { unreachable!() };
    let x = random.sequences(20, 50, INPUTS);
    let mut builder = GraphBuilder::new(INPUTS);
    builder.layer("gru", Op::Gru(gru.clone())).unwrap();
    let graph = builder.finish(Output::EveryStep).unwrap();
    (gru, blob(&graph, &x, WeightType::Int16, Packing::Plain))
}

/// Inputs that never end.
fn inputs() -> impl Iterator<Item = [i16; INPUTS]> {
    let mut random = Random(5);
    std::iter::from_fn(move || Some(std::array::from_fn(|_| random.next() as i16 / 2)))
}

/// The equations of `src/layers/gru.rs`, reset after the product, in float64.
fn step(gru: &Gru, x: &[f64], h: &mut [f64; UNITS]) {
    let Reset::After { recurrent_bias } = &gru.reset else { unreachable!() };
    let product = |row: &[f64], v: &[f64]| row.iter().zip(v).map(|(w, v)| w * v).sum::<f64>();
    let input = |row: usize| product(gru.input.row(row), x) + gru.bias[row];
    let recurrent = |row: usize| product(gru.recurrent.row(row), &*h);
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    let next = std::array::from_fn(|unit| {
        let [z, r, n] = [0, 1, 2].map(|gate| gate * UNITS + unit);
        let (z_gate, r_gate) = (sigmoid(input(z) + recurrent(z)), sigmoid(input(r) + recurrent(r)));
        let candidate = (input(n) + r_gate * (recurrent(n) + recurrent_bias[unit])).tanh();
        z_gate * h[unit] + (1.0 - z_gate) * candidate
    });
    *h = next;
}

#[test]
fn ten_million_steps_stay_as_close_to_float64_as_the_first() {
    let (gru, blob) = gru();
    let model = blob.model().unwrap();
    let scaling: Vec<_> = (0..INPUTS).map(|k| model.normalization(k).unwrap()).collect();
    let mut memory = vec![0; model.memory_words()];
    let mut stream = Stream::new(model, &mut memory).unwrap();
    let (mut h, mut squares) = ([0.0; UNITS], [0.0; 10]);
    for (at, x) in inputs().take(STEPS).enumerate() {
        let real: [f64; INPUTS] = std::array::from_fn(|k| {
            f64::from(scaling[k].0) + f64::from(x[k]) * f64::from(scaling[k].1)
        });
        step(&gru, &real, &mut h);
        let y = stream.step(&x).unwrap();
        let error = |(y, h): (&i16, &f64)| (f64::from(*y) / 32768.0 - h).powi(2);
        squares[at / (STEPS / 10)] += y.iter().zip(&h).map(error).sum::<f64>();
    }
    let rms = squares.map(|sum| (sum / (STEPS / 10 * UNITS) as f64).sqrt());
    println!("error of each million steps: {rms:?}");
    let first = rms[0];
    assert!(first < 1e-3 && rms.iter().all(|rms| *rms < 1.01 * first), "{rms:?}");
}

/// FNV-1a.
fn hash(state: &[u32]) -> u64 {
    state.iter().flat_map(|word| word.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The hash of the state after all steps, moved to other memory every `leg` of them.
fn journey(model: Model<'_>, leg: usize) -> u64 {
    let mut state =
        vec![0; Stream::new(model, &mut vec![0; model.memory_words()]).unwrap().state().len()];
    let mut inputs = inputs();
    for _ in 0..STEPS / leg {
        let mut memory = vec![0xdead_beef; model.memory_words()];
        let mut stream = Stream::new(model, &mut memory).unwrap();
        stream.restore(&state).unwrap();
        for x in inputs.by_ref().take(leg) {
            stream.advance(&x).unwrap();
        }
        state = stream.state().to_vec();
    }
    hash(&state)
}

#[test]
fn ten_million_steps_end_in_one_state() {
    let (_, blob) = gru();
    let model = blob.model().unwrap();
    let end = journey(model, STEPS);
    println!("state {end:016x} after {STEPS} steps");
    assert_eq!(journey(model, 1000), end);
}

/// `run` compares every output and every state with the host's.
#[test]
fn a_hundred_thousand_steps_on_every_board_are_the_hosts() {
    let (_, blob) = gru();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gru.gate");
    std::fs::write(&path, blob.bytes()).unwrap();
    let samples = [inputs().take(100_000).collect::<Vec<_>>().concat().into()];
    BOARDS.into_par_iter().for_each(|board| {
        let start = std::time::Instant::now();
        let board = Board::named(board).unwrap();
        let report = run(&board, &path, blob.model().unwrap(), &samples).unwrap();
        println!("{}: {:.1?}", board.name, start.elapsed());
        assert_eq!(report.first_difference, None, "{}", board.name);
        assert_eq!(report.least_instructions, report.instructions_per_step, "{}", board.name);
    });
}
