//! Weights.

/// A row-major matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// A `[rows][cols]` matrix from its row-major values.
    ///
    /// # Panics
    /// If `values` does not hold `rows * cols` numbers.
    pub fn new(rows: usize, cols: usize, values: Vec<f64>) -> Self {
        assert_eq!(values.len(), rows * cols, "a {rows} x {cols} matrix");
        Self { rows, cols, values }
    }

    /// The `[n][n]` matrix with `diagonal` on its diagonal.
    pub fn diagonal(diagonal: &[f64]) -> Self {
        let n = diagonal.len();
        let mut values = vec![0.0; n * n];
        for (i, &d) in diagonal.iter().enumerate() {
            values[i * n + i] = d;
        }
        Self::new(n, n, values)
    }

    /// Number of rows (outputs).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns (inputs).
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `r`, `cols` long.
    pub fn row(&self, r: usize) -> &[f64] {
        &self.values[r * self.cols..][..self.cols]
    }

    /// All values, row after row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// This matrix times a vector of `cols` numbers.
    pub(super) fn times(&self, x: &[f64]) -> Vec<f64> {
        let dot = |r| self.row(r).iter().zip(x).map(|(w, x)| w * x).sum();
        (0..self.rows).map(dot).collect()
    }

    /// Puts all columns behind themselves until there are `copies` of them.
    pub(super) fn repeat_columns(&mut self, copies: usize) {
        let rows = self.values.chunks_exact(self.cols);
        self.values = rows.flat_map(|row| row.repeat(copies)).collect();
        self.cols *= copies;
    }

    /// Multiplies every column by its factor.
    pub(super) fn scale_columns(&mut self, factors: &[f64]) {
        for row in self.values.chunks_exact_mut(self.cols) {
            row.iter_mut().zip(factors).for_each(|(w, f)| *w *= f);
        }
    }

    /// Multiplies every row by its factor.
    pub(super) fn scale_rows(&mut self, factors: &[f64]) {
        for (row, f) in self.values.chunks_exact_mut(self.cols).zip(factors) {
            row.iter_mut().for_each(|w| *w *= f);
        }
    }
}
