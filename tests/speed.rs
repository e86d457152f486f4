//! What a step costs, exact and repeatable: never more instructions, code, RAM or stack than promised,
//! and the same instructions for every input (`measure` refuses a count that depends on the input).

mod common;

use gatelet::Packing;
use gatelet::WeightType::{self, Int4, Int8, Int16};
use gatelet_cli::bench::{Measurement, measure};
use gatelet_cli::device::{Board, random, run};
use gatelet_cli::estimate::estimate;
use gatelet_cli::host::Blob;

/// Board, cell, inputs and units, weights, and the most instructions that a step may take.
type Bound = (&'static str, &'static str, (usize, usize), WeightType, u32);

/// The int8 LSTM figures are the design's.
const MOST: [Bound; 16] = [
    ("cortex-m4", "lstm", (16, 32), Int8, 12_300),
    ("cortex-m4", "lstm", (40, 64), Int8, 40_000),
    ("cortex-m4", "lstm", (40, 128), Int8, 118_000),
    ("cortex-m4", "gru", (40, 64), Int8, 30_000),
    ("cortex-m4", "rnn", (40, 64), Int8, 10_000),
    ("cortex-m7", "lstm", (40, 64), Int8, 40_000),
    ("cortex-m33", "lstm", (40, 64), Int8, 40_000),
    ("cortex-m3", "lstm", (40, 64), Int8, 75_000),
    ("cortex-m0", "lstm", (40, 64), Int8, 150_000),
    ("cortex-m55", "lstm", (40, 64), Int8, 20_000),
    ("cortex-m55", "lstm", (40, 128), Int8, 45_000),
    ("cortex-m55", "gru", (40, 64), Int8, 15_000),
    ("riscv32", "lstm", (40, 64), Int8, 102_000),
    ("riscv32", "gru", (40, 64), Int8, 85_000),
    ("cortex-m4", "lstm", (40, 64), Int16, 30_000),
    ("cortex-m4", "lstm", (40, 64), Int4, 60_000),
];

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

#[test]
fn no_step_takes_more_than_promised() {
    for (board, cell, shape, weights, most) in MOST {
        let measured = measured(board, cell, shape, weights);
        let found = measured.instructions_per_step;
        println!("{board} {cell} {shape:?} {weights:?}: {found} of {most}");
        assert!(found <= most, "{board} {cell} {shape:?} {weights:?}: {found} > {most}");
        let stack = measured.stack_bytes;
        assert!(board != "cortex-m4" || stack <= 512, "{cell} {weights:?}: {stack} bytes of stack");
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
        let samples = random(1, 2 * model.inputs());
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
    let samples = random(3, 4 * model.inputs());
    let report = run(&Board::named("cortex-m4").unwrap(), &path, model, &samples).unwrap();
    println!("{report:?}");
    assert!(report.engine_text_bytes <= 6 * 1024, "{report:?}");
    assert!(report.stack_bytes <= 512, "{report:?}");
    // 8 H + 2 (I + H) + 8 H for the LSTM; output and logits of the head.
    let (inputs, hidden, outputs) = (20, 64, 12);
    assert!(report.ram_bytes <= 18 * hidden + 2 * inputs + 6 * outputs, "{report:?}");
}
