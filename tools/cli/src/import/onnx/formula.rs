//! What the body of a loop computes at one step, in a normal form: sums of inputs, states, functions
//! and products, so that it does not matter in which order an exporter adds them up.

use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};

use super::array::{Array, Origin};
use super::describe;

/// Most terms of a sum, and most sums inside each other: a cell has about five of either.
const MAX_TERMS: usize = 64;
const MAX_DEPTH: usize = 32;

/// Applied to every element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Function {
    Sigmoid,
    Tanh,
    Relu,
    Clip { low: f64, high: f64 },
}

/// A vector that a formula is made of.
#[derive(Clone, Debug)]
pub(super) enum Factor {
    /// The sequence at this step.
    Input,
    /// What the loop carries at this position, before the step.
    State(usize),
    Function(Function, Formula),
    /// Of every two elements.
    Product(Formula, Formula),
    /// Anything else, where weights meet it.
    Formula(Formula),
}

/// `scale * factor * matrix`, the matrix `[inputs, width]` as ONNX has it.
#[derive(Clone, Debug)]
pub(super) struct Term {
    pub(super) factor: Factor,
    pub(super) scale: f64,
    pub(super) matrix: Option<Array>,
}

#[derive(Debug)]
struct Sum {
    batch: usize,
    width: usize,
    terms: Vec<Term>,
    /// Broadcasts to `[width]`.
    constant: Array,
    /// A bit for every state in it.
    states: u64,
    depth: usize,
}

/// `[batch, width]`: terms, and a constant.
#[derive(Clone, Debug)]
pub(super) struct Formula(Rc<Sum>);

impl Formula {
    fn new(batch: usize, width: usize, terms: Vec<Term>, constant: Array) -> Result<Self> {
        ensure!(terms.len() <= MAX_TERMS, "it adds up more than {MAX_TERMS} terms");
        let mut sum = Sum { batch, width, terms, constant, states: 0, depth: 0 };
        for term in &sum.terms {
            let (states, depth) = match &term.factor {
                Factor::Input => (0, 0),
                Factor::State(index) => (1 << index, 0),
                Factor::Function(_, of) | Factor::Formula(of) => (of.0.states, of.0.depth + 1),
                Factor::Product(a, b) => (a.0.states | b.0.states, a.0.depth.max(b.0.depth) + 1),
            };
            sum.states |= states;
            sum.depth = sum.depth.max(depth);
        }
        ensure!(sum.depth < MAX_DEPTH, "it nests functions more than {MAX_DEPTH} deep");
        Ok(Self(Rc::new(sum)))
    }

    fn zero() -> Array {
        Array::filled(Vec::new(), 0.0, Origin::File)
    }

    fn one(factor: Factor, batch: usize, width: usize) -> Result<Self> {
        let term = Term { factor, scale: 1.0, matrix: None };
        Self::new(batch, width, vec![term], Self::zero())
    }

    pub(super) fn input(batch: usize, width: usize) -> Result<Self> {
        Self::one(Factor::Input, batch, width)
    }

    /// One of the first 64 states.
    pub(super) fn state(index: usize, batch: usize, width: usize) -> Result<Self> {
        ensure!(index < 64, "it carries more than 64 values");
        Self::one(Factor::State(index), batch, width)
    }

    /// `function` of every element.
    pub(super) fn apply(&self, function: Function) -> Result<Self> {
        Self::one(Factor::Function(function, self.clone()), self.0.batch, self.0.width)
    }

    pub(super) fn shape(&self) -> Vec<usize> {
        vec![self.0.batch, self.0.width]
    }

    pub(super) fn width(&self) -> usize {
        self.0.width
    }

    pub(super) fn terms(&self) -> &[Term] {
        &self.0.terms
    }

    pub(super) fn constant(&self) -> &Array {
        &self.0.constant
    }

    /// Whether it depends on this state.
    pub(super) fn takes(&self, state: usize) -> bool {
        self.0.states >> state & 1 != 0
    }

    /// Whether these are one value.
    pub(super) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// The only term, if that is all there is.
    pub(super) fn only(&self) -> Option<&Term> {
        match &self.terms() {
            [term] if self.constant().only() == Some(0.0) => Some(term),
            _ => None,
        }
    }

    /// Numbers in its matrices.
    pub(super) fn stored(&self) -> usize {
        let matrices = self.terms().iter().filter_map(|term| term.matrix.as_ref());
        matrices.map(Array::stored).sum()
    }

    pub(super) fn add(&self, other: &Self, sign: f64) -> Result<Self> {
        self.expect_alike(other)?;
        // Nothing added: the same value, which a cell is recognised by.
        if other.terms().is_empty() && other.constant().only() == Some(0.0) {
            return Ok(self.clone());
        }
        if self.terms().is_empty() && self.constant().only() == Some(0.0) && sign == 1.0 {
            return Ok(other.clone());
        }
        let others = other.terms().iter().map(|t| Term { scale: sign * t.scale, ..t.clone() });
        let terms = self.terms().iter().cloned().chain(others).collect();
        let constant = self.constant().combine(other.constant(), |a, b| a + sign * b)?;
        Self::new(self.0.batch, self.0.width, terms, constant)
    }

    /// A constant in the shape of this formula, to be added to it.
    pub(super) fn of_constant(&self, constant: &Array) -> Result<Self> {
        let shape = constant.shape();
        let (last, before) = shape.split_last().unwrap_or((&1, &[]));
        ensure!(
            shape.len() <= 2 && before.iter().all(|n| *n == 1) && [1, self.0.width].contains(last),
            "a constant of shape {shape:?} meets {} features",
            self.0.width
        );
        let constant =
            constant.reshape(if shape.is_empty() { shape } else { &shape[shape.len() - 1..] })?;
        Self::new(self.0.batch, self.0.width, Vec::new(), constant)
    }

    pub(super) fn scale(&self, factor: f64) -> Result<Self> {
        if factor == 1.0 {
            return Ok(self.clone());
        }
        let terms = self.terms().iter().filter(|_| factor != 0.0);
        let terms = terms.map(|t| Term { scale: factor * t.scale, ..t.clone() }).collect();
        let factor = Array::filled(Vec::new(), factor, Origin::File);
        let constant = self.constant().combine(&factor, |c, f| c * f)?;
        Self::new(self.0.batch, self.0.width, terms, constant)
    }

    pub(super) fn product(&self, other: &Self) -> Result<Self> {
        self.expect_alike(other)?;
        Self::one(Factor::Product(self.clone(), other.clone()), self.0.batch, self.0.width)
    }

    /// Times weights of the file, `[width, units]`.
    pub(super) fn matmul(&self, weights: &Array) -> Result<Self> {
        let [rows, units] = *weights.shape() else {
            bail!("its weights have shape {:?}, expected a matrix", weights.shape());
        };
        ensure!(
            rows == self.0.width,
            "its weights take {rows} values, but are given {}",
            self.0.width
        );
        let plain = self.only().filter(|term| term.matrix.is_none());
        let term = match plain {
            Some(term) if matches!(term.factor, Factor::Input | Factor::State(_)) => term.clone(),
            _ => Term { factor: Factor::Formula(self.clone()), scale: 1.0, matrix: None },
        };
        let term = Term { matrix: Some(weights.clone()), ..term };
        Self::new(self.0.batch, units, vec![term], Self::zero())
    }

    /// `count` features from `start` on.
    pub(super) fn slice(
        &self,
        axis: usize,
        start: usize,
        step: isize,
        count: usize,
    ) -> Result<Self> {
        let size = self.shape()[axis];
        if (start, count, step) == (0, size, 1) {
            return Ok(self.clone());
        }
        ensure!(axis == 1 && step == 1, "it takes part of a batch, or features in another order");
        let slice = |array: &Array| array.slice(array.shape().len() - 1, start, 1, count);
        let cut = |term: &Term| {
            let matrix = term.matrix.as_ref().context(
                "it takes part of a state or of a function's values; gatelet takes parts of products with weights",
            )?;
            Ok(Term { matrix: Some(slice(matrix)?), ..term.clone() })
        };
        let terms = self.terms().iter().map(cut).collect::<Result<_>>()?;
        let constant = match self.constant().shape() {
            [] | [1] => self.constant().clone(),
            _ => slice(self.constant())?,
        };
        Self::new(self.0.batch, count, terms, constant)
    }

    fn expect_alike(&self, other: &Self) -> Result<()> {
        let (a, b) = (self.shape(), other.shape());
        ensure!(a == b, "it combines {} with {}", describe(&a), describe(&b));
        Ok(())
    }
}
