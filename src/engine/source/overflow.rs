//! Values that a histogram has no bin for (larger than expected, negative, fractional), and the
//! distinct values of a histogram with such ones.
//!
//! Overflow values are few: a strip with many of them goes gene by gene instead.

use super::bin::{Bin, Sums};
use crate::cast::{cells, narrow, place, wide};
use crate::matrix::Value;
use crate::stats::runs::{OwnRun, SharedRuns};
use crate::stats::wilcoxon::tie_term;

/// A gene and the value of one of its cells.
pub type OverflowEntry<V> = (u32, V);

/// Overflow values of some cells: gene and value, sorted by both once [`Overflow::sort`] was called.
#[derive(Debug, Clone)]
pub struct Overflow<V>(Vec<OverflowEntry<V>>);

impl<V> Default for Overflow<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V: Value> Overflow<V> {
    /// Adds a value.
    pub fn push(&mut self, gene: u32, value: V) {
        self.0.push((gene, value));
    }

    /// Adds all values of another list.
    pub fn add(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// Removes all values.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Puts the values in order.
    pub fn sort(&mut self) {
        self.0.sort_unstable_by_key(|entry| (entry.0, entry.1.key()));
    }

    /// The values of one gene, ascending.
    #[must_use]
    pub fn of(&self, gene: u32) -> &[OverflowEntry<V>] {
        if self.0.is_empty() {
            return &[];
        }
        let start = self.0.partition_point(|entry| entry.0 < gene);
        let length = self.0[start..].iter().take_while(|entry| entry.0 == gene).count();
        &self.0[start..start + length]
    }

    /// A gene that holds a NaN.
    #[must_use]
    pub fn nan(&self) -> Option<u32> {
        self.0.iter().find(|entry| entry.1.is_nan()).map(|entry| entry.0)
    }
}

/// Σ(t³ - t) over runs of equal values in ascending order.
#[must_use]
pub fn ties<V: Value>(values: &[V]) -> u128 {
    values.chunk_by(|a, b| a.key() == b.key()).map(|run| tie_term(wide(run.len()))).sum()
}

/// An overflow value, alone or with its gene.
pub trait Overflowing<V>: Copy {
    /// The value.
    fn value(self) -> V;
}

impl<V: Value> Overflowing<V> for V {
    fn value(self) -> V {
        self
    }
}

impl<V: Value> Overflowing<V> for OverflowEntry<V> {
    fn value(self) -> V {
        self.1
    }
}

/// A distinct value of a sample, and how many of its cells have it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distinct<V> {
    /// Orders as values do.
    pub key: u64,
    pub value: V,
    pub cells: u64,
}

/// The distinct values of a sample, ascending: those of its bins among those of its overflow list.
#[derive(Debug, Clone)]
pub struct Ascending<'a, T, V, O> {
    bins: &'a [T],
    zeros: u64,
    /// The next bin.
    next: usize,
    overflow: &'a [O],
    value: std::marker::PhantomData<V>,
}

impl<'a, T: Bin, V: Value, O: Overflowing<V>> Ascending<'a, T, V, O> {
    /// From bins, the number of zeros (whatever bin 0 says) and ascending overflow values.
    pub fn new(bins: &'a [T], zeros: u64, overflow: &'a [O]) -> Self {
        Self { bins, zeros, next: 0, overflow, value: std::marker::PhantomData }
    }

    fn cells(&self, bin: usize) -> u64 {
        if bin == 0 { self.zeros } else { self.bins[bin].get().into() }
    }
}

impl<T: Bin, V: Value, O: Overflowing<V>> Iterator for Ascending<'_, T, V, O> {
    type Item = Distinct<V>;

    fn next(&mut self) -> Option<Distinct<V>> {
        while self.next < self.bins.len() && self.cells(self.next) == 0 {
            self.next += 1;
        }
        // A histogram has at most 2^14 bins.
        let bin = (self.next < self.bins.len())
            .then(|| V::of_count(u16::try_from(self.next).unwrap_or(u16::MAX)));
        let first = self.overflow.first().map(|entry| entry.value());
        if let Some(value) = first.filter(|v| bin.is_none_or(|bin| v.key() < bin.key())) {
            let same = self.overflow.iter().take_while(|entry| entry.value().key() == value.key());
            let n = same.count();
            self.overflow = &self.overflow[n..];
            return Some(Distinct { key: value.key(), value, cells: wide(n) });
        }
        let value = bin?;
        let cells = self.cells(self.next);
        self.next += 1;
        Some(Distinct { key: value.key(), value, cells })
    }
}

/// Shared runs, and the keys that tell their values.
#[derive(Debug, Clone, Default)]
pub struct KeyedRuns {
    keys: Vec<u64>,
    runs: SharedRuns,
    /// For each bin, how many runs have a smaller value.
    below_bin: Vec<u32>,
}

impl KeyedRuns {
    /// Takes the distinct values of the shared cells: those of bins, bin 0 the zeros, and ascending
    /// overflow values.
    pub fn fill<V: Value>(&mut self, bins: &[u32], overflow: &[V]) {
        self.keys.clear();
        self.runs.clear();
        let zeros = bins.first().map_or(0, |&zeros| zeros.into());
        for Distinct { key, cells, .. } in Ascending::<_, V, _>::new(bins, zeros, overflow) {
            debug_assert!(self.keys.last().is_none_or(|&last| last < key) && cells > 0);
            self.keys.push(key);
            self.runs.push(cells);
        }
        let mut below = 0;
        self.below_bin.clear();
        // A histogram has at most 2^14 bins.
        self.below_bin.extend((0..=u16::MAX).zip(bins).map(|(v, _)| {
            let key = V::of_count(v).key();
            while self.keys.get(below).is_some_and(|&run| run < key) {
                below += 1;
            }
            narrow(below)
        }));
    }

    /// The runs.
    #[must_use]
    pub fn shared(&self) -> &SharedRuns {
        &self.runs
    }

    /// Finds the place of each of a target's bins, of which bin 0 stands for the zeros among its
    /// `n_target` cells, and the sums of all but bin 0; `shared` are the bins that the runs were
    /// filled with.  The target has no overflow values.
    pub fn place_bins<T: Bin>(
        &self,
        bins: &[T],
        n_target: u64,
        shared: &[u32],
        out: &mut Vec<OwnRun>,
    ) -> Sums {
        debug_assert!(bins.len() == shared.len() && bins.len() == self.below_bin.len());
        let mut sums = Sums::default();
        // Without a branch: a bin without cells is written over by the next.
        out.resize(bins.len() + 1, OwnRun::default());
        let (mut runs, places) = (1, self.below_bin.iter().zip(shared));
        for (v, (bin, (&at, &same))) in (0u32..).zip(bins.iter().zip(places)).skip(1) {
            let own = bin.get();
            sums.cells += u64::from(own);
            sums.values += u64::from(v) * u64::from(own);
            out[runs] = OwnRun::at(place(at), own, same == 0);
            runs += usize::from(own > 0);
        }
        let zeros = cells(n_target - sums.cells);
        out[0] = OwnRun::at(place(self.below_bin[0]), zeros, shared[0] == 0);
        out.truncate(runs);
        if zeros == 0 {
            out.remove(0);
        }
        sums
    }

    /// Finds the place of each of a target's distinct values (key and cells, ascending).
    pub fn place(&self, own: impl Iterator<Item = (u64, u32)>, out: &mut Vec<OwnRun>) {
        out.clear();
        let mut at = 0;
        for (key, cells) in own {
            while self.keys.get(at).is_some_and(|&shared| shared < key) {
                at += 1;
            }
            let same = self.keys.get(at) == Some(&key);
            out.push(if same { OwnRun::shared(at, cells) } else { OwnRun::alone(at, cells) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_values_stand_among_the_bins() {
        let overflow = [-2.0f32, 0.5, 0.5, 9.0];
        let got: Vec<_> = Ascending::<u16, f32, f32>::new(&[7, 0, 3], 4, &overflow)
            .map(|run| (run.value.to_f64(), run.cells))
            .collect();
        assert_eq!(got, [(-2.0, 1), (0.0, 4), (0.5, 2), (2.0, 3), (9.0, 1)]);
        assert_eq!(ties(&overflow), 6);
    }

    #[test]
    fn own_values_find_their_places() {
        let mut runs = KeyedRuns::default();
        runs.fill(&[9, 2, 5, 0], &[7.0f32]);
        let mut own = Vec::new();
        let sums = runs.place_bins(&[0u16, 0, 3, 4], 9, &[9, 2, 5, 0], &mut own);
        assert_eq!(own, [OwnRun::shared(0, 2), OwnRun::shared(2, 3), OwnRun::alone(3, 4)]);
        assert_eq!((sums.cells, sums.values), (7, 2 * 3 + 3 * 4));
        runs.place_bins(&[0u16, 1, 0, 0], 1, &[9, 2, 5, 0], &mut own);
        assert_eq!(own, [OwnRun::shared(1, 1)]);
        let values = [-1.0f32, 1.0, 1.5, 7.0, 8.0];
        runs.place(values.iter().map(|v| (v.key(), 2)), &mut own);
        let places: Vec<_> = own.iter().map(|run| (run.place(), run.is_alone())).collect();
        assert_eq!(places, [(0, true), (1, false), (2, true), (3, false), (4, true)]);
        assert_eq!(runs.shared().cells(), [9, 2, 5, 1]);
    }
}
