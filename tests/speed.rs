//! What a step costs, exact and repeatable: never more instructions, code, RAM or stack than promised,
//! and the same instructions for every input (`measure` refuses a count that depends on the input).

mod common;

use common::{Random, cells, classifier};
use gatelet::Packing;
use gatelet::WeightType::{self, Int4, Int8, Int16};
use gatelet_cli::bench::{Measurement, measure};
use gatelet_cli::device::{BOARDS, Board, Sample, run};
use gatelet_cli::estimate::estimate;
use gatelet_cli::graph::Output;
use gatelet_cli::host::Blob;
use gatelet_cli::target::packing;

/// The most instructions of a step of 40 inputs and 64 units: RNN, LSTM, GRU.
const MOST: [(&str, WeightType, [u32; 3]); 15] = [
    ("cortex-m4", Int8, [7_960, 31_600, 24_500]),
    ("cortex-m4", Int16, [6_500, 25_700, 20_200]),
    ("cortex-m4", Int4, [14_400, 57_000, 43_600]),
    ("cortex-m3", Int8, [17_100, 66_800, 52_200]),
    ("cortex-m3", Int16, [17_900, 71_400, 55_600]),
    ("cortex-m3", Int4, [22_800, 91_300, 70_400]),
    ("cortex-m0", Int8, [27_300, 110_700, 85_800]),
    ("cortex-m0", Int16, [31_200, 127_900, 98_600]),
    ("cortex-m0", Int4, [43_900, 178_800, 136_400]),
    ("cortex-m55", Int8, [3_230, 11_800, 9_420]),
    ("cortex-m55", Int16, [5_360, 19_800, 15_500]),
    ("cortex-m55", Int4, [7_910, 30_000, 23_100]),
    ("riscv32", Int8, [25_300, 102_000, 79_500]),
    ("riscv32", Int16, [27_000, 109_100, 83_100]),
    ("riscv32", Int4, [39_000, 157_000, 119_000]),
];

/// The most of an LSTM with 8-bit weights of other shapes and on other cores.
const MOST_OF_LSTM: [(&str, (usize, usize), u32); 5] = [
    ("cortex-m4", (16, 32), 9_300),
    ("cortex-m4", (40, 128), 92_700),
    ("cortex-m7", (40, 64), 31_500),
    ("cortex-m33", (40, 64), 31_700),
    ("cortex-m55", (40, 128), 33_000),
];

/// Bytes of stack.
const MOST_STACK: u32 = 512;

fn measured(
    board: &'static str,
    cell: &'static str,
    shape: (usize, usize),
    weights: WeightType,
) -> Measurement {
    let folder = tempfile::tempdir().unwrap();
    let result = measure(board, cell, shape, weights, folder.path());
    result.unwrap_or_else(|error| panic!("{error:#}"))
}

fn check(measured: &Measurement, most: u32) {
    let Measurement { board, cell, input, hidden, weights, stack_bytes, .. } = measured;
    let (found, name) = (
        measured.instructions_per_step,
        format!("{cell} {input} x {hidden}, {weights}, on {board}"),
    );
    println!("{name}: {found} of {most}, {stack_bytes} bytes of stack");
    assert!(found <= most, "{name}: {found} > {most}");
    assert!(*stack_bytes <= MOST_STACK, "{name}: {stack_bytes} bytes of stack");
}

#[test]
fn no_step_takes_more_than_promised() {
    for (board, weights, most) in MOST {
        let cells = ["rnn", "lstm", "gru"].map(|cell| measured(board, cell, (40, 64), weights));
        for (measured, most) in cells.iter().zip(most) {
            check(measured, most);
        }
        // The product is the same code in every cell. What differs is the work on each unit, more of
        // the whole where products are fast.
        let [rnn, lstm, gru] =
            cells.map(|m| m.instructions_per_step as f64 / m.macs_per_step as f64);
        println!("{board} {weights:?}: RNN {:.3}, GRU {:.3} of an LSTM's", rnn / lstm, gru / lstm);
        let most = if board == "cortex-m55" { 1.10 } else { 1.05 };
        assert!(rnn.max(gru) < most * lstm, "{board} {weights:?}: {rnn} {lstm} {gru} a product");
    }
    for (board, shape, most) in MOST_OF_LSTM {
        check(&measured(board, "lstm", shape, Int8), most);
    }
}

/// A GRU that resets before the product, which goes through its blocks twice.
#[test]
fn a_gru_that_resets_first_takes_no_more_stack() {
    for name in BOARDS {
        let mut weights = Random(12);
        let gru = cells(40, 64, &mut weights).swap_remove(1);
        let graph = classifier(vec![gru], 2, Output::EveryStep, &mut weights);
        let x = weights.sequences(2, 6, 40);
        let blob = common::blob(&graph, &x, Int8, packing(name));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gru.gate");
        std::fs::write(&path, blob.bytes()).unwrap();
        let board = Board::named(name).unwrap();
        let model = blob.model().unwrap();
        let report = run(&board, &path, model, &Sample::random(&model, 2)).unwrap();
        println!(
            "{name}: {} instructions, {} bytes",
            report.instructions_per_step, report.stack_bytes
        );
        // Helium's registers are wide: 32 bytes more.
        let most = if name == "cortex-m55" { MOST_STACK + 32 } else { MOST_STACK };
        assert!(report.stack_bytes <= most, "{name}: {report:?}");
        assert_eq!(report.least_instructions, report.instructions_per_step, "{name}");
    }
}

#[test]
fn two_runs_count_the_same() {
    let count = || measured("cortex-m4", "lstm", (16, 32), Int8).instructions_per_step;
    assert_eq!(count(), count());
}

/// What `inspect` estimates is what boards count, to a few percent.
#[test]
fn estimates_are_close_to_counts() {
    for name in ["digits_lstm_int8_dsp", "vowels_gru_int8_plain", "hapt_lstm_int8_helium"] {
        let path = common::data(&format!("blobs/{name}.gate"));
        let blob = Blob::read(&path).unwrap();
        let model = blob.model().unwrap();
        let board = match model.packing() {
            Packing::Dsp => "cortex-m4",
            Packing::Helium => "cortex-m55",
            _ => "riscv32",
        };
        let samples = Sample::random(&model, 1);
        let report = run(&Board::named(board).unwrap(), &path, model, &samples).unwrap();
        let estimates = estimate(&model);
        let found = estimates.iter().find(|e| e.core == board).unwrap().instructions_per_step;
        let error = found as f64 / f64::from(report.instructions_per_step) - 1.0;
        println!(
            "{name} on {board}: {found} for {}, {:+.1} %",
            report.instructions_per_step,
            100.0 * error
        );
        assert!(error.abs() < 0.1, "{name} on {board}: {error}");
    }
}

/// The digits model: LSTM, dense, softmax, and what reads the blob.
#[test]
fn code_ram_and_stack_are_as_promised() {
    let path = common::data("blobs/digits_lstm_int8_dsp.gate");
    let blob = Blob::read(&path).unwrap();
    let model = blob.model().unwrap();
    let samples = Sample::random(&model, 3);
    let report = run(&Board::named("cortex-m4").unwrap(), &path, model, &samples).unwrap();
    println!("{report:?}");
    assert!(report.engine_text_bytes <= 6 * 1024, "{report:?}");
    assert!(report.stack_bytes <= 512, "{report:?}");
    // 8 H + 2 (I + H) + 8 H for the LSTM; output and logits of the head.
    let (inputs, hidden, outputs) = (20, 64, 12);
    assert!(report.ram_bytes <= 18 * hidden + 2 * inputs + 6 * outputs, "{report:?}");
}
