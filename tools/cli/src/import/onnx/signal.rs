//! Tensors that depend on the model's input.

use std::fmt;

use anyhow::{Result, bail, ensure};

use super::describe;

/// What a part of an axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The leading axis of the model's input with this position; the first
    /// recurrent node tells which is time.
    Leading(usize),
    Batch,
    Time,
    Features,
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
    /// Whether this is the last step of the sequence only.
    pub(super) last: bool,
}

impl Signal {
    pub(super) fn shape(&self) -> Vec<usize> {
        let size = |axis: &Vec<Part>| axis.iter().map(|part| part.size).product();
        self.axes.iter().map(size).collect()
    }

    /// Whether this axis is the features' and nothing else's.
    pub(super) fn is_features(&self, axis: usize) -> bool {
        let is_features = |part: &Part| part.role == Role::Features;
        match &self.axes[axis][..] {
            // A single feature leaves no part.
            [] => !self.axes.iter().flatten().any(is_features),
            [part] => is_features(part),
            _ => false,
        }
    }

    /// Axis `k` becomes what was axis `order[k]`.
    pub(super) fn transpose(&self, order: &[usize]) -> Result<Self> {
        let axes = order.iter().map(|&axis| self.axes[axis].clone()).collect();
        Ok(Self { axes, ..*self })
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
        Ok(Self { axes, ..*self })
    }

    /// Every `step`th of an axis, `count` from `start` on: all of it, or the
    /// last step of the sequence.
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
            [Part { role: Role::Time, .. }] if (start, count) == (size - 1, 1) => {
                let mut axes = self.axes.clone();
                axes[axis].clear();
                Ok(Self { axes, last: true, ..*self })
            }
            [Part { role: Role::Time, .. }] if count == size => bail!(
                "it turns the sequence around, and a stream has no end to start from; gatelet takes layers that read forward"
            ),
            _ => bail!(
                "it takes part of axis {axis} of {self}; gatelet takes all of it, or the last step of the sequence"
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
                Role::Features => "features".into(),
            });
            let parts: Vec<String> = parts.collect();
            if parts.is_empty() { "1".into() } else { parts.join("*") }
        });
        write!(f, "[{}]", axes.collect::<Vec<_>>().join(", "))
    }
}
