//! Every layer against float64 vectors from Keras and from an independent reference in PyTorch's
//! conventions, in every weight type and packing, at odd and even sizes.

use std::path::{Path, PathBuf};

use gatelet::{Packing, Stream, WeightType};
use gatelet_cli::calibrate::calibrate;
use gatelet_cli::data::Sequences;
use gatelet_cli::graph::{
    Activation, Dense, Fast, Gates, Graph, GraphBuilder, Gru, LayerNorm, Lstm, Matrix, Op, Output,
    Reset, Rnn, RnnActivation, Update,
};
use gatelet_cli::host;
use gatelet_cli::npz::Npz;
use gatelet_cli::pack::{Notes, pack};
use gatelet_cli::quantize::quantize;
use indicatif::ProgressBar;

/// One golden file: a layer's weights, its input and its exact outputs.
struct Golden {
    name: String,
    arrays: Npz,
}

impl Golden {
    fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "npz"))
            .collect();
        files.sort();
        assert!(files.len() > 80, "golden vectors are missing");
        files
            .iter()
            .map(|path| Self {
                name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
                arrays: Npz::open(path).unwrap(),
            })
            .collect()
    }

    fn array(&mut self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let array = self.arrays.array(name).unwrap().unwrap_or_else(|| panic!("no array `{name}`"));
        let shape = array.shape.clone();
        (shape, array.into_f64())
    }

    fn vector(&mut self, name: &str) -> Vec<f64> {
        self.array(name).1
    }

    fn matrix(&mut self, name: &str) -> Matrix {
        let (shape, values) = self.array(name);
        Matrix::new(shape[0], shape[1], values)
    }

    fn x(&mut self) -> Sequences {
        let (shape, values) = self.array("x");
        let values = values.iter().map(|v| *v as f32).collect();
        Sequences::new(values, shape[1], shape[2], vec![shape[1]; shape[0]]).unwrap()
    }

    /// The layer in the graph's conventions.
    fn op(&mut self) -> Op {
        let name = self.name.clone();
        let has = |part: &str| name.contains(part);
        let rnn = if has("relu") { RnnActivation::Relu } else { RnnActivation::Tanh };
        if has("dense") {
            let activation = match name.split('_').nth(2).unwrap() {
                "linear" => Activation::Linear,
                "relu" => Activation::Relu,
                "tanh" => Activation::Tanh,
                "sigmoid" => Activation::Sigmoid,
                "softmax" => Activation::Softmax,
                other => panic!("unknown activation {other}"),
            };
            let weights = transposed(&self.matrix("kernel"));
            return Op::Dense(Dense { weights, bias: self.vector("bias"), activation });
        }
        if has("norm") {
            let gamma = self.vector("gamma");
            let gamma = Matrix::new(gamma.len(), 1, gamma);
            let epsilon = self.vector("epsilon")[0];
            return Op::LayerNorm(LayerNorm { gamma, beta: self.vector("beta"), epsilon });
        }
        if has("edgeml") {
            return self.fast();
        }
        let (input, recurrent, bias, recurrent_bias) = if has("keras") {
            let input = transposed(&self.matrix("kernel"));
            let recurrent = transposed(&self.matrix("recurrent_kernel"));
            let mut bias = self.vector("bias");
            let inner = bias.split_off(input.rows());
            (input, recurrent, bias, inner)
        } else {
            let order: &[usize] = match has("gru") {
                true => &[1, 0, 2],
                false => &[0],
            };
            let input = regated(&self.matrix("weight_ih_l0"), order);
            let recurrent = regated(&self.matrix("weight_hh_l0"), order);
            let mut gate = |name| {
                let bias = self.vector(name);
                regated(&Matrix::new(bias.len(), 1, bias), order).values().to_vec()
            };
            (input, recurrent, gate("bias_ih_l0"), gate("bias_hh_l0"))
        };
        // Only the reset-after candidate keeps its two biases apart.
        let sum = |skip: usize| -> Vec<f64> {
            let inner =
                recurrent_bias.iter().enumerate().map(|(k, b)| if k < skip { *b } else { 0.0 });
            bias.iter().zip(inner.chain(std::iter::repeat(0.0))).map(|(b, i)| b + i).collect()
        };
        let units = recurrent.cols();
        let mut op = if has("lstm") {
            let mut lstm = Lstm::new(input, recurrent, sum(usize::MAX));
            lstm.peepholes = has("peepholes").then(|| self.vector("peepholes"));
            lstm.projection = has("projected").then(|| self.matrix("weight_hr_l0"));
            Op::Lstm(lstm)
        } else if has("reset_before") {
            Op::Gru(Gru::reset_before(input, recurrent, sum(usize::MAX)))
        } else if has("gru") {
            let reset = Reset::After { recurrent_bias: recurrent_bias[2 * units..].to_vec() };
            Op::Gru(Gru { input, recurrent, bias: sum(2 * units), gates: Gates::Sigmoid, reset })
        } else {
            Op::Rnn(Rnn { input, recurrent, bias: sum(usize::MAX), activation: rnn })
        };
        if has("hard") {
            // Keras 3.
            op.harden(1.0 / 6.0, 0.5);
        }
        op
    }

    fn fast(&mut self) -> Op {
        let has = |part: &str| self.name.contains(part);
        let (is_low_rank, is_gated) = (has("low_rank"), has("fastgrnn"));
        let mut bounded = |name| 1.0 / (1.0 + (-self.vector(name)[0]).exp());
        let (bias, update) = if is_gated {
            let (zeta, nu) = (bounded("zeta"), bounded("nu"));
            let candidate_bias = self.vector("bias_update");
            (self.vector("bias_gate"), Update::Gated { candidate_bias, zeta, nu })
        } else {
            let (alpha, beta) = (bounded("alpha"), bounded("beta"));
            (self.vector("bias_update"), Update::Residual { alpha, beta })
        };
        let recurrent = self.matrix(if is_low_rank { "U2" } else { "U" });
        let factor = is_low_rank.then(|| self.matrix("U1"));
        Op::Fast(Fast { input: self.matrix("W"), recurrent, factor, bias, update })
    }

    fn graph(&mut self) -> Graph {
        let op = self.op();
        let mut builder = GraphBuilder::new(self.x().features());
        builder.layer(self.name.clone(), op).unwrap();
        builder.finish(Output::EveryStep).unwrap()
    }
}

fn transposed(m: &Matrix) -> Matrix {
    let values = (0..m.cols()).flat_map(|c| (0..m.rows()).map(move |r| m.row(r)[c])).collect();
    Matrix::new(m.cols(), m.rows(), values)
}

/// Rows gate by gate in another order.
fn regated(m: &Matrix, order: &[usize]) -> Matrix {
    let units = m.rows() / order.len();
    let rows = order.iter().flat_map(|gate| (gate * units..).take(units));
    Matrix::new(m.rows(), m.cols(), rows.flat_map(|r| m.row(r).to_vec()).collect())
}

/// Raw outputs of every step of every sequence, and the state behind each sequence.
fn run(blob: &host::Blob, x: &Sequences) -> (Vec<i16>, Vec<Vec<u32>>) {
    let model = blob.model().unwrap();
    let mut memory = vec![0; model.memory_words()];
    let (mut outputs, mut states) = (Vec::new(), Vec::new());
    for sample in 0..x.len() {
        let mut stream = Stream::new(model, &mut memory).unwrap();
        for x in host::quantize(&model, x.sample(sample)).chunks_exact(model.inputs()) {
            outputs.extend_from_slice(stream.step(x).unwrap());
        }
        states.push(stream.state().to_vec());
    }
    (outputs, states)
}

/// Largest error an output may have, relative to its range.
fn tolerance(weights: WeightType) -> f64 {
    match weights {
        WeightType::Int16 => 0.002,
        WeightType::Int8 => 0.03,
        _ => 0.6,
    }
}

#[test]
fn every_layer_follows_the_frameworks() {
    for mut golden in Golden::all() {
        let (graph, x) = (golden.graph(), golden.x());
        let exact = golden.vector(match &graph.layers[0].op {
            Op::Dense(_) | Op::LayerNorm(_) => "y",
            _ => "h",
        });
        let range = exact.iter().fold(1.0, |a: f64, v| a.max(v.abs()));
        let ranges = calibrate(&graph, &x, &ProgressBar::hidden());
        for weights in [WeightType::Int16, WeightType::Int8, WeightType::Int4] {
            let quantized = quantize(&graph, &ranges, weights).unwrap();
            let blob =
                |packing| host::Blob::new(&pack(&quantized, packing, &Notes::default()).unwrap());
            let plain = blob(Packing::Plain);
            let scale = f64::from(plain.model().unwrap().output_scale());
            let (outputs, states) = run(&plain, &x);
            assert_eq!(outputs.len(), exact.len(), "{}", golden.name);
            let worst = outputs
                .iter()
                .zip(&exact)
                .map(|(raw, exact)| (f64::from(*raw) * scale - exact).abs() / range)
                .fold(0.0, f64::max);
            println!("{:32} {weights:?}: {worst:.6}", golden.name);
            assert!(worst <= tolerance(weights), "{} {weights:?}: error {worst}", golden.name);
            if golden.name.contains("lstm") && weights != WeightType::Int4 {
                let (shape, cells) = golden.array("c");
                for (state, cells) in states.iter().zip(cells.chunks_exact(shape[1])) {
                    for (word, exact) in state.iter().zip(cells) {
                        let c = f64::from(*word as i32) / f64::from(1 << 20);
                        let worst = (c - exact).abs() / exact.abs().max(1.0);
                        assert!(
                            worst <= 2.0 * tolerance(weights),
                            "{}: cell {c} {exact}",
                            golden.name
                        );
                    }
                }
            }
            for packing in [Packing::Dsp, Packing::Helium, Packing::Columns] {
                let other = run(&blob(packing), &x);
                assert!(other == (outputs.clone(), states.clone()), "{} {packing:?}", golden.name);
            }
        }
    }
}
