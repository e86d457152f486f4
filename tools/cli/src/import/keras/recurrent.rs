//! Recurrent layers around their cells: directions, stacked cells.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::config::{class, flag, name, snake_case};
use super::{Importer, Site};
use crate::graph::Direction;

impl Importer {
    pub(super) fn recurrent(&mut self, config: &Value, site: &Site<'_>) -> Result<()> {
        self.expect_sequence(config)?;
        let op = self.cell(config, site)?;
        let direction = self.take_turn(config);
        self.builder.directed(site.name, op, direction)
    }

    /// `RNN(cell)` or `RNN([cell, ...])`: one layer a cell.
    pub(super) fn cells(&mut self, config: &Value, site: &Site<'_>) -> Result<()> {
        self.expect_sequence(config)?;
        let direction = self.take_turn(config);
        let cell = &config["cell"];
        let stack = (class(cell)? == "StackedRNNCells").then(|| cell["config"]["cells"].as_array());
        let Some(stack) = stack else {
            let class = cell_class(cell)?;
            let op =
                self.cell(&cell["config"], &Site { class, group: site.group.clone(), ..*site })?;
            return self.builder.directed(site.name, op, direction);
        };
        let mut count = std::collections::HashMap::new();
        for cell in stack.context("its cells are no list")? {
            let (class, own_name) = (cell_class(cell)?, name(cell)?);
            let folder = snake_case(self::class(cell)?);
            let before = count.entry(folder.clone()).or_insert(0);
            let path = match *before {
                0 => format!("cell/cells/{folder}/"),
                n => format!("cell/cells/{folder}_{n}/"),
            };
            *before += 1;
            let part = own_name;
            let site = Site { class, group: site.group.clone(), cell: &path, part, ..*site };
            let op = self.cell(&cell["config"], &site)?;
            self.builder.directed(format!("{}.{own_name}", site.name), op, direction)?;
        }
        Ok(())
    }

    pub(super) fn bidirectional(&mut self, config: &Value, site: &Site<'_>) -> Result<()> {
        let forward = &config["layer"];
        // Keras 2 leaves out a backward layer that is a copy of the forward one.
        let backward = match &config["backward_layer"] {
            Value::Null => forward,
            given => given,
        };
        ensure!(
            !flag(&forward["config"], "go_backwards"),
            "its forward layer has go_backwards=True; set it to False"
        );
        self.expect_sequence(&forward["config"])?;
        self.expect_sequence(&backward["config"])?;
        let mut cell = |layer, cell, part| {
            let class = class(layer)?;
            ensure!(
                matches!(class, "SimpleRNN" | "LSTM" | "GRU"),
                "it wraps a {class}; gatelet takes SimpleRNN, LSTM and GRU there"
            );
            let site = Site { class, group: site.group.clone(), cell, part, ..*site };
            self.cell(&layer["config"], &site)
        };
        let there = cell(forward, "forward_layer/cell/", "forward_")?;
        let back = cell(backward, "backward_layer/cell/", "backward_")?;
        // Each output is put in the order of its input, whichever that is.
        let [towards, against] = match self.turned {
            false => [Direction::Forward, Direction::Reverse],
            true => [Direction::Reverse, Direction::Forward],
        };
        self.builder.directed(format!("{}.forward", site.name), there, towards)?;
        self.builder.beside(format!("{}.backward", site.name), back, against)?;
        self.sequence = flag(&forward["config"], "return_sequences");
        match config["merge_mode"].as_str() {
            Some("concat") => Ok(()),
            Some("sum") => self.builder.add_up(site.name, 2, 1.0),
            Some("ave") => self.builder.add_up(site.name, 2, 0.5),
            _ => bail!(
                "merge_mode {} is not supported; gatelet takes \"concat\", \"sum\" and \"ave\"",
                config["merge_mode"]
            ),
        }
    }

    fn expect_sequence(&self, config: &Value) -> Result<()> {
        ensure!(
            self.sequence,
            "it needs a sequence; set return_sequences=True on the layer before it"
        );
        for option in ["time_major", "return_state"] {
            ensure!(!flag(config, option), "{option}=True is not supported; set it to False");
        }
        Ok(())
    }

    /// The direction of a layer; its output comes in the order in which it takes the steps.
    fn take_turn(&mut self, config: &Value) -> Direction {
        self.turned ^= flag(config, "go_backwards");
        self.sequence = flag(config, "return_sequences");
        if self.turned { Direction::Reverse } else { Direction::Forward }
    }
}

/// The layer that a cell makes.
fn cell_class(cell: &Value) -> Result<&str> {
    match class(cell)? {
        "SimpleRNNCell" => Ok("SimpleRNN"),
        "LSTMCell" => Ok("LSTM"),
        "GRUCell" => Ok("GRU"),
        other => bail!(
            "its cell is a {other}; gatelet takes SimpleRNNCell, LSTMCell, GRUCell and lists of them"
        ),
    }
}
