//! First and second moments of the vectors that a layer's rows are multiplied with: what rounding
//! errors are weighed by.

use std::ops::Range;

use rayon::prelude::*;

/// Vectors between two additions in `f64`: short enough for `f32` sums to be exact enough.
const CHUNK: usize = 256;

/// Mean and covariance of vectors of `len` elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    mean: Vec<f64>,
    /// `[len][len]`, symmetric.
    covariance: Vec<f64>,
}

impl Moments {
    /// Of `vectors`, `[count][len]`. The sums have one order, so the same vectors give the same
    /// bits.
    ///
    /// # Panics
    /// If there is no vector.
    pub fn new(vectors: &[f32], len: usize) -> Self {
        let count = vectors.len() / len.max(1);
        assert!(count > 0 || len == 0, "moments of nothing");
        let mut mean = vec![0.0; len];
        for vector in vectors.chunks_exact(len.max(1)) {
            mean.iter_mut().zip(vector).for_each(|(m, v)| *m += f64::from(*v));
        }
        mean.iter_mut().for_each(|m| *m /= count as f64);
        // Element after element, centred: a covariance is then a product of two plain slices.
        let centred: Vec<Vec<f32>> = (0..len)
            .into_par_iter()
            .map(|c| {
                (0..count).map(|n| (f64::from(vectors[n * len + c]) - mean[c]) as f32).collect()
            })
            .collect();
        let lower: Vec<Vec<f64>> = (0..len)
            .into_par_iter()
            .map(|i| (0..=i).map(|j| dot(&centred[i], &centred[j]) / count as f64).collect())
            .collect();
        let mut covariance = vec![0.0; len * len];
        for (i, row) in lower.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                covariance[i * len + j] = *value;
                covariance[j * len + i] = *value;
            }
        }
        Self { mean, covariance }
    }

    /// Elements of the vectors.
    pub fn len(&self) -> usize {
        self.mean.len()
    }

    /// True if the vectors have no element.
    pub fn is_empty(&self) -> bool {
        self.mean.is_empty()
    }

    /// The mean, `[len]`.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Covariance of elements `i` and `j`.
    pub fn covariance(&self, i: usize, j: usize) -> f64 {
        self.covariance[i * self.len() + j]
    }

    /// The moments of some of the elements alone.
    pub fn part(&self, elements: Range<usize>) -> Self {
        let rows = elements.clone();
        let covariance =
            rows.flat_map(|i| elements.clone().map(move |j| self.covariance(i, j))).collect();
        Self { mean: self.mean[elements.clone()].to_vec(), covariance }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sum = 0.0;
    for (a, b) in a.chunks(CHUNK).zip(b.chunks(CHUNK)) {
        let mut lanes = [0f32; 8];
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
        for (a, b) in a.iter().zip(b) {
            for l in 0..8 {
                lanes[l] += a[l] * b[l];
            }
        }
        let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b);
        sum += lanes.into_iter().chain(rest).map(f64::from).sum::<f64>();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_textbook() {
        let vectors = [1.0, 2.0, 3.0, 8.0, 5.0, 5.0f32];
        let moments = Moments::new(&vectors, 2);
        assert_eq!(moments.mean(), [3.0, 5.0]);
        assert_eq!(moments.covariance(0, 0), 8.0 / 3.0);
        assert_eq!(moments.covariance(0, 1), 2.0);
        assert_eq!(moments.covariance(1, 0), 2.0);
        assert_eq!(moments.covariance(1, 1), 6.0);
        assert_eq!(moments.part(1..2), Moments::new(&[2.0, 8.0, 5.0], 1));
    }
}
