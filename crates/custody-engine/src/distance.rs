//! Exact scores between vectors, by SIMD.

use std::cmp::Ordering;

use numkong::{Dot, Euclidean};

use crate::Metric;

/// A query, with what its scores against many vectors have in common.
pub(crate) struct Scorer<'a> {
    metric: Metric,
    query: &'a [f32],
    /// The query's length squared, for cosines.
    square: f64,
}

impl<'a> Scorer<'a> {
    pub(crate) fn new(metric: Metric, query: &'a [f32]) -> Self {
        Self { metric, query, square: if metric == Metric::Cosine { dot(query, query) } else { 0.0 } }
    }

    /// The score of a vector of the query's dimension; a zero vector has cosine 0 with any other.
    #[expect(clippy::cast_possible_truncation, reason = "Milvus clients take scores as 32-bit floats")]
    pub(crate) fn score(&self, vector: &[f32]) -> f32 {
        match self.metric {
            Metric::L2 => f32::sqeuclidean(self.query, vector).unwrap_or(f64::MAX) as f32,
            Metric::Ip => dot(self.query, vector) as f32,
            Metric::Cosine => {
                let lengths = (self.square * dot(vector, vector)).sqrt();
                if lengths > 0.0 { (dot(self.query, vector) / lengths) as f32 } else { 0.0 }
            }
        }
    }
}

/// The kernels answer `None` only for unequal lengths, which `Value::check` and the request's check exclude.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    f32::dot(a, b).unwrap_or_default()
}

impl Metric {
    /// Which of two scores is nearer: `Less` if the first one.
    pub(crate) fn nearer(self, a: f32, b: f32) -> Ordering {
        match self {
            Self::L2 => a.total_cmp(&b),
            Self::Ip | Self::Cosine => b.total_cmp(&a),
        }
    }
}

/// The nearest `limit` of the candidates offered.
pub(crate) struct Nearest<T> {
    metric: Metric,
    limit: usize,
    /// Kept below twice the limit and cut back by selection, which for small limits beats a heap and is simpler.
    found: Vec<(f32, T)>,
    bound: Option<f32>,
}

impl<T: Ord + Copy> Nearest<T> {
    pub(crate) fn new(metric: Metric, limit: usize) -> Self {
        Self { metric, limit, found: Vec::new(), bound: None }
    }

    pub(crate) fn offer(&mut self, score: f32, item: T) {
        if self.bound.is_some_and(|bound| self.metric.nearer(score, bound) == Ordering::Greater) {
            return;
        }
        self.found.push((score, item));
        if self.found.len() >= self.limit.saturating_mul(2).max(64) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let metric = self.metric;
        self.found.sort_unstable_by(|a, b| metric.nearer(a.0, b.0).then(a.1.cmp(&b.1)));
        self.found.truncate(self.limit);
        if self.found.len() == self.limit {
            self.bound = self.found.last().map(|last| last.0);
        }
    }

    /// The nearest, nearest first.
    pub(crate) fn into_sorted(mut self) -> Vec<(f32, T)> {
        self.cut();
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_what_the_definitions_say() {
        let (a, b) = ([1.0, 2.0, 2.0], [2.0, 0.0, 1.0]);
        assert!((Scorer::new(Metric::L2, &a).score(&b) - 6.0).abs() < 1e-6);
        assert!((Scorer::new(Metric::Ip, &a).score(&b) - 4.0).abs() < 1e-6);
        assert!((Scorer::new(Metric::Cosine, &a).score(&b) - 4.0 / (3.0 * 5.0_f32.sqrt())).abs() < 1e-6);
        assert!(Scorer::new(Metric::Cosine, &a).score(&[0.0; 3]).abs() < 1e-6);
    }

    #[test]
    fn keeps_the_nearest_whatever_the_order_they_come_in() {
        for metric in [Metric::L2, Metric::Ip] {
            let mut nearest = Nearest::new(metric, 3);
            for item in 0..1_000_u16 {
                nearest.offer(f32::from((item * 7) % 1_000), item);
            }
            let scores: Vec<f32> = nearest.into_sorted().into_iter().map(|found| found.0).collect();
            let expected = if metric == Metric::L2 { [0.0, 1.0, 2.0] } else { [999.0, 998.0, 997.0] };
            assert_eq!(scores, expected);
        }
    }
}
