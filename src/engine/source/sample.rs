//! One gene's cells, and what describes each group of them: zeros, and sums for the means.

use crate::cast::{place, real};
use crate::engine::request::GeneRequest;
use crate::matrix::{Entry, Value};
use crate::stats::double_double::DoubleDouble;
use crate::stats::moments::all_others;

/// One gene's cells: non-zero values, none NaN, with their groups; zeros as a number a group.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a, V> {
    pub entries: &'a [Entry<V>],
    /// How many cells each entry stands for; one each where absent.
    pub weights: Option<&'a [u64]>,
    /// For each group.
    pub zeros: &'a [u64],
}

impl<V> Sample<'_, V> {
    /// Where each group's entries begin in order of groups, and the last group's end.
    pub(crate) fn starts(&self, starts: &mut Vec<usize>) {
        starts.clear();
        starts.resize(self.zeros.len() + 1, 0);
        for entry in self.entries {
            starts[place(entry.code) + 1] += 1;
        }
        for group in 1..starts.len() {
            starts[group] += starts[group - 1];
        }
    }

    /// How many cells entry `i` stands for.
    #[inline]
    #[must_use]
    pub fn weight(&self, i: usize) -> u64 {
        self.weights.map_or(1, |weights| weights[i])
    }
}

/// Zeros, and sums of transformed values in double-double words: bit-identical for any order of
/// addition.
#[derive(Debug, Default)]
pub struct GroupSums {
    /// Cells with the value 0, for each group and of all groups.
    zeros: Vec<u64>,
    all_zeros: u64,
    /// For each group.
    sums: Vec<DoubleDouble>,
    /// Against the rest, for each group that of all others.
    others: Vec<DoubleDouble>,
}

impl GroupSums {
    /// Starts with no cells.
    pub fn start(&mut self, request: &GeneRequest) {
        self.zeros.clear();
        self.zeros.resize(request.sizes.len(), 0);
        self.sums.clear();
        self.sums.resize(request.sizes.len(), DoubleDouble::default());
    }

    /// Adds cells to their groups.
    pub fn add<V: Value>(&mut self, sample: &Sample<V>, request: &GeneRequest) {
        self.zeros.iter_mut().zip(sample.zeros).for_each(|(sum, zeros)| *sum += zeros);
        let mut natural = [0.0; 128];
        for (number, entries) in sample.entries.chunks(natural.len()).enumerate() {
            let natural = &mut natural[..entries.len()];
            for (natural, entry) in natural.iter_mut().zip(entries) {
                *natural = entry.value.to_f64();
            }
            request.scale.before_all(natural);
            if let Some(weights) = sample.weights {
                let cells = entries.iter().zip(&weights[number * 128..]);
                for ((entry, &weight), &natural) in cells.zip(&*natural) {
                    self.sums[place(entry.code)].add_times(natural, weight);
                }
            } else {
                for (entry, &natural) in entries.iter().zip(&*natural) {
                    self.sums[place(entry.code)].add(natural);
                }
            }
        }
    }

    /// Against the rest, sums all other groups of each: added, never subtracted.
    pub fn finish(&mut self, request: &GeneRequest) {
        self.all_zeros = self.zeros.iter().sum();
        if request.is_pooled() {
            let merge = |a: &DoubleDouble, b: &DoubleDouble| {
                let mut sum = *a;
                sum.add_double(*b);
                sum
            };
            all_others(&self.sums, merge, &mut self.others);
        }
    }

    /// The means of target `t` (0-based) and of what it is compared with; NaN where there are no cells.
    #[must_use]
    pub fn means(&self, t: usize, request: &GeneRequest) -> (f64, f64) {
        let (n1, n2) = request.pair(t);
        let other = if request.is_pooled() { self.others[t + 1] } else { self.sums[0] };
        (request.scale.mean(self.sums[t + 1], n1), request.scale.mean(other, n2))
    }

    /// The shares of cells with a value other than 0, likewise.
    #[must_use]
    pub fn fractions(&self, t: usize, request: &GeneRequest) -> (f64, f64) {
        let ((n1, n2), zeros) = (request.pair(t), self.zeros[t + 1]);
        let others = if request.is_pooled() { self.all_zeros - zeros } else { self.zeros[0] };
        (real(n1 - zeros) / real(n1), real(n2 - others) / real(n2))
    }
}
