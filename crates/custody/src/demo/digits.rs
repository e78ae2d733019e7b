//! The demo's data: 1,797 handwritten digits (see `data/README.md`). Neighbours show the same digit, so that a search
//! result proves itself.

use std::collections::BTreeSet;

use crate::Failure;

/// One line a digit: 64 pixels of 0 to 16, then the digit.
const CSV: &str = include_str!("../../data/digits.csv");

/// The digits: row `n` has the primary key `n`.
pub(super) struct Digits {
    pub(super) pixels: Vec<Vec<f32>>,
    pub(super) labels: Vec<i64>,
}

impl Digits {
    /// How many there are.
    pub(super) const COUNT: usize = 1_797;
    /// Pixels of a digit.
    pub(super) const DIMENSION: usize = 64;

    pub(super) fn load() -> Result<Self, Failure> {
        let mut digits = Self { pixels: Vec::new(), labels: Vec::new() };
        for line in CSV.lines() {
            let mut numbers = line.split(',').map(str::parse::<u8>).collect::<Result<Vec<_>, _>>()?;
            let label = numbers.pop().ok_or("digits.csv: an empty line")?;
            if numbers.len() != Self::DIMENSION {
                return Err("digits.csv: a line has not 64 pixels".into());
            }
            digits.pixels.push(numbers.into_iter().map(f32::from).collect());
            digits.labels.push(label.into());
        }
        Ok(digits)
    }

    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    /// The share of digits whose nearest neighbour, themselves aside, shows the same digit.
    pub(super) fn label_accuracy(&self, answers: &[Vec<i64>]) -> f64 {
        let right = answers.iter().enumerate().filter(|(row, answer)| {
            let nearest = answer.iter().find_map(|key| usize::try_from(*key).ok().filter(|key| key != row));
            nearest.is_some_and(|nearest| self.labels.get(nearest) == Some(&self.labels[*row]))
        });
        share(right.count(), answers.len())
    }

    /// The share of the exact nearest neighbours that the answers hold. A neighbour as far away as the last exact one
    /// counts: between equals there is no right order.
    pub(super) fn recall(&self, answers: &[Vec<i64>], neighbours: usize) -> f64 {
        let mut found = 0;
        for (row, answer) in answers.iter().enumerate() {
            let distances: Vec<f32> = self.pixels.iter().map(|other| distance(&self.pixels[row], other)).collect();
            let mut sorted = distances.clone();
            sorted.sort_by(f32::total_cmp);
            let bound = sorted[neighbours - 1];
            let keys: BTreeSet<usize> = answer.iter().filter_map(|key| usize::try_from(*key).ok()).collect();
            found += keys.into_iter().filter(|key| distances.get(*key).is_some_and(|found| *found <= bound)).count();
        }
        share(found, answers.len() * neighbours)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few thousand")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_neighbours_have_full_recall_and_the_expected_accuracy() {
        let digits = Digits::load().unwrap();
        assert_eq!(digits.len(), Digits::COUNT);
        let exact = |row: usize| {
            let distances: Vec<f32> = digits.pixels.iter().map(|other| distance(&digits.pixels[row], other)).collect();
            let mut keys: Vec<usize> = (0..digits.len()).collect();
            keys.sort_by(|a, b| distances[*a].total_cmp(&distances[*b]));
            keys.into_iter().take(10).map(|key| i64::try_from(key).unwrap()).collect::<Vec<_>>()
        };
        let answers: Vec<Vec<i64>> = (0..digits.len()).map(exact).collect();
        assert!((digits.recall(&answers, 10) - 1.0).abs() < 1e-9);
        assert!((digits.label_accuracy(&answers) - 0.988).abs() < 0.001);
    }

    #[test]
    fn wrong_neighbours_have_no_recall() {
        let digits = Digits::load().unwrap();
        let answers = vec![vec![-1; 10]; digits.len()];
        assert!(digits.recall(&answers, 10) < 1e-9);
        assert!(digits.label_accuracy(&answers) < 1e-9);
    }
}
