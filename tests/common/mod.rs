//! What several tests need: small networks, and blobs of them.
#![allow(dead_code)]

pub(crate) mod blobs;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use gatelet::{Packing, Stream, WeightType};
use gatelet_cli::calibrate::calibrate;
use gatelet_cli::data::Sequences;
use gatelet_cli::graph::{
    Activation, Dense, Fast, Gates, Graph, GraphBuilder, Gru, LayerNorm, Lstm, Matrix, Op, Output,
    Reset, Rnn, RnnActivation, Update,
};
use gatelet_cli::host::Blob;
use gatelet_cli::pack::{Notes, pack};
use gatelet_cli::quantize::quantize;
use indicatif::ProgressBar;

#[allow(unused_imports)]
pub(crate) use blobs::{data, golden_blobs, sealed};

/// Quantizes and packs `graph`, calibrated on `x`.
pub(crate) fn blob(graph: &Graph, x: &Sequences, weights: WeightType, packing: Packing) -> Blob {
    let ranges = calibrate(graph, x, &ProgressBar::hidden());
    let quantized = quantize(graph, &ranges, weights).unwrap();
    Blob::new(&pack(&quantized, packing, &Notes::default()).unwrap())
}

/// Numbers that repeat: xorshift64*.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Uniform in ±`limit`.
    pub(crate) fn real(&mut self, limit: f64) -> f64 {
        ((self.next() >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0) * limit
    }

    pub(crate) fn matrix(&mut self, rows: usize, cols: usize) -> Matrix {
        let limit = (3.0 / cols as f64).sqrt();
        Matrix::new(rows, cols, (0..rows * cols).map(|_| self.real(limit)).collect())
    }

    pub(crate) fn vector(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.real(0.5)).collect()
    }

    pub(crate) fn sequences(&mut self, samples: usize, steps: usize, features: usize) -> Sequences {
        let values = (0..samples * steps * features).map(|_| self.real(2.0) as f32).collect();
        Sequences::new(values, steps, features, vec![steps; samples]).unwrap()
    }
}

/// One layer of every recurrent kind, with random weights: first the usual ones, as many as
/// [`USUAL`].
pub(crate) fn cells(inputs: usize, units: usize, random: &mut Random) -> Vec<Op> {
    let mut pair =
        |gates: usize| (random.matrix(gates * units, inputs), random.matrix(gates * units, units));
    let (lstm, before, after, tanh, relu) = (pair(4), pair(3), pair(3), pair(1), pair(1));
    let rnn = |(input, recurrent): (Matrix, Matrix), bias, activation| {
        Op::Rnn(Rnn { input, recurrent, bias, activation })
    };
    let usual = [
        Op::Lstm(Lstm::new(lstm.0, lstm.1, random.vector(4 * units))),
        Op::Gru(Gru::reset_before(before.0, before.1, random.vector(3 * units))),
        Op::Gru(Gru {
            input: after.0,
            recurrent: after.1,
            bias: random.vector(3 * units),
            gates: Gates::Sigmoid,
            reset: Reset::After { recurrent_bias: random.vector(units) },
        }),
        rnn(tanh, random.vector(units), RnnActivation::Tanh),
        rnn(relu, random.vector(units), RnnActivation::Relu),
    ];
    let mut hard = [usual[0].clone(), usual[1].clone(), usual[2].clone()];
    hard.iter_mut().for_each(|op| op.harden(0.2, 0.5));
    let cells = units + 4;
    let mut projected = Lstm::new(
        random.matrix(4 * cells, inputs),
        random.matrix(4 * cells, units),
        random.vector(4 * cells),
    );
    projected.peepholes = Some(random.vector(3 * cells));
    projected.projection = Some(random.matrix(units, cells));
    let mut fast = |rank: Option<usize>, update| {
        Op::Fast(Fast {
            input: random.matrix(units, inputs),
            recurrent: random.matrix(units, rank.unwrap_or(units)),
            factor: rank.map(|rank| random.matrix(rank, units)),
            bias: random.vector(units),
            update,
        })
    };
    let residual = fast(None, Update::Residual { alpha: 0.3, beta: 0.8 });
    let gated = |candidate_bias| Update::Gated { candidate_bias, zeta: 0.7, nu: 0.02 };
    let gated = fast(Some(3), gated(vec![0.25; units]));
    usual.into_iter().chain(hard).chain([Op::Lstm(projected), residual, gated]).collect()
}

/// A layer normalization.
pub(crate) fn layer_norm(units: usize, random: &mut Random) -> Op {
    let gamma = Matrix::new(units, 1, random.vector(units));
    Op::LayerNorm(LayerNorm { gamma, beta: random.vector(units), epsilon: 1e-3 })
}

/// How many of [`cells`] are the usual ones.
pub(crate) const USUAL: usize = 5;

/// A stack of `layers`, with a softmax over `classes` behind it.
pub(crate) fn classifier(
    layers: Vec<Op>,
    classes: usize,
    output: Output,
    random: &mut Random,
) -> Graph {
    let inputs = match &layers[0] {
        Op::LayerNorm(norm) => norm.beta.len(),
        op => op.input_matrix().cols(),
    };
    let mut builder = GraphBuilder::new(inputs);
    for (k, op) in layers.into_iter().enumerate() {
        builder.layer(format!("layer{k}"), op).unwrap();
    }
    let weights = random.matrix(classes, builder.width());
    let (bias, activation) = (random.vector(classes), Activation::Softmax);
    builder.layer("head", Op::Dense(Dense { weights, bias, activation })).unwrap();
    builder.finish(output).unwrap()
}

/// What the board's example `app` answers to `input`, with `blob`, which is written as `name`.
pub(crate) fn on_board(board: &str, app: &str, name: &str, blob: &Blob, input: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{app}-{name}-{board}.gate"));
    std::fs::write(&path, blob.bytes()).unwrap();
    let mut cargo = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--release", "--locked", "--example", app])
        .args(["--target-dir", "target"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("boards").join(board))
        .env_remove("RUSTFLAGS")
        .env("GATELET_MODEL", &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    cargo.stdin.take().unwrap().write_all(input).unwrap();
    let output = cargo.wait_with_output().unwrap();
    assert!(output.status.success(), "{board} failed");
    output.stdout
}

/// What the same logic answers on this machine.
pub(crate) fn on_host(blob: &Blob, mut input: &[u8]) -> Vec<u8> {
    let model = blob.model().unwrap();
    let mut memory = vec![0; model.memory_words()];
    let mut stream = Stream::new(model, &mut memory).unwrap();
    let mut output = Vec::new();
    gatelet_app::text::answer(&mut stream, &mut input, &mut output).unwrap();
    output
}
