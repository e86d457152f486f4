//! Every board says in QEMU what the host says, bit for bit, and takes the same number of
//! instructions for every input; nothing of the engine in its firmware can panic.

mod common;

use std::ops::Range;
use std::path::Path;

use common::{Random, USUAL, cells, classifier, data, layer_norm};
use gatelet::{Packing, WeightType};
use gatelet_cli::data::{Dataset, Sequences};
use gatelet_cli::device::{Board, Sample, random, run};
use gatelet_cli::graph::{
    Activation, Dense, Direction, Embedding, Graph, GraphBuilder, Matrix, Op, Output,
};
use gatelet_cli::host::Blob;
use gatelet_cli::import::import;

/// Runs `blob` on `samples`.
fn check(board: &str, name: &str, blob: &Blob, samples: &[Sample]) {
    let file = format!("{board}-{name}.gate");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    std::fs::write(&path, blob.bytes()).unwrap();
    let board = Board::named(board).unwrap_or_else(|error| panic!("{error:#}"));
    let report = run(&board, &path, blob.model().unwrap(), samples);
    let report = report.unwrap_or_else(|error| panic!("{name}: {error:#}"));
    println!("{name}: {report:?}");
    assert_eq!(report.panic_path, None, "{name} on {} can panic", board.name);
    assert_eq!(report.first_difference, None, "{name} on {} differs", board.name);
    assert_eq!(
        report.least_instructions, report.instructions_per_step,
        "instructions of {name} on {} depend on the input",
        board.name
    );
}

/// These of all cells on top of each other, at sizes that leave every remainder.
fn tower(cells_from: Range<usize>) -> Graph {
    const SIZES: [usize; 6] = [7, 33, 16, 6, 9, 5];
    let (mut random, mut layers, mut inputs) = (Random(3), Vec::new(), 5);
    for (cell, units) in cells_from.zip(SIZES.into_iter().cycle()) {
        layers.push(cells(inputs, units, &mut random).swap_remove(cell));
        if cell == USUAL {
            layers.push(layer_norm(units, &mut random));
        }
        inputs = units;
    }
    classifier(layers, 3, Output::EveryStep, &mut random)
}

/// Bidirectional layers of every cell on top of each other, with an answer to every step.
fn both_ways() -> Graph {
    let mut random = Random(5);
    let mut builder = GraphBuilder::new(5);
    for k in 0..5 {
        let mut op = || cells(builder.width(), 4 + 3 * k % 8, &mut random).swap_remove(k);
        let (there, back) = (op(), op());
        builder.layer(format!("there{k}"), there).unwrap();
        builder.beside(format!("back{k}"), back, Direction::Reverse).unwrap();
    }
    let (weights, bias) = (random.matrix(3, builder.width()), random.vector(3));
    let head = Dense { weights, bias, activation: Activation::Softmax };
    builder.layer("head", Op::Dense(head)).unwrap();
    builder.finish(Output::EveryStep).unwrap()
}

/// Numbers from everywhere, zeros, and the largest of either sign.
fn extremes(inputs: usize) -> Vec<Sample> {
    let mut samples = random(8, 12 * inputs);
    samples.extend([0, i16::MAX, -i16::MAX].map(|x| vec![x; 6 * inputs]));
    samples.into_iter().map(Sample::from).collect()
}

/// The first `most` utterances of the vowels' test set.
fn vowels(blob: &Blob, most: usize) -> Vec<Sample> {
    let x = Dataset::read(&data("vowels/test.npz")).unwrap().x;
    let mut samples = Sample::all(&blob.model().unwrap(), &x);
    samples.truncate(most);
    samples
}

/// An encoder-decoder over tokens: what a step costs is the same for every token, those that no table
/// has among them.
fn translator(name: &str) {
    let graph = import(&data("import/seq2seq_lstm.safetensors")).unwrap();
    let mut random = Random(7);
    let tokens = (0..8 * 10).map(|_| (random.next() % 8) as f32).collect();
    let x = Sequences::new(tokens, 10, 1, vec![10; 8]).unwrap().encoded(vec![4; 8]).unwrap();
    let blob = common::blob(&graph, &x, WeightType::Int8, Packing::Dsp);
    let model = blob.model().unwrap();
    let mut samples = Sample::random(&model, 6);
    assert!(samples.iter().all(|sample| sample.encoded == 10));
    samples.extend(
        [1, 5].map(|encoded| Sample { x: [0, -1, 3, i16::MAX, 7, i16::MIN].into(), encoded }),
    );
    check(name, "translator", &blob, &samples);
}

fn board(name: &str, utterances: usize) {
    use Packing::{Columns, Dsp, Helium, Plain};
    use WeightType::{Int4, Int8, Int16};

    let graph = tower(0..USUAL);
    let x = Random(4).sequences(4, 20, 5);
    for (weights, packing) in
        [(Int8, Plain), (Int8, Dsp), (Int8, Helium), (Int8, Columns), (Int16, Plain), (Int4, Plain)]
    {
        let blob = common::blob(&graph, &x, weights, packing);
        check(name, &format!("{weights:?}-{packing:?}"), &blob, &extremes(5));
    }
    let (graph, x) = (both_ways(), Random(6).sequences(4, 12, 5));
    let blob = common::blob(&graph, &x, Int8, Dsp);
    check(name, "both-ways", &blob, &Sample::random(&blob.model().unwrap(), 6));

    translator(name);

    let calibration = Dataset::read(&data("vowels/train.npz")).unwrap().x;
    for cell in ["lstm", "gru", "rnn"] {
        let graph = import(&data(&format!("vowels/{cell}.keras"))).unwrap();
        let blob = common::blob(&graph, &calibration, Int8, Dsp);
        check(name, cell, &blob, &vowels(&blob, utterances));
    }
}

/// Tokens that the tower of the less usual cells knows.
const TOKENS: usize = 40;

/// The less usual cells, in plain Rust around each kernel's products, over an embedding whose rows go
/// from one end of their range to the other.
fn variants(name: &str, kinds: &[(WeightType, Packing)]) {
    let count = cells(1, 1, &mut Random(1)).len();
    let mut graph = tower(USUAL..count);
    let width = graph.inputs();
    let mut rows = Random(9).matrix(TOKENS, width).values().to_vec();
    rows[..width].fill(2.0);
    rows[width..2 * width].fill(-2.0);
    let table = Matrix::new(TOKENS, width, rows);
    let mut builder = GraphBuilder::new(1);
    builder.layer("embedding", Op::Embedding(Embedding { table })).unwrap();
    for layer in std::mem::take(&mut graph.layers) {
        builder.layer(layer.name, layer.op).unwrap();
    }
    let graph = builder.finish(Output::EveryStep).unwrap();

    // Some tokens that there are, in no order, and all that there cannot be.
    let tokens = |seed: usize| (0..20).map(move |k| (seed + 7 * k * k) % TOKENS);
    let x = (0..4).flat_map(tokens).map(|token| token as f32).collect();
    let x = Sequences::new(x, 20, 1, vec![20; 4]).unwrap();
    let mut samples: Vec<Vec<i16>> =
        (0..8).map(|seed| tokens(seed).map(|token| token as i16).collect()).collect();
    samples.extend([0, 1, -1, i16::MIN, i16::MAX, TOKENS as i16].map(|token| vec![token; 6]));
    let samples: Vec<Sample> = samples.into_iter().map(Sample::from).collect();
    for &(weights, packing) in kinds {
        let blob = common::blob(&graph, &x, weights, packing);
        check(name, &format!("variants-{weights:?}"), &blob, &samples);
    }
}

const TWO_KINDS: [(WeightType, Packing); 2] =
    [(WeightType::Int8, Packing::Dsp), (WeightType::Int4, Packing::Plain)];

#[test]
fn variants_on_cortex_m0() {
    variants("cortex-m0", &TWO_KINDS);
}

#[test]
fn variants_on_cortex_m4() {
    variants("cortex-m4", &TWO_KINDS);
}

#[test]
fn variants_on_riscv32() {
    variants("riscv32", &TWO_KINDS);
}

#[test]
fn variants_on_cortex_m3() {
    variants("cortex-m3", &[(WeightType::Int8, Packing::Columns)]);
}

#[test]
fn variants_on_cortex_m7() {
    variants("cortex-m7", &[(WeightType::Int16, Packing::Dsp)]);
}

#[test]
fn variants_on_cortex_m33() {
    variants("cortex-m33", &[(WeightType::Int8, Packing::Dsp)]);
}

#[test]
fn variants_on_cortex_m55() {
    variants("cortex-m55", &[(WeightType::Int8, Packing::Helium)]);
}

#[test]
fn cortex_m0() {
    board("cortex-m0", 20);
}

#[test]
fn cortex_m3() {
    board("cortex-m3", 20);
}

#[test]
fn cortex_m4() {
    board("cortex-m4", 370);
}

#[test]
fn cortex_m7() {
    board("cortex-m7", 20);
}

#[test]
fn cortex_m33() {
    board("cortex-m33", 20);
}

#[test]
fn cortex_m55() {
    board("cortex-m55", 20);
}

#[test]
fn riscv32() {
    board("riscv32", 20);
}
