//! One gene's values other than 0, group after group, for tests that need the values themselves.
//!
//! A counting sort by group; a group's values are sorted when they are first asked for, since most targets'
//! never are.
//!
//! Cost: one pass over the entries; O(n log n) for each group that is sorted.

use super::sample::Sample;
use crate::cast::place;
use crate::matrix::Value;
use std::ops::Range;

/// The values of every group, with the number of cells that have each.
#[derive(Debug, Default)]
pub struct GroupValues {
    values: Values,
    /// Group g's values are `starts[g]..starts[g + 1]`.
    starts: Vec<usize>,
    sorted: Vec<bool>,
    /// Cells with the value 0, for each group.
    zeros: Vec<u64>,
    /// All groups' values.
    all: Values,
    pairs: Vec<(f64, u64)>,
}

/// Some values.
#[derive(Debug, Default)]
struct Values {
    values: Vec<f64>,
    /// How many cells have each; empty where one cell has.
    weights: Vec<u64>,
}

impl GroupValues {
    /// Takes one gene's values.
    pub fn fill<V: Value>(&mut self, sample: &Sample<V>) {
        let groups = sample.zeros.len();
        self.zeros.clear();
        self.zeros.extend_from_slice(sample.zeros);
        self.sorted.clear();
        self.sorted.resize(groups, false);
        sample.starts(&mut self.starts);
        let Values { values, weights } = &mut self.values;
        values.resize(sample.entries.len(), 0.0);
        weights.resize(sample.weights.map_or(0, <[u64]>::len), 0);
        // Where each group's next value goes: from where the group begins to where it ends.
        for (i, entry) in sample.entries.iter().enumerate() {
            let at = &mut self.starts[place(entry.code)];
            values[*at] = entry.value.to_f64();
            if let Some(weight) = weights.get_mut(*at) {
                *weight = sample.weight(i);
            }
            *at += 1;
        }
        self.starts.rotate_right(1);
        self.starts[0] = 0;
    }

    /// Visits one group's values, ascending, zeros among them; one may come several times.
    pub fn each(&mut self, group: usize, visit: impl FnMut(f64, u64)) {
        let range = self.starts[group]..self.starts[group + 1];
        if !std::mem::replace(&mut self.sorted[group], true) {
            self.values.sort(range.clone(), &mut self.pairs);
        }
        self.values.each(range, self.zeros[group], visit);
    }

    /// [`GroupValues::each`] of all groups together.
    pub fn each_of_all(&mut self, visit: impl FnMut(f64, u64)) {
        self.all.values.clone_from(&self.values.values);
        self.all.weights.clone_from(&self.values.weights);
        let range = 0..self.all.values.len();
        self.all.sort(range.clone(), &mut self.pairs);
        self.all.each(range, self.zeros.iter().sum(), visit);
    }
}

impl Values {
    fn sort(&mut self, range: Range<usize>, pairs: &mut Vec<(f64, u64)>) {
        let values = &mut self.values[range.clone()];
        if self.weights.is_empty() {
            return values.sort_unstable_by(f64::total_cmp);
        }
        let weights = &mut self.weights[range];
        pairs.clear();
        pairs.extend(values.iter().copied().zip(weights.iter().copied()));
        pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        for (pair, (value, weight)) in pairs.iter().zip(values.iter_mut().zip(weights)) {
            (*value, *weight) = *pair;
        }
    }

    /// Visits sorted values, and `zeros` cells with 0 among them.
    fn each(&self, range: Range<usize>, zeros: u64, mut visit: impl FnMut(f64, u64)) {
        let values = &self.values[range.clone()];
        let zero = range.start + values.partition_point(|&value| value < 0.0);
        let visit_all = |range: Range<usize>, visit: &mut dyn FnMut(f64, u64)| {
            range.for_each(|i| visit(self.values[i], self.weights.get(i).copied().unwrap_or(1)));
        };
        visit_all(range.start..zero, &mut visit);
        if zeros > 0 {
            visit(0.0, zeros);
        }
        visit_all(zero..range.end, &mut visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Entry;

    #[test]
    fn groups_are_sorted_with_their_zeros() {
        let entries = [(2.5, 1), (-1.0, 0), (2.5, 0), (0.5, 1)];
        let entries = entries.map(|(value, code)| Entry { value, code });
        let weights = [3, 1, 1, 2];
        let sample = Sample { entries: &entries, weights: Some(&weights), zeros: &[4, 0, 2] };
        let mut values = GroupValues::default();
        values.fill(&sample);
        let mut of = |group| {
            let mut found = Vec::new();
            values.each(group, |value, cells| found.push((value, cells)));
            found
        };
        assert_eq!(of(1), [(0.5, 2), (2.5, 3)]);
        assert_eq!(of(0), [(-1.0, 1), (0.0, 4), (2.5, 1)]);
        assert_eq!((of(2), of(1)), (vec![(0.0, 2)], vec![(0.5, 2), (2.5, 3)]));
        let mut all = Vec::new();
        values.each_of_all(|value, cells| all.push((value, cells)));
        assert_eq!(all[..3], [(-1.0, 1), (0.0, 6), (0.5, 2)]);
        assert_eq!(all[3].1 + all[4].1, 4);
    }
}
