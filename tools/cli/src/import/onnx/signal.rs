//! Tensors that depend on the model's input.

use std::fmt;
use std::ops::Range;

use anyhow::{Result, bail, ensure};

use super::describe;
use crate::graph::Direction;

/// What a part of an axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The leading axis of the model's input with this position; the first
    /// recurrent node tells which is time.
    Leading(usize),
    Batch,
    Time,
    /// The two directions of a bidirectional layer.
    Direction,
    Features,
}

/// Which steps of the sequence a signal holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    All,
    /// The output of each layer after the last step that it took.
    Final,
    /// The outputs at the sequence's last step.
    AtLast,
    /// The outputs at the sequence's first step.
    AtFirst,
}

/// A factor of an axis; its size is more than 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) role: Role,
    pub(super) size: usize,
}

impl Part {
    /// An axis of this part alone: of none, if its size is 1.
    pub(super) fn axis(role: Role, size: usize) -> Vec<Self> {
        if size == 1 { Vec::new() } else { vec![Self { role, size }] }
    }
}

/// What the layers so far give, however its axes are arranged.
///
/// An axis is a product of parts: `[time, batch, features]` reshaped to rows
/// is `[time*batch, features]`. An axis of length 1 is the product of none.
/// Whatever moves data without mixing it only rearranges the parts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Signal {
    /// How many operations were applied to the model's input.
    pub(super) depth: usize,
    pub(super) axes: Vec<Vec<Part>>,
    pub(super) when: When,
    /// Whether the steps come from the last to the first.
    pub(super) turned: bool,
    /// Which of the last layers' outputs these are, side by side; more than one layer may have
    /// taken the same input.
    pub(super) columns: Range<usize>,
    /// The directions of the recurrent layers that made them, equal parts of the columns.
    pub(super) directions: Vec<Direction>,
}

impl Signal {
    pub(super) fn shape(&self) -> Vec<usize> {
        let size = |axis: &Vec<Part>| axis.iter().map(|part| part.size).product();
        self.axes.iter().map(size).collect()
    }

    /// Whether this axis is the features' and nothing else's: those of one direction behind those
    /// of the other.
    pub(super) fn is_features(&self, axis: usize) -> bool {
        let roles = |parts: &[Part]| parts.iter().map(|part| part.role).collect::<Vec<_>>();
        let of_features = |part: &&Part| matches!(part.role, Role::Direction | Role::Features);
        let all = self.axes.iter().flatten().filter(of_features).count();
        // A single feature leaves no part.
        match roles(&self.axes[axis])[..] {
            [] => all == 0,
            [Role::Direction | Role::Features] => all == 1,
            [Role::Direction, Role::Features] => true,
            _ => false,
        }
    }

    /// These and those of `next`, if they lie side by side and differ in nothing else.
    pub(super) fn join(&self, next: &Self) -> Option<Self> {
        let joined = Self {
            columns: self.columns.start..next.columns.end,
            directions: [&self.directions[..], &next.directions].concat(),
            ..self.clone()
        };
        let alike = Self { columns: 0..0, directions: Vec::new(), ..self.clone() }
            == Self {
                columns: 0..0,
                directions: Vec::new(),
                axes: self.axes.clone(),
                ..next.clone()
            };
        (alike && self.columns.end == next.columns.start).then_some(joined)
    }

    /// One of two directions.
    fn narrow(&self, axis: usize, position: usize) -> Self {
        let units = self.columns.len() / 2;
        let first = self.columns.start + position * units;
        let mut axes = self.axes.clone();
        axes[axis].remove(0);
        let directions = self.directions.iter().skip(position).take(1).copied().collect();
        Self { axes, columns: first..first + units, directions, ..self.clone() }.settled()
    }

    /// One step, at an end of the sequence.
    fn at_end(&self, axis: usize, is_last: bool) -> Self {
        let mut axes = self.axes.clone();
        axes[axis].clear();
        let when = if is_last { When::AtLast } else { When::AtFirst };
        Self { axes, when, turned: false, ..self.clone() }.settled()
    }

    /// One name for what is the same: the step that a layer takes last, and the last it takes.
    fn settled(self) -> Self {
        let only = |direction| self.directions.iter().all(|d| *d == direction);
        let when = match self.when {
            When::AtLast if only(Direction::Forward) => When::Final,
            When::AtFirst if only(Direction::Reverse) => When::Final,
            when => when,
        };
        Self { when, ..self }
    }

    /// Axis `k` becomes what was axis `order[k]`.
    pub(super) fn transpose(&self, order: &[usize]) -> Result<Self> {
        let axes = order.iter().map(|&axis| self.axes[axis].clone()).collect();
        Ok(Self { axes, ..self.clone() })
    }

    /// The same elements in another shape, if each part stays whole.
    pub(super) fn reshape(&self, shape: &[usize]) -> Result<Self> {
        let mut parts = self.axes.iter().flatten().peekable();
        let mut axes = Vec::new();
        for &size in shape {
            let (mut axis, mut product) = (Vec::new(), 1);
            while product < size
                && let Some(part) = parts.next()
            {
                product *= part.size;
                axis.push(*part);
            }
            ensure!(
                product == size,
                "it reshapes {self} to {}; gatelet takes reshapes that keep batch, time and features whole",
                describe(shape)
            );
            axes.push(axis);
        }
        ensure!(
            parts.peek().is_none(),
            "it reshapes {self} to {}, which has fewer elements",
            describe(shape)
        );
        Ok(Self { axes, ..self.clone() })
    }

    /// Every `step`th of an axis, `count` from `start` on: all of it, the last
    /// step of the sequence, all steps from the end, or one direction.
    pub(super) fn slice(
        &self,
        axis: usize,
        start: usize,
        step: isize,
        count: usize,
    ) -> Result<Self> {
        let size: usize = self.axes[axis].iter().map(|part| part.size).product();
        if (start, count) == (0, size) && (step == 1 || size == 1) {
            return Ok(self.clone());
        }
        match &self.axes[axis][..] {
            [Part { role: Role::Time | Role::Leading(_), .. }]
                if (start, count, step) == (size - 1, size, -1) =>
            {
                Ok(Self { turned: !self.turned, ..self.clone() })
            }
            [Part { role: Role::Time, .. }] if count == 1 && (start == 0 || start == size - 1) => {
                Ok(self.at_end(axis, (start == 0) == self.turned))
            }
            [Part { role: Role::Direction, .. }] if count == 1 => Ok(self.narrow(axis, start)),
            [Part { role: Role::Direction, .. }, Part { size, .. }]
                if count == *size && step == 1 && start.is_multiple_of(*size) =>
            {
                Ok(self.narrow(axis, start / size))
            }
            _ => bail!(
                "it takes part of axis {axis} of {self}; gatelet takes all of it, the last step of the sequence, or one direction"
            ),
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes = self.axes.iter().map(|axis| {
            let parts = axis.iter().map(|part| match part.role {
                Role::Leading(position) => format!("input axis {position}"),
                Role::Batch => "batch".into(),
                Role::Time => "time".into(),
                Role::Direction => "direction".into(),
                Role::Features => "features".into(),
            });
            let parts: Vec<String> = parts.collect();
            if parts.is_empty() { "1".into() } else { parts.join("*") }
        });
        write!(f, "[{}]", axes.collect::<Vec<_>>().join(", "))
    }
}
