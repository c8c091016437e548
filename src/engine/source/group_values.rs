//! One gene's values other than 0, group after group, for tests that need the values themselves.
//!
//! A counting sort by group; a group's values are sorted when they are first asked for, since most targets'
//! never are.
//!
//! Cost: one pass over the entries; O(n log n) for each group that is sorted.

use super::sample::Sample;
use crate::cast::place;
use crate::matrix::Value;

/// The values of every group, with the number of cells that have each.
#[derive(Debug, Default)]
pub struct GroupValues {
    /// Group g's are `starts[g]..starts[g + 1]`.
    entries: Vec<(f64, u64)>,
    starts: Vec<usize>,
    sorted: Vec<bool>,
    /// Cells with the value 0, for each group.
    zeros: Vec<u64>,
    /// All groups' values.
    all: Vec<(f64, u64)>,
}

impl GroupValues {
    /// Takes one gene's values.
    pub fn fill<V: Value>(&mut self, sample: &Sample<V>) {
        let groups = sample.zeros.len();
        self.zeros.clear();
        self.zeros.extend_from_slice(sample.zeros);
        self.sorted.clear();
        self.sorted.resize(groups, false);
        self.starts.clear();
        self.starts.resize(groups + 1, 0);
        for entry in sample.entries {
            self.starts[place(entry.code) + 1] += 1;
        }
        for group in 1..=groups {
            self.starts[group] += self.starts[group - 1];
        }
        self.entries.clear();
        self.entries.resize(sample.entries.len(), (0.0, 0));
        // Where each group's next value goes: from where the group begins to where it ends.
        for (i, entry) in sample.entries.iter().enumerate() {
            let at = &mut self.starts[place(entry.code)];
            self.entries[*at] = (entry.value.to_f64(), sample.weight(i));
            *at += 1;
        }
        self.starts.rotate_right(1);
        self.starts[0] = 0;
    }

    /// Visits one group's values, ascending, zeros among them; one may come several times.
    pub fn each(&mut self, group: usize, visit: impl FnMut(f64, u64)) {
        let entries = &mut self.entries[self.starts[group]..self.starts[group + 1]];
        if !std::mem::replace(&mut self.sorted[group], true) {
            entries.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        }
        with_zeros(entries, self.zeros[group], visit);
    }

    /// [`GroupValues::each`] of all groups together.
    pub fn each_of_all(&mut self, visit: impl FnMut(f64, u64)) {
        self.all.clear();
        self.all.extend_from_slice(&self.entries);
        self.all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        with_zeros(&self.all, self.zeros.iter().sum(), visit);
    }
}

fn with_zeros(entries: &[(f64, u64)], zeros: u64, mut visit: impl FnMut(f64, u64)) {
    let (negative, positive) = entries.split_at(entries.partition_point(|entry| entry.0 < 0.0));
    negative.iter().for_each(|&(value, cells)| visit(value, cells));
    if zeros > 0 {
        visit(0.0, zeros);
    }
    positive.iter().for_each(|&(value, cells)| visit(value, cells));
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
