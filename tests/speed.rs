//! Instructions of a step, exact and repeatable: never more than what was promised, and for every
//! input the same (`measure` refuses a count that depends on the input).

use gatelet::WeightType::{self, Int8};
use gatelet_cli::bench::measure;

/// Board, cell, inputs and units, weights, and the most instructions of one step.
type Promise = (&'static str, &'static str, (usize, usize), WeightType, u32);

/// The int8 LSTM figures are the design's.
const MOST: [Promise; 14] = [
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
];

fn count(
    board: &'static str,
    cell: &'static str,
    shape: (usize, usize),
    weights: WeightType,
) -> u32 {
    let folder = tempfile::tempdir().unwrap();
    let result = measure(board, cell, shape, weights, folder.path());
    result.unwrap_or_else(|error| panic!("{error:#}")).instructions_per_step
}

#[test]
fn no_step_takes_more_than_promised() {
    for (board, cell, shape, weights, most) in MOST {
        let found = count(board, cell, shape, weights);
        println!("{board} {cell} {shape:?} {weights:?}: {found} of {most}");
        assert!(found <= most, "{board} {cell} {shape:?} {weights:?}: {found} > {most}");
    }
}

#[test]
fn two_runs_count_the_same() {
    let count = || count("cortex-m4", "lstm", (16, 32), Int8);
    assert_eq!(count(), count());
}
