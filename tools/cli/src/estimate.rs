//! How long a step takes on a chip, estimated.
//!
//! Instructions, as `gatelet bench` counts them, follow three kinds of work to a few percent: the step
//! itself, each group of four units, each tile of 16 products (a test holds the fit against fresh
//! counts). Cycles then follow from what an instruction takes by the cores' technical reference
//! manuals (instruction timings of the Cortex-M0+, M3 and M4; the M7, M33 and M55 have none published
//! and are taken from their pipelines' descriptions), without wait states, cache misses or interrupts:
//!
//! | core | load, store | `ldm` of n | multiply | branch taken | other | tile | elsewhere |
//! |---|---|---|---|---|---|---|---|
//! | M0, M0+ | 2 | 1 + n | 1 | 2 to 3 | 1 | 1.2 | 1.5 |
//! | M3 | 2 | 1 + n | 1, `mla` 2 | 2 to 4 | 1 | 1.7 | 1.5 |
//! | M4, M33 | 2 | 1 + n | 1 | 2 to 4 | 1 | 1.4 | 1.4 |
//! | M7 | two instructions a cycle where they allow it | | | | | 0.8 | 0.8 |
//! | M55 | as M4; vector 2, a load beside a multiplication | | | | | 1.2 | 1.4 |
//! | RV32 | 2 | | 1 | 3 | 1 | 1.3 | 1.4 |
//!
//! The last two columns are the cycles an instruction takes on average in the kernels' tiles, by their
//! listing, and in all other code, where a third of the instructions load, store or branch.
//! **It is an estimate**: flash with wait states alone can double it.

use gatelet::{Activation, Layer, LayerKind, Model, WeightType};
use serde::Serialize;

/// What one step costs on one core.
#[derive(Clone, Debug, Serialize)]
pub struct Estimate {
    /// Name of the core, as of the boards.
    pub core: &'static str,
    /// Instructions of a step, from a blob laid out for the core.
    pub instructions_per_step: u64,
    /// Cycles of a step.
    pub cycles_per_step: u64,
}

impl Estimate {
    /// Milliseconds of a step at a clock in MHz.
    pub fn milliseconds(&self, clock_mhz: f64) -> f64 {
        self.cycles_per_step as f64 / clock_mhz / 1000.0
    }
}

/// Instructions by kind of work, and cycles an instruction.
struct Core {
    name: &'static str,
    step: f64,
    /// Four units of an RNN or dense layer, of an LSTM, of a GRU, tiles left out.
    group: [f64; 3],
    /// A tile of 16 products with weights of 8, 16 and 4 bits.
    tile: [f64; 3],
    /// Cycles of an instruction in a tile and elsewhere.
    cycles: [f64; 2],
}

/// Fitted to `gatelet bench --weights all`.
const CORES: [Core; 7] = [
    Core {
        name: "cortex-m0",
        step: 0.0,
        group: [317.0, 1437.0, 1244.0],
        tile: [51.8, 61.6, 91.8],
        cycles: [1.2, 1.5],
    },
    Core {
        name: "cortex-m3",
        step: 0.0,
        group: [170.0, 667.0, 625.0],
        tile: [33.3, 35.6, 47.5],
        cycles: [1.7, 1.5],
    },
    Core {
        name: "cortex-m4",
        step: 0.0,
        group: [116.0, 454.0, 395.0],
        tile: [14.3, 10.8, 29.4],
        cycles: [1.4, 1.4],
    },
    Core {
        name: "cortex-m7",
        step: 0.0,
        group: [114.0, 451.0, 391.0],
        tile: [14.3, 10.8, 29.4],
        cycles: [0.8, 0.8],
    },
    Core {
        name: "cortex-m33",
        step: 0.0,
        group: [114.0, 454.0, 394.0],
        tile: [14.3, 10.8, 29.4],
        cycles: [1.4, 1.4],
    },
    Core {
        name: "cortex-m55",
        step: 146.0,
        group: [79.0, 267.0, 236.0],
        tile: [4.3, 9.2, 15.2],
        cycles: [1.2, 1.4],
    },
    Core {
        name: "riscv32",
        step: 148.0,
        group: [219.0, 987.0, 846.0],
        tile: [51.1, 54.8, 83.2],
        cycles: [1.3, 1.4],
    },
];

/// Instructions that softmax takes for each output: exponential, division, maximum.
const SOFTMAX: f64 = 60.0;

/// What a step of `model` costs on every core.
pub fn estimate(model: &Model<'_>) -> Vec<Estimate> {
    let layers: Vec<_> = (0..model.depth()).filter_map(|k| model.layer(k)).collect();
    CORES
        .iter()
        .map(|core| {
            let tiles: f64 = layers.iter().map(|layer| core.tiles(layer)).sum();
            let groups: f64 = layers.iter().map(|layer| core.groups(layer)).sum();
            let elsewhere = core.step + groups;
            Estimate {
                core: core.name,
                instructions_per_step: (tiles + elsewhere) as u64,
                cycles_per_step: (tiles * core.cycles[0] + elsewhere * core.cycles[1]) as u64,
            }
        })
        .collect()
}

impl Core {
    fn tiles(&self, layer: &Layer<'_>) -> f64 {
        let [inputs, units, cells] =
            [layer.inputs(), layer.units(), layer.cells()].map(|n| n.div_ceil(4));
        if let LayerKind::Embedding | LayerKind::LayerNorm = layer.kind() {
            return 0.0;
        }
        let rank = layer.rank().div_ceil(4);
        let tiles = match layer.kind() {
            LayerKind::Lstm { projection, .. } => {
                4 * cells * (inputs + units) + if projection { units * cells } else { 0 }
            }
            LayerKind::Gru { .. } => 3 * units * (inputs + units),
            LayerKind::FastRnn | LayerKind::FastGrnn if rank > 0 => {
                units * (inputs + rank) + rank * units
            }
            LayerKind::Rnn(_) | LayerKind::FastRnn | LayerKind::FastGrnn => {
                units * (inputs + units)
            }
            _ => units * inputs,
        };
        let cost = match layer.weight_type() {
            WeightType::Int16 => self.tile[1],
            WeightType::Int4 => self.tile[2],
            _ => self.tile[0],
        };
        tiles as f64 * cost
    }

    fn groups(&self, layer: &Layer<'_>) -> f64 {
        let groups = layer.units().div_ceil(4) as f64;
        match layer.kind() {
            LayerKind::Lstm { projection, .. } => {
                let projected = if projection { groups * self.group[0] } else { 0.0 };
                layer.cells().div_ceil(4) as f64 * self.group[1] + projected
            }
            // With one gate, or two squashing functions, about half of what an LSTM's five take.
            LayerKind::FastRnn | LayerKind::FastGrnn => {
                groups * self.group[1] / 2.0 + layer.rank().div_ceil(4) as f64 * self.group[0]
            }
            LayerKind::Gru { .. } => groups * self.group[2],
            LayerKind::Dense(Activation::Softmax) => {
                groups * self.group[0] + layer.units() as f64 * SOFTMAX
            }
            _ => groups * self.group[0],
        }
    }
}
