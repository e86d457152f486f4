//! Instructions of a step for every board, cell, shape and weight type, counted in QEMU.

mod plot;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use gatelet::WeightType;
use indicatif::ProgressBar;
use rayon::prelude::*;
use serde::Serialize;

use crate::calibrate::calibrate;
use crate::data::Sequences;
use crate::device::{self, BOARDS, Board, Sample};
use crate::graph::{
    Fast, Gates, Graph, GraphBuilder, Gru, Lstm, Matrix, Op, Output, Reset, Rnn, RnnActivation,
    Update,
};
use crate::host::Blob;
use crate::pack::{Notes, pack};
use crate::quantize::quantize;
use crate::target::packing;

pub use plot::plot;

/// The cells that are measured. A GRU is the reset-after form, a simple RNN uses tanh, a FastGRNN has
/// full rank.
pub const CELLS: [&str; 4] = ["rnn", "lstm", "gru", "fastgrnn"];
/// Inputs and hidden units.
pub const SHAPES: [(usize, usize); 3] = [(16, 32), (40, 64), (40, 128)];
/// Number formats of the weights.
pub const WEIGHTS: [WeightType; 3] = [WeightType::Int8, WeightType::Int16, WeightType::Int4];

/// What one layer costs on one board.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measurement {
    /// Name of the board.
    pub board: &'static str,
    /// One of [`CELLS`].
    pub cell: &'static str,
    /// Features a step.
    pub input: usize,
    /// Hidden units.
    pub hidden: usize,
    /// Number format of the weights.
    pub weights: String,
    /// Instructions of a step, whatever the input.
    pub instructions_per_step: u32,
    /// Products of a step.
    pub macs_per_step: usize,
    /// Bytes of the engine's code and tables.
    pub engine_text_bytes: u64,
    /// Bytes of stack that a step uses.
    pub stack_bytes: u32,
}

/// The peers: instructions of one LSTM step with 8-bit weights as measured for CMSIS-NN, commit
/// 99f736a, gcc 12.2: 8-bit hidden state in its strongest build (`-O3`, link-time optimization,
/// inline-assembly requantization), 16-bit hidden state at `-O3`; and a plain C loop in float.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Boards whose cores the figures hold for.
    pub boards: &'static [&'static str],
    /// Features a step and hidden units.
    pub shape: (usize, usize),
    /// A float loop with `expf` and `tanhf`.
    pub float: Option<u32>,
    /// CMSIS-NN, 8-bit hidden state.
    pub s8: u32,
    /// CMSIS-NN, 16-bit hidden state.
    pub s16: u32,
}

const DSP: &[&str] = &["cortex-m4", "cortex-m7", "cortex-m33"];

/// Every figure of the peers that there is.
pub const PEERS: [Peer; 7] = [
    Peer { boards: DSP, shape: (16, 32), float: Some(43_280), s8: 27_757, s16: 36_556 },
    Peer { boards: DSP, shape: (40, 64), float: Some(158_968), s8: 81_132, s16: 105_450 },
    Peer { boards: DSP, shape: (40, 128), float: Some(482_584), s8: 222_444, s16: 287_020 },
    Peer {
        boards: &["cortex-m3"],
        shape: (40, 64),
        float: Some(2_832_152),
        s8: 109_731,
        s16: 168_927,
    },
    Peer { boards: &["cortex-m0"], shape: (40, 64), float: None, s8: 236_608, s16: 1_561_552 },
    Peer { boards: &["cortex-m55"], shape: (40, 64), float: None, s8: 30_051, s16: 53_246 },
    Peer { boards: &["cortex-m55"], shape: (40, 128), float: None, s8: 73_955, s16: 130_127 },
];

impl Measurement {
    /// The peers' figures for the same core and shape, if this is an LSTM with 8-bit weights.
    pub fn peer(&self) -> Option<&'static Peer> {
        let shape = (self.input, self.hidden);
        let comparable = self.cell == "lstm" && self.weights == "int8";
        PEERS.iter().find(|p| comparable && p.shape == shape && p.boards.contains(&self.board))
    }
}

/// Measures every cell and shape on `boards`, side by side. `progress` advances by measurements.
///
/// # Errors
/// If a board cannot be built or run, differs from the host, or its count depends on the input.
pub fn bench(
    boards: &[&'static str],
    weights: &[WeightType],
    progress: &ProgressBar,
) -> Result<Vec<Measurement>> {
    let folder = tempfile::tempdir()?;
    let of_board = |board: &&'static str| -> Result<Vec<Measurement>> {
        let mut all = Vec::new();
        for &weights in weights {
            for cell in CELLS {
                for shape in SHAPES {
                    all.push(measure(board, cell, shape, weights, folder.path())?);
                    progress.inc(1);
                }
            }
        }
        Ok(all)
    };
    let all: Result<Vec<_>> = boards.par_iter().map(of_board).collect();
    Ok(all?.concat())
}

/// Measurements that [`bench()`] makes on every board.
pub const fn measurements(weights: &[WeightType]) -> usize {
    weights.len() * CELLS.len() * SHAPES.len()
}

/// Measures one layer; `folder` is for temporary files.
///
/// # Errors
/// As [`bench()`].
pub fn measure(
    board: &'static str,
    cell: &'static str,
    (input, hidden): (usize, usize),
    weights: WeightType,
    folder: &Path,
) -> Result<Measurement> {
    let graph = network(cell, input, hidden)?;
    // One step at either end of a range.
    let ends = [vec![-1.0; input], vec![1.0; input]].concat();
    let x = Sequences::new(ends, 2, input, vec![2])?;
    let quantized = quantize(&graph, &calibrate(&graph, &x, &ProgressBar::hidden()), weights)?;
    let blob = Blob::new(&pack(&quantized, packing(board), &Notes::default())?);
    let path = folder.join(format!("{board}-{cell}-{input}-{hidden}-{weights:?}.gate"));
    std::fs::write(&path, blob.bytes()).context("cannot write a temporary file")?;

    // Zeros, both extremes, and numbers from everywhere.
    let mut samples: Vec<Vec<i16>> =
        [0, i16::MAX, i16::MIN].iter().map(|x| vec![*x; 4 * input]).collect();
    samples.extend(device::random(2, 8 * input));
    let samples: Vec<Sample> = samples.into_iter().map(Sample::from).collect();
    let report = device::run(&Board::named(board)?, &path, blob.model()?, &samples)?;
    let name = format!("{cell} {input} x {hidden} on {board}");
    ensure!(report.bit_exact, "{name} differs from the host");
    ensure!(
        report.least_instructions == report.instructions_per_step,
        "instructions of {name} depend on the input: {} to {}",
        report.least_instructions,
        report.instructions_per_step
    );
    Ok(Measurement {
        board,
        cell,
        input,
        hidden,
        weights: format!("{weights:?}").to_lowercase(),
        instructions_per_step: report.instructions_per_step,
        macs_per_step: graph.layers[0].op.gates() * hidden * (input + hidden),
        engine_text_bytes: report.engine_text_bytes,
        stack_bytes: report.stack_bytes,
    })
}

/// One layer with weights that are the same at every call.
fn network(cell: &str, input: usize, hidden: usize) -> Result<Graph> {
    let mut numbers = device::random(1, 1 << 18)[0].clone().into_iter().cycle();
    let mut values = |n: usize, limit: f64| -> Vec<f64> {
        numbers.by_ref().take(n).map(|v| f64::from(v) / 32768.0 * limit).collect()
    };
    let mut matrix = |rows: usize, cols: usize| {
        Matrix::new(rows, cols, values(rows * cols, 1.0 / (cols as f64).sqrt()))
    };
    let gates = match cell {
        "lstm" => 4,
        "gru" => 3,
        _ => 1,
    };
    let (w, u) = (matrix(gates * hidden, input), matrix(gates * hidden, hidden));
    let bias = vec![0.0; gates * hidden];
    let op = match cell {
        "lstm" => Op::Lstm(Lstm::new(w, u, bias)),
        "gru" => {
            let reset = Reset::After { recurrent_bias: vec![0.0; hidden] };
            Op::Gru(Gru { input: w, recurrent: u, bias, gates: Gates::Sigmoid, reset })
        }
        "fastgrnn" => {
            let update = Update::Gated { candidate_bias: vec![0.5; hidden], zeta: 0.9, nu: 0.1 };
            Op::Fast(Fast { input: w, recurrent: u, factor: None, bias, update })
        }
        _ => Op::Rnn(Rnn { input: w, recurrent: u, bias, activation: RnnActivation::Tanh }),
    };
    let mut builder = GraphBuilder::new(input);
    builder.layer(cell, op)?;
    builder.finish(Output::EveryStep)
}

/// The boards of a `--board` option.
///
/// # Errors
/// If there is none of that name.
pub fn boards(option: &str) -> Result<Vec<&'static str>> {
    if option == "all" {
        return Ok(BOARDS.to_vec());
    }
    Ok(vec![Board::named(option)?.name])
}
