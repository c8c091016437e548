//! Rows of a count table: columns of group, value and number of cells, gene after gene.

use crate::cast::cells;
use crate::engine::source::bin::{Bin, Sums};
use crate::engine::source::overflow::{Ascending, OverflowEntry};
use crate::matrix::Value;

/// Rows of consecutive genes. Those of a folded gene ascend by group, then by value.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows<V> {
    /// One past the last row of each gene.
    pub ends: Vec<usize>,
    /// The group's number.
    pub group: Vec<u32>,
    pub value: Vec<V>,
    /// The number of cells of the group that have the value; at least 1.
    pub count: Vec<u32>,
}

impl<V> Default for Rows<V> {
    fn default() -> Self {
        Self { ends: Vec::new(), group: Vec::new(), value: Vec::new(), count: Vec::new() }
    }
}

/// Rows that are written together.
const BINS: usize = 64;

impl<V: Value> Rows<V> {
    /// The number of rows.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // nobody asks
    pub fn len(&self) -> usize {
        self.value.len()
    }

    /// Makes room for `more` rows.
    pub fn reserve(&mut self, more: usize) {
        self.group.reserve(more);
        self.value.reserve(more);
        self.count.reserve(more);
    }

    /// Ends a gene: the next rows belong to the next one.
    pub fn end_gene(&mut self) {
        self.ends.push(self.len());
    }

    /// Adds a row; nothing for no cells.
    pub fn push(&mut self, group: u32, value: V, count: u64) {
        if count > 0 {
            self.group.push(group);
            self.value.push(value);
            self.count.push(cells(count));
        }
    }

    /// Adds the rows of a group of `size` cells from its histogram: the cells that are neither in a
    /// bin above 0 nor among the overflow values, ascending, are zeros.
    pub fn push_bins<T: Bin>(
        &mut self,
        group: u32,
        (bins, overflow): (&[T], &[OverflowEntry<V>]),
        size: u64,
    ) {
        let start = self.len();
        if !overflow.is_empty() {
            let listed = Sums::of::<_, false>(bins).cells + overflow.len() as u64;
            let zeros = size.saturating_sub(listed);
            for run in Ascending::<_, V, _>::new(bins, zeros, overflow) {
                self.push(group, run.value, run.cells);
            }
            return;
        }
        // The zeros' row comes first; their number is known last.
        self.push(group, V::default(), size.min(1));
        let listed = self.push_counts(bins);
        self.group.resize(self.len(), group);
        match cells(size.saturating_sub(listed)) {
            0 if size == 0 => {}
            0 => self.remove(start),
            zeros => self.count[start] = zeros,
        }
    }

    /// Adds values and counts of all bins above 0 that hold cells; returns how many cells.
    fn push_counts<T: Bin>(&mut self, bins: &[T]) -> u64 {
        // Of many groups, most have no cell that expresses a gene.
        if bins.iter().skip(1).fold(0, |any, bin| any | bin.get()) == 0 {
            return 0;
        }
        let (mut values, mut counts) = ([V::default(); BINS], [0; BINS]);
        let (mut first, mut n, mut listed) = (0u16, 0, 0);
        let (fours, others) = bins.as_chunks::<4>();
        for four in fours.iter().map(|four| &four[..]).chain(std::iter::once(others)) {
            // Most counts are small, and most bins are empty.
            let four = four.iter().map(|bin| bin.get());
            if four.clone().fold(0, |any, count| any | count) > 0 {
                for (v, count) in (first..).zip(four) {
                    let count = if v == 0 { 0 } else { count };
                    // Written always, kept where it holds cells.
                    (values[n], counts[n]) = (V::of_count(v), count);
                    n += usize::from(count > 0);
                    listed += u64::from(count);
                }
                if n > BINS - 4 {
                    self.value.extend_from_slice(&values[..n]);
                    self.count.extend_from_slice(&counts[..n]);
                    n = 0;
                }
            }
            first = first.saturating_add(4);
        }
        self.value.extend_from_slice(&values[..n]);
        self.count.extend_from_slice(&counts[..n]);
        listed
    }

    fn remove(&mut self, row: usize) {
        self.group.remove(row);
        self.value.remove(row);
        self.count.remove(row);
    }

    /// Adds the rows of a group from its sorted values other than 0, each with its number of cells,
    /// and its zeros.
    pub fn push_sorted(&mut self, group: u32, values: impl Iterator<Item = (V, u64)>, zeros: u64) {
        let zero = V::default().key();
        let mut zeros_due = zeros > 0;
        let mut last = None;
        for (value, count) in values {
            let key = value.key();
            if zeros_due && key > zero {
                self.push(group, V::default(), zeros);
                (zeros_due, last) = (false, None);
            }
            if last == Some(key)
                && let Some(row) = self.count.last_mut()
            {
                *row += cells(count);
            } else {
                self.push(group, value, count);
                last = Some(key);
            }
        }
        if zeros_due {
            self.push(group, V::default(), zeros);
        }
    }

    /// Adds `cells` rows of one cell each.
    pub fn push_cells(&mut self, group: u32, value: V, cells: usize) {
        let rows = self.len() + cells;
        self.group.resize(rows, group);
        self.value.resize(rows, value);
        self.count.resize(rows, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(rows: &Rows<f32>) -> Vec<(u32, f32, u32)> {
        let rows = rows.group.iter().zip(&rows.value).zip(&rows.count);
        rows.map(|((&group, &value), &count)| (group, value, count)).collect()
    }

    #[test]
    fn bins_become_rows_with_their_zeros() {
        let mut rows = Rows::default();
        rows.push_bins(4, (&[9u16, 2, 0, 1], &[]), 8);
        rows.push_bins(5, (&[0u32, 2, 0, 1], &[]), 3);
        rows.push_bins(6, (&[0u16, 0], &[]), 2);
        rows.push_bins(7, (&[0u16, 0], &[]), 0);
        rows.push_bins(7, (&[9u16, 3], &[]), 0);
        let overflow = [(3, -2.0), (3, 0.5), (3, 0.5), (3, 7.0)];
        rows.push_bins(8, (&[0u16, 3], &overflow), 9);
        rows.end_gene();
        let want = [
            (4, 0.0, 5),
            (4, 1.0, 2),
            (4, 3.0, 1),
            (5, 1.0, 2),
            (5, 3.0, 1),
            (6, 0.0, 2),
            (7, 1.0, 3),
            (8, -2.0, 1),
            (8, 0.0, 2),
            (8, 0.5, 2),
            (8, 1.0, 3),
            (8, 7.0, 1),
        ];
        assert_eq!(listed(&rows), want);
        assert_eq!(rows.ends, [12]);
    }

    #[test]
    fn wide_histograms_keep_every_bin() {
        let bins: Vec<u16> = (0..200u16).map(|v| v % 3).collect();
        let mut rows = Rows::<f32>::default();
        rows.push_bins(1, (&bins, &[]), 10_000);
        let want: Vec<(f32, u32)> =
            (1..200u16).filter(|v| v % 3 > 0).map(|v| (f32::from(v), u32::from(v % 3))).collect();
        let got: Vec<(f32, u32)> = rows.value.iter().copied().zip(rows.count).skip(1).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn sorted_values_become_rows_with_their_zeros() {
        let mut rows = Rows::default();
        rows.push_sorted(1, [(-1.0, 1), (-1.0, 2), (2.5, 1)].into_iter(), 4);
        rows.push_sorted(2, [(-1.0, 1)].into_iter(), 3);
        rows.push_sorted(3, [(1.0, 1), (1.0, 1)].into_iter(), 0);
        rows.push_sorted(4, [].into_iter(), 2);
        let want = [
            (1, -1.0, 3),
            (1, 0.0, 4),
            (1, 2.5, 1),
            (2, -1.0, 1),
            (2, 0.0, 3),
            (3, 1.0, 2),
            (4, 0.0, 2),
        ];
        assert_eq!(listed(&rows), want);
    }
}
